//! The paths that a backup has. Pure: the same table decides what is taken and what is restored, so
//! that a strange tar file can put nothing anywhere else.

use super::super::layout;
use super::super::outside::is_plain;
use crate::fleet::BlobId;
use crate::fleet::GatewayId;
use crate::fleet::ObjectName;
use crate::identity::GatewayName;
use crate::store::blobs::Access;

/// The content of a path of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Anybody may read it who may read the backup.
    Plain,
    /// A private key, or as secret as one.
    Secret,
    /// A file of generations: its name says what its bytes are.
    Blob(Access, BlobId),
}

/// The content that belongs at `path`, with `/` between its parts; `None` if a backup has nothing
/// there.
pub(super) fn place(path: &str) -> Option<Place> {
    let parts: Vec<_> = path.split('/').collect();
    if !parts.iter().all(|part| is_plain(part)) {
        return None;
    }
    let name = *parts.last()?;
    let json = |stem: Option<&str>| stem.is_some_and(|stem| uuid::Uuid::try_parse(stem).is_ok());
    match parts[..] {
        [layout::CONFIG | layout::FORMAT] => Some(Place::Plain),
        [layout::TOKEN_KEY | layout::PROXY_MARK] => Some(Place::Secret),
        [layout::PKI, layout::CA | layout::SERVER | layout::CRL] => Some(Place::Plain),
        [layout::PKI, layout::CA_KEY | layout::SERVER_KEY] => Some(Place::Secret),
        [layout::BUCKETS, ..] if parts.len() > 1 => Some(Place::Secret),
        [layout::GATEWAYS, gateway, _] if gateway.parse::<GatewayName>().is_ok() => {
            match name.rsplit_once('.') {
                Some((_, "json" | "crt")) => Some(Place::Plain),
                Some((_, "key")) => Some(Place::Secret),
                _ => None,
            }
        }
        [layout::STORE, layout::EVENTS, gateway, _] if gateway.parse::<GatewayId>().is_ok() => {
            let journal = ["journal.jsonl", "journal.old.jsonl"].contains(&name);
            (journal || ObjectName::parse(name).is_some()).then_some(Place::Plain)
        }
        [layout::STORE, layout::RECORDS, gateway, _] if gateway.parse::<GatewayId>().is_ok() => {
            json(name.strip_suffix(".json")).then_some(Place::Plain)
        }
        [layout::STORE, layout::ACTS, _] => {
            json(name.strip_suffix(".json")).then_some(Place::Plain)
        }
        [layout::STORE, layout::ROLLOUTS, _] | [layout::STORE, layout::ROLLOUTS, "closed", _] => {
            json(name.strip_suffix(".json")).then_some(Place::Plain)
        }
        [layout::STORE, tree, folder, _] => {
            let access = [Access::Public, Access::Private];
            let access = access.into_iter().find(|access| access.folder() == tree)?;
            let id: BlobId = name.parse().ok()?;
            (id.path() == format!("{folder}/{name}")).then_some(Place::Blob(access, id))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_a_state_have_a_place() {
        let (id, blob) = ("0192a8c0-0000-7000-8000-000000000001", "ab".repeat(32));
        for (path, expected) in [
            ("farmgate.toml".to_owned(), Place::Plain),
            ("pki/ca.key".to_owned(), Place::Secret),
            ("gateways/lab-1/gateway.json".to_owned(), Place::Plain),
            ("gateways/lab-1/ab.key".to_owned(), Place::Secret),
            (format!("store/gateways/lab-1-0011aabb/{id}.json"), Place::Plain),
            (format!("store/gateways/lab-1-0011aabb/pack-{id}.json"), Place::Plain),
            (format!("store/rollouts/closed/{id}.json"), Place::Plain),
            (format!("store/blobs/ab/{blob}"), Place::Blob(Access::Public, blob.parse().unwrap())),
        ] {
            assert_eq!(place(&path), Some(expected), "{path}");
        }
        for path in [
            "",
            "/farmgate.toml",
            "./farmgate.toml",
            "../x",
            "pki/../farmgate.toml",
            "pki/other",
            "gateways/lab-1/x.sh",
            "gateways/../gateway.json",
            "store/commit.log",
            "lock",
            "leases/00/x",
            "cache/x",
            "buckets",
            "store/blobs/ab/cd",
            "store/rollouts/x.json",
            "store/gateways/lab-1-0011aabb/lock",
            "gateways/.by-fingerprint/x",
        ] {
            assert_eq!(place(path), None, "{path}");
        }
    }
}
