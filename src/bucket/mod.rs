//! A bucket for each gateway, and a key that opens it and no other.
//!
//! Nothing here is on the way of a boot: [`reconcile`](reconcile()) brings what the provider
//! has in line with what gateways should have, in the background, and leaves what it came to
//! on the local disk ([`Disk`]). A boot takes what lies there ([`hand_out`](hand_out())).
//!
//! What is to be done next is decided by pure functions (`plan.rs`) from what is on disk.
//! Each step is recorded before and after, so that it can be cut off anywhere.

mod b2;
mod condition;
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
pub use credentials::Credentials;
pub use disk::Disk;
pub use error::Error;
pub use hand_out::HandOut;
pub use hand_out::Values;
pub use hand_out::hand_out;
pub use name::KeyName;
pub use name::bucket_name;
pub use name::valve_infra_name;
pub use provider::AnyProvider;
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
