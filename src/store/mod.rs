//! What a boot host keeps on disk: configuration, PKI, gateway records, and
//! the store of blobs and events that generations are made of.

pub mod blobs;
pub mod events;
pub mod files;
pub mod gateways;
pub mod generations;
pub mod history;
pub mod journal;
pub mod leases;
mod revocation;
pub mod rollouts;
mod state;

pub use state::NewState;
pub use state::State;
pub use state::read_config;
