//! USB sticks: which disk may become one, and writing an image to it so that it is proven to be there.
//! Reads `/sys` and `/proc`, and writes to the disk that the operator named.

mod disk;
mod medium;
mod usage;
mod write;

pub use disk::Disk;
pub use disk::Precious;
pub use medium::RawDisk;
pub use write::Error as WriteError;
pub use write::Outcome;
pub use write::PATIENCE;
pub use write::Phase;
pub use write::write;

use std::path::PathBuf;

/// The folder in which the kernel tells about disks. Tests have a tree of their own.
pub struct Kernel {
    sys: PathBuf,
    proc: PathBuf,
}

impl Default for Kernel {
    fn default() -> Self {
        Self { sys: "/sys".into(), proc: "/proc".into() }
    }
}
