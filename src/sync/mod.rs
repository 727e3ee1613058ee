//! The fleet as one description in a git repository, and what is brought in from it.

pub mod git;
mod status;

pub use status::Outcome;
pub use status::Source;
pub use status::Status;
