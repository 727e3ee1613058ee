//! A backup of the state in one tar file, taken while the server runs, and a state made from it.
//! Touches the disk.
//!
//! A backup holds a state that existed: commands wait while everything but the files of generations
//! is read, and so does the server, gateway by gateway, for the moment in which its events are. Files
//! of generations never change, and come last. Left out is what is made anew or must not come back:
//! caches, locks, leases of secrets (they were used, or have expired), and the log of events, whose
//! events are all in files of their own.

mod place;
mod restore;
mod take;

pub use restore::Restored;
pub use restore::restore;
pub use take::Taken;
pub use take::take;
