//! This process's limits, and what `/proc` shows of other processes on this machine.

mod holder;
mod limits;

pub use holder::Holder;
pub use holder::of_lock;
pub use holder::of_port;
pub use limits::forbid_dumps;
pub use limits::raise_descriptors;
