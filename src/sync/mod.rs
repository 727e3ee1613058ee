//! The fleet as one folder: what each gateway is to boot. Reads the folder, compares it with what
//! is live, and applies it.
//!
//! [`FleetFolder::read`] gives a folder without faults; [`FleetFolder::check`] looks at its
//! scripts; [`FleetFolder::plan`] says what would change, and [`apply`] does it, all or nothing.

mod apply;
mod check;
mod download;
mod fault;
mod folder;
mod layer;
mod live;
mod merge;
mod name;
mod plan;
mod read_back;
mod show;
mod tree;
mod url;

pub use apply::Applied;
pub use apply::Apply;
pub use apply::Moved;
pub use apply::apply;
pub use check::Heads;
pub use fault::Fault;
pub use fault::Faults;
pub use folder::Described;
pub use folder::FleetFolder;
pub use live::LiveFleet;
pub use live::LiveGateway;
pub use live::LiveGeneration;
pub use name::ProfileName;
pub use plan::Action;
pub use plan::Change;
pub use plan::FileChange;
pub use plan::GatewayPlan;
pub use plan::Plan;
pub use read_back::Difference;
