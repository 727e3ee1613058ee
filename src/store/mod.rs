//! The state on disk: configuration, PKI, gateway records, and the store of blobs and events that
//! generations are made of.

pub mod acts;
pub mod backup;
pub mod blobs;
pub mod commit_log;
pub mod consoles;
pub mod exchange;
pub mod files;
pub mod gateways;
pub mod gc;
pub mod generations;
mod health;
pub mod journal;
pub mod layout;
pub mod leases;
pub mod live;
pub mod lock;
mod new_host;
pub mod objects;
pub mod outside;
pub mod owner;
mod proxy_mark;
pub mod records;
pub mod relocate;
mod revocation;
pub mod rollouts;
pub mod stamp;
mod state;
mod vault;

pub use proxy_mark::NginxProof;
pub use state::NewState;
pub use state::State;
pub use state::read_config;
