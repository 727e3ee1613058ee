//! The status page: a view model, and HTML made of it. Pure: the caller gives the facts and the
//! time.
//!
//! Names, labels and what iPXE says of itself come from strangers. `maud` escapes all text, and
//! [`document::finish`] replaces control and bidirectional characters in the whole document.

pub(super) mod assets;
mod boots;
pub(super) mod condition;
mod diff;
pub(super) mod document;
pub(super) mod fleet;
pub(super) mod gateway;
mod generations;
pub(super) mod json;
pub(super) mod level;
pub(super) mod model;
pub(super) mod overview;
pub(super) mod query;
pub(super) mod rollouts;
mod row;
mod table;
mod timeline;
mod words;

pub(super) use words::natural;

#[cfg(test)]
mod tests;
