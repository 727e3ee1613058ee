//! The moments at which the drive changes. Tests stop there, as a power cut does, or fail there, as
//! a drive does.

use std::io;

/// Told before each change of the drive.
pub trait Steps: Send + Sync {
    /// An error takes the place of the change.
    fn before(&self, what: &'static str) -> io::Result<()>;
}

/// Lets every change happen.
pub struct Live;

impl Steps for Live {
    fn before(&self, _: &'static str) -> io::Result<()> {
        Ok(())
    }
}
