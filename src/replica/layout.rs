//! Paths in a store: the same in a directory and in a bucket. Pure.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::fleet::BlobId;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::fleet::ObjectName;
use crate::store::blobs::Access;

/// Folder of all gateways' events.
pub(super) const GATEWAYS: &str = "gateways";
/// Folder of all revisions of gateways' records.
pub(super) const RECORDS: &str = "records";
/// Folder of all acts.
pub(super) const ACTS: &str = "acts";
/// Folder of markers, one for each blob that a host could not fetch.
pub(super) const WANTED: &str = "wanted";

/// The path of a blob.
pub(super) fn blob(access: Access, id: &BlobId) -> String {
    format!("{}/{}", access.folder(), id.path())
}

/// The paths that a blob may have: older versions kept private blobs among the public ones.
pub(super) fn blob_places(access: Access, id: &BlobId) -> Vec<String> {
    match access {
        Access::Public => vec![blob(Access::Public, id)],
        Access::Private => vec![blob(Access::Private, id), blob(Access::Public, id)],
    }
}

/// The path of an object of a gateway.
pub(super) fn object(gateway: &GatewayId, name: ObjectName) -> String {
    format!("{GATEWAYS}/{gateway}/{name}")
}

/// The path of a revision of a gateway's record.
pub(super) fn revision(gateway: &GatewayId, id: EventId) -> String {
    format!("{RECORDS}/{gateway}/{id}.json")
}

/// The path of an act.
pub(super) fn act(id: EventId) -> String {
    format!("{ACTS}/{id}.json")
}

/// Parses the path of an act.
pub(super) fn parse_act(path: &str) -> Option<EventId> {
    parse_revision(path.strip_prefix(ACTS)?.strip_prefix('/')?)
}

/// The path of a probe object, which is written only to test the key.
pub(super) fn probe(id: &uuid::Uuid) -> String {
    format!("probe/{id}")
}

/// The path of the marker that says that a blob is wanted.
pub(super) fn wanted(access: Access, id: &BlobId) -> String {
    match access {
        Access::Public => format!("{WANTED}/{id}"),
        Access::Private => format!("{WANTED}/{}-{id}", access.folder()),
    }
}

/// Parses the path of such a marker.
pub(super) fn parse_wanted(path: &str) -> Option<(Access, BlobId)> {
    let name = path.strip_prefix(WANTED)?.strip_prefix('/')?;
    let private = name.strip_prefix(Access::Private.folder());
    match private.and_then(|name| name.strip_prefix('-')) {
        Some(name) => Some((Access::Private, name.parse().ok()?)),
        None => Some((Access::Public, name.parse().ok()?)),
    }
}

/// Parses the file name of a revision.
pub(super) fn parse_revision(name: &str) -> Option<EventId> {
    EventId::parse(name.strip_suffix(".json")?)
}

/// The contents of [`GATEWAYS`] or [`RECORDS`], by gateway.
#[derive(Debug)]
pub(super) struct Listing<T> {
    pub(super) gateways: BTreeMap<GatewayId, BTreeSet<T>>,
    /// Paths that farmgate cannot have written.
    pub(super) foreign: Vec<String>,
}

impl<T: Ord> Listing<T> {
    /// Groups `paths` by gateway; `parse` parses their last part.
    pub(super) fn group(
        paths: impl IntoIterator<Item = String>,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Self {
        let mut listing = Self { gateways: BTreeMap::new(), foreign: Vec::new() };
        for path in paths {
            let mut parts = path.split('/').skip(1);
            let found = match (parts.next(), parts.next(), parts.next()) {
                (Some(gateway), Some(name), None) => gateway.parse().ok().zip(parse(name)),
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
    fn a_wanted_marker_names_the_tree() {
        let id = "ab".repeat(32).parse().unwrap();
        for access in [Access::Public, Access::Private] {
            assert_eq!(parse_wanted(&wanted(access, &id)), Some((access, id)));
        }
        // The only form that older versions write and read.
        assert_eq!(wanted(Access::Public, &id), format!("wanted/{id}"));
        for foreign in ["wanted/private-", "wanted/x", "wanted", "other/private-ab"] {
            assert_eq!(parse_wanted(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn foreign_paths_are_kept_apart() {
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
        let listing = Listing::group(paths, ObjectName::parse);
        assert_eq!(listing.gateways.len(), 1);
        assert_eq!(listing.gateways["lab-1-00"].len(), 2);
        assert_eq!(listing.foreign.len(), 5);
    }
}
