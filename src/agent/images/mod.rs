//! Images on the gateway's cache drive: fetched once, checked, unpacked once, mounted as roots of
//! containers, and collected when no generation needs them any more. Disk, and the network by way
//! of a [`Source`].
//!
//! A power cut at any moment leaves an image as it was before, or as it is to be. [`Store::keep`]
//! says what a boot wants, [`Store::ensure`] makes it ready, [`Store::mount`] gives a container its
//! root, and [`Store::acknowledged`] says that it works; then [`Store::collect`] removes the rest.

mod collect;
mod ensure;
mod error;
mod fetch;
mod inherit;
mod kept;
mod overlay;
mod remote;
mod remove;
mod room;
pub mod source;
mod steps;
mod store;
pub mod unpack;

#[cfg(test)]
mod tests;

pub use self::collect::Collected;
pub use self::ensure::Progress;
pub use self::ensure::Ready;
pub use self::ensure::Wanted;
pub use self::error::Error;
pub use self::error::Result;
pub use self::overlay::Rootfs;
pub use self::remote::Remote;
pub use self::source::Body;
pub use self::source::Source;
pub use self::source::SourceError;
pub use self::steps::Live;
pub use self::steps::Steps;
pub use self::store::Store;
