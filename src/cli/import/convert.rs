//! Turns what valve-infra's server rendered for each boot into what farmgate serves. Pure.
//!
//! That server put a boot script and a template of secrets through Python's
//! `string.Template.safe_substitute`. farmgate leaves a script as it is and sets its values as
//! settings of iPXE. So a script is rendered once, here: fixed values as they were, and values of a
//! boot as `${name}`, which iPXE replaces.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::fleet::TEMPLATE_NAMES;
use crate::fleet::render;

/// Values that are new with each boot, and that farmgate's prelude sets under the same names.
const OF_THE_BUCKET: [&str; 4] =
    ["s3_endpoint", "s3_access_key_id", "s3_access_key", "s3_bucket_name"];

/// Python's word for a value that is not there.
const NONE: &str = "None";

/// A template in farmgate's terms, and what could not be said in them.
pub(super) struct Converted {
    pub(super) bytes: Vec<u8>,
    pub(super) notes: BTreeSet<String>,
    /// It names values of the bucket.
    pub(super) needs_bucket: bool,
}

/// The boot script of a gateway with this certificate (SHA-1), with or without a template of secrets.
pub(super) fn script(template: &[u8], sha1: &str, has_secrets: bool) -> Converted {
    let kept = OF_THE_BUCKET.map(|name| (name, format!("${{{name}}}")));
    let (notes, needs_bucket) = (RefCell::new(BTreeSet::new()), RefCell::new(false));
    let bytes = render(template, |name| {
        if let Some((_, kept)) = kept.iter().find(|(bucket, _)| *bucket == name) {
            *needs_bucket.borrow_mut() = true;
            return Some(kept);
        }
        match name {
            "client_cert_fingerprint" => Some(sha1),
            "secrets_url" if has_secrets => Some("${secrets_url}"),
            "secrets_url" => Some(NONE),
            "client" => {
                notes.borrow_mut().insert(format!("boot.ipxe: {CLIENT}"));
                None
            }
            _ => None,
        }
    });
    Converted { bytes, notes: notes.into_inner(), needs_bucket: needs_bucket.into_inner() }
}

const CLIENT: &str = "${client} was a dump of the request in Python's notation; it stays as it is";

/// The template of secrets, which farmgate renders for each boot by the same rules.
pub(super) fn secrets(template: &[u8], sha1: &str) -> Converted {
    let kept = OF_THE_BUCKET.map(|name| (name, format!("${{{name}}}")));
    let (notes, needs_bucket) = (RefCell::new(BTreeSet::new()), RefCell::new(false));
    let bytes = render(&protected(template, &notes), |name| {
        if let Some((_, kept)) = kept.iter().find(|(bucket, _)| *bucket == name) {
            *needs_bucket.borrow_mut() = true;
            return Some(kept);
        }
        match name {
            "client_cert_fingerprint" => Some(sha1),
            "secrets_url" => Some(NONE),
            "client" => {
                notes.borrow_mut().insert(format!("secrets: {CLIENT}"));
                None
            }
            _ => None,
        }
    });
    Converted { bytes, notes: notes.into_inner(), needs_bucket: needs_bucket.into_inner() }
}

/// The template with `$$` before what must come through two renderings: a doubled `$`, and names that
/// the old server did not know and farmgate does.
fn protected(template: &[u8], notes: &RefCell<BTreeSet<String>>) -> Vec<u8> {
    let (mut all, mut rest) = (Vec::with_capacity(template.len()), template);
    while let Some(first) = rest.first() {
        if rest.starts_with(b"$$") {
            all.extend_from_slice(b"$$$$");
            rest = &rest[2..];
            continue;
        }
        match ours_at(rest) {
            Some(name) => {
                notes.borrow_mut().insert(format!(
                    "secrets: ${{{name}}}, which the old server did not know, comes through as it is"
                ));
                all.extend_from_slice(b"$$$$");
            }
            None => all.push(*first),
        }
        rest = &rest[1..];
    }
    all
}

/// The name that stands at the beginning, if only farmgate would fill it in.
fn ours_at(rest: &[u8]) -> Option<&'static str> {
    let seen = RefCell::new(None);
    let own = |name: &&&'static str| **name != "client_cert_fingerprint";
    // At most `${` and the longest name.
    let head = rest.strip_prefix(b"$").map(|_| &rest[..rest.len().min(40)])?;
    render(head, |name| {
        let known = TEMPLATE_NAMES.iter().filter(own).find(|own| **own == name);
        // The first that is asked for is the one at the beginning, or none is there.
        seen.borrow_mut().get_or_insert((name.len(), known.copied()));
        None
    });
    let (len, known) = seen.into_inner()?;
    let begins = rest.get(1..=len) == known.map(str::as_bytes)
        || rest.get(2..len + 2) == known.map(str::as_bytes) && rest.get(1) == Some(&b'{');
    known.filter(|_| begins)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHA1: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn a_script_is_what_the_old_server_sent() {
        for (template, with, without) in [
            ("${netX/mac} $x $$y ${x}", "${netX/mac} $x $y ${x}", "${netX/mac} $x $y ${x}"),
            ("$s3_endpoint/${s3_bucket_name}", "${s3_endpoint}/${s3_bucket_name}", ""),
            ("url=$secrets_url", "url=${secrets_url}", "url=None"),
            ("${client_cert_fingerprint}", SHA1, SHA1),
        ] {
            let text = |has_secrets| {
                String::from_utf8(script(template.as_bytes(), SHA1, has_secrets).bytes).unwrap()
            };
            assert_eq!(text(true), with);
            assert_eq!(text(false), if without.is_empty() { with } else { without });
        }
        let found = script(b"$client ${s3_endpoint}", SHA1, false);
        assert!(
            found.needs_bucket && found.notes.len() == 1 && found.bytes.starts_with(b"$client")
        );
    }

    proptest! {
        /// farmgate renders it for each boot; that gives what the old server gave.
        #[test]
        fn secrets_come_out_as_before(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "$", "$$", "{", "}", "a", " ", "$gateway", "${generation}", "$secrets_url",
                    "${client_cert_fingerprint}", "$s3_access_key", "${s3_endpoint}", "$client",
                ]),
                0..12,
            ),
        ) {
            let template = parts.concat();
            let before = render(template.as_bytes(), |name| match name {
                "client_cert_fingerprint" => Some(SHA1),
                "secrets_url" => Some(NONE),
                _ => OF_THE_BUCKET.contains(&name).then_some("S3"),
            });
            let converted = secrets(template.as_bytes(), SHA1).bytes;
            let now = render(&converted, |name| {
                let own = TEMPLATE_NAMES.contains(&name).then_some("OURS");
                own.or_else(|| OF_THE_BUCKET.contains(&name).then_some("S3"))
            });
            prop_assert_eq!(String::from_utf8_lossy(&now), String::from_utf8_lossy(&before));
        }
    }
}
