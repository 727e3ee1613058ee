//! Where things are in a store: the same in a directory and in a bucket.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::store::blobs::BlobId;
use crate::store::events::EventId;
use crate::store::is_gateway_id;
use crate::store::objects::ObjectName;

/// Where the events of all gateways are.
pub(super) const GATEWAYS: &str = "gateways";
/// Where the revisions of all gateways' records are.
pub(super) const RECORDS: &str = "records";
/// Where the blobs are.
pub(super) const BLOBS: &str = "blobs";
/// Where the names of blobs are that some host could not get.
pub(super) const WANTED: &str = "wanted";

/// The path of a blob.
pub(super) fn blob(id: &BlobId) -> String {
    format!("{BLOBS}/{}", id.path())
}

/// The path of an object of a gateway.
pub(super) fn object(gateway: &str, name: ObjectName) -> String {
    format!("{GATEWAYS}/{gateway}/{name}")
}

/// The path of a revision of a gateway's record.
pub(super) fn revision(gateway: &str, id: EventId) -> String {
    format!("{RECORDS}/{gateway}/{id}.json")
}

/// The path of what is written to see whether it can be.
pub(super) fn probe(id: &uuid::Uuid) -> String {
    format!("probe/{id}")
}

/// The path of the word that a blob is wanted.
pub(super) fn wanted(id: &BlobId) -> String {
    format!("{WANTED}/{id}")
}

/// Reads such a path.
pub(super) fn parse_wanted(path: &str) -> Option<BlobId> {
    path.strip_prefix(WANTED)?.strip_prefix('/')?.parse().ok()
}

/// Reads the file name of a revision.
pub(super) fn parse_revision(name: &str) -> Option<EventId> {
    EventId::parse(name.strip_suffix(".json")?)
}

/// What is below [`GATEWAYS`] or [`RECORDS`], by gateway, and what does not belong there.
#[derive(Debug)]
pub(super) struct Listing<T> {
    pub(super) gateways: BTreeMap<String, BTreeSet<T>>,
    pub(super) foreign: Vec<String>,
}

impl<T: Ord> Listing<T> {
    /// Sorts `paths`, whose last part `parse` knows.
    pub(super) fn sort(
        paths: impl IntoIterator<Item = String>,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Self {
        let mut listing = Self { gateways: BTreeMap::new(), foreign: Vec::new() };
        for path in paths {
            let mut parts = path.split('/').skip(1);
            let found = match (parts.next(), parts.next(), parts.next()) {
                (Some(gateway), Some(name), None) if is_gateway_id(gateway) => {
                    parse(name).map(|name| (gateway.to_owned(), name))
                }
                _ => None,
            };
            match found {
                Some((gateway, name)) => {
                    listing.gateways.entry(gateway).or_default().insert(name);
                }
                None => listing.foreign.push(path),
            }
        }
        listing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_belong_there_is_told_apart() {
        let event = "0192a8c0-0000-7000-8000-000000000001";
        let paths = [
            format!("gateways/lab-1-00/{event}.json"),
            format!("gateways/lab-1-00/pack-{event}.json"),
            format!("gateways/lab-1-00/{event}.json.bak"),
            format!("gateways/../{event}.json"),
            format!("gateways/a/b/{event}.json"),
            "gateways/lab-1-00/journal.jsonl".to_owned(),
            "gateways/readme".to_owned(),
        ];
        let listing = Listing::sort(paths, ObjectName::parse);
        assert_eq!(listing.gateways.len(), 1);
        assert_eq!(listing.gateways["lab-1-00"].len(), 2);
        assert_eq!(listing.foreign.len(), 5);
    }
}
