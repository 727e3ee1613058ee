//! A boot host's knowledge of one gateway's bucket, and how it changes. Pure.

mod key;
mod secret;
mod standing;
mod state;

pub use key::Key;
pub use key::KeyState;
pub(super) use key::Since;
pub use secret::Secret;
pub use standing::Standing;
pub use state::Bucket;
pub(super) use state::FORMAT;
pub use state::Rotate;
pub use state::Stored;
pub use state::Trouble;
