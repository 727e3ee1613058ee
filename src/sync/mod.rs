//! The fleet as one folder: what each gateway is to boot. Reads the folder, compares it with what
//! is live, and applies it.
//!
//! [`FleetFolder::read`] gives a folder without faults; [`FleetFolder::check`] looks at its
//! scripts; [`FleetFolder::plan`] says what would change, and [`apply()`] does it, all or nothing.
//!
//! [`look`] does so with what a git repository has.

mod apply;
mod bring;
mod change;
mod check;
mod content;
mod fault;
mod folder;
pub mod git;
mod layer;
mod live;
mod made;
mod merge;
mod name;
mod plan;
mod profile;
mod read_back;
mod run;
mod show;
mod status;
mod tree;
pub mod webhook;

pub use apply::Applied;
pub use apply::Apply;
pub use apply::Moved;
pub use apply::apply;
pub use bring::Brought;
pub use change::Change;
pub use change::FileChange;
pub use fault::Fault;
pub use fault::Faults;
pub use folder::Described;
pub use folder::FleetFolder;
pub use live::LiveFleet;
pub use live::LiveGateway;
pub use live::LiveGeneration;
pub use made::Reach;
pub use name::ProfileName;
pub use plan::Action;
pub use plan::Extent;
pub use plan::GatewayPlan;
pub use plan::Plan;
pub use read_back::Difference;
pub use run::Looked;
pub use run::Turn;
pub use run::Wish;
pub use run::look;
pub use status::Good;
pub use status::Outcome;
pub use status::Source;
pub use status::Status;
pub use status::moment;
pub use status::short;
