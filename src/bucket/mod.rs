//! A bucket for each gateway, and a key that opens it and no other.
//!
//! No boot waits for a provider. [`reconcile`](reconcile()) makes the provider's buckets and keys
//! match the gateways in the background, and records the result on the local disk ([`Disk`]). A
//! boot reads it from there ([`hand_out`](hand_out())).
//!
//! Pure functions (`plan.rs`) decide the next step from what is on disk. Each step is recorded
//! before and after, so that it can be cut off anywhere.

mod b2;
mod condition;
mod connect;
mod credentials;
mod disk;
mod error;
mod garage;
mod hand_out;
mod http;
mod name;
mod plan;
mod provider;
mod reconcile;
mod stored;

pub use condition::Condition;
pub use connect::AnyProvider;
pub use credentials::Credentials;
pub use disk::Disk;
pub use error::Error;
pub use hand_out::HandOut;
pub use hand_out::Values;
pub use hand_out::hand_out;
pub use name::KeyName;
pub use name::bucket_name;
pub use name::valve_infra_name;
pub use reconcile::Report;
pub use reconcile::Scope;
pub use reconcile::reconcile;
pub use stored::Bucket;
pub use stored::Key;
pub use stored::KeyState;
pub use stored::Rotate;
pub use stored::Secret;
pub use stored::Standing;
pub use stored::Stored;
pub use stored::Trouble;
