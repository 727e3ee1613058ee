//! What a boot host keeps on disk: configuration, PKI, gateway records, and
//! the store of blobs and events that generations are made of.

pub mod blobs;
pub mod events;
mod exchange;
pub mod files;
pub mod format;
pub mod gateways;
pub mod generations;
mod health;
pub mod history;
mod host;
pub mod journal;
pub mod leases;
pub mod lock;
pub mod objects;
pub mod owner;
mod proxy_mark;
pub mod records;
pub mod revisions;
mod revocation;
pub mod rollouts;
mod state;
mod vault;

pub use exchange::is_gateway_id;
pub use proxy_mark::PROXY_MARK_FILE;
pub use state::NewState;
pub use state::State;
pub use state::read_config;
