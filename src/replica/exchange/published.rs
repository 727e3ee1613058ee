//! The files that an event publishes. Pure.

use crate::fleet::Asset;
use crate::fleet::Event;
use crate::fleet::Kind;

/// The files of the generation that an event publishes, by path; none if it is another event.
pub(super) fn published(event: &Event) -> impl Iterator<Item = (&String, &Asset)> {
    let files = match &event.kind {
        Kind::Published { files, .. } => Some(files),
        _ => None,
    };
    files.into_iter().flatten()
}
