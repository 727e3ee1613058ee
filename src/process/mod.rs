//! This process, and what others on this machine hold, as far as `/proc` shows it.

mod holder;
mod limits;

pub use holder::Holder;
pub use holder::of_lock;
pub use holder::of_port;
pub use limits::forbid_dumps;
pub use limits::raise_descriptors;
