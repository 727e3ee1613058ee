//! What a boot host keeps on disk: configuration, PKI, gateway records, and
//! the store of blobs and events that generations are made of.

pub mod blobs;
pub mod events;
pub mod files;
pub mod gateways;
pub mod generations;
mod revocation;
mod state;

pub use state::Lock;
pub use state::NewState;
pub use state::State;
