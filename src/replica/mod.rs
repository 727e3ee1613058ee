//! Several boot hosts, one fleet: keeps this host's store and a shared one in sync, in the
//! background.
//!
//! Every request reads and writes the local directory. The only boots that wait are those for a
//! file that only the shared store has. Objects are immutable and have unique names, so two stores
//! are in sync once each has the objects of the other: no locks, no conditional writes, no order.
//! Events written while the shared store is unavailable are delivered later under the same name, so
//! nothing is lost and nothing counts twice. Nothing local is deleted because it is missing
//! elsewhere: a wrong or emptied bucket takes nothing away.
//!
//! Three parts own their memory, and [`Replica`] puts them together: `exchange` (events and
//! records, in passes), `blobs` (files, fetched and cached), and `remote` (the client of the store,
//! its throttle and its errors).

mod ages;
mod blobs;
mod blocking;
mod collect;
mod copy;
mod exchange;
mod failure;
mod layout;
mod member;
mod notices;
mod remote;
mod status;
mod task;

pub use blobs::BlobError;
pub use blobs::Fetch;
pub use collect::Freed;
pub use copy::Copied;
pub use copy::Place;
pub use copy::copy;
pub use exchange::Report;
pub use failure::Failure;
pub use member::Replica;
pub use remote::Error;
pub use remote::Remote;
pub use status::Counts;
pub use task::run;
