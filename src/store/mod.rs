//! What a boot host keeps on disk: configuration, PKI, gateway records, and
//! the store of blobs and events that generations are made of.

pub mod blobs;
pub mod commit_log;
pub mod exchange;
pub mod files;
pub mod gateways;
pub mod generations;
mod health;
mod host;
pub mod journal;
pub mod leases;
pub mod live;
pub mod lock;
pub mod objects;
pub mod owner;
mod proxy_mark;
pub mod records;
mod revocation;
pub mod rollouts;
pub mod stamp;
mod state;
mod vault;

pub use proxy_mark::NginxProof;
pub use proxy_mark::PROXY_MARK_FILE;
pub use state::NewState;
pub use state::State;
pub use state::read_config;
