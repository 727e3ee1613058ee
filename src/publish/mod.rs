//! Publishes a folder as a generation: checks it, stores its files, and records which gateways get
//! it. Reads the folder and writes the state; the time is an argument.

mod batch;
mod beside;
mod checked;
mod choice;
mod download;
mod finding;
mod folder;
mod gateway;
mod made;
mod pins;
pub mod rollout;
mod stored;

pub use batch::Batch;
pub use batch::Item;
pub use batch::publish_all;
pub use beside::Beside;
pub use checked::Heads;
pub use checked::Subject;
pub use checked::check;
pub use checked::preview;
pub use choice::Served;
pub use choice::pin;
pub use choice::release;
pub use choice::rollback;
pub use download::Downloads;
pub use download::present;
pub use finding::Checked;
pub use finding::MAX_TEMPLATE;
pub use finding::check_template;
pub use folder::Folder;
pub use gateway::Outcome;
pub use gateway::When;
pub use gateway::publish;
pub use gateway::publish_to_each;
pub use made::Preview;
pub use pins::Resolved;
pub use pins::Resolver;
pub use pins::Wanted;
pub use stored::head_of;
