//! The fleet as one description in a git repository, and what is brought in from it.

pub mod git;
mod run;
mod status;
pub mod webhook;

pub use run::Turn;
pub use run::Wish;
pub use run::look;
pub use status::Good;
pub use status::Outcome;
pub use status::Source;
pub use status::Status;
