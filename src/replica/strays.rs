//! Objects whose names farmgate never writes and its client cannot read: `//` in them, or a
//! control character. One of these would end every listing, and with it all deliveries.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use object_store::path::Path;
use quick_xml::escape::unescape;

/// How deep farmgate's own objects lie below `gateways`, `records` or `blobs`.
const DEPTH: usize = 3;

/// So many names are remembered until somebody asks.
const MOST: usize = 1000;

/// Names of such objects that were met.
#[derive(Clone, Debug, Default)]
pub(super) struct Strays {
    met: Arc<Mutex<BTreeSet<String>>>,
}

impl Strays {
    /// Those since this was last asked, in a form that does no harm to a terminal or a log.
    pub(super) fn take(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.met.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn meet(&self, name: &str) {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        if met.len() < MOST {
            met.insert(format!("{name:?}"));
        }
    }

    /// Takes such objects out of an answer to ListObjectsV2.
    pub(super) fn leave_out(&self, xml: &str) -> String {
        let (mut kept, mut rest) = (String::with_capacity(xml.len()), xml);
        while let Some((before, from)) = split_before(rest, "<Contents>") {
            let Some((object, after)) = split_after(from, "</Contents>") else { break };
            kept.push_str(before);
            if self.is_sound(object) {
                kept.push_str(object);
            }
            rest = after;
        }
        kept.push_str(rest);
        kept
    }

    fn is_sound(&self, object: &str) -> bool {
        let key = split_after(object, "<Key>").and_then(|(_, rest)| rest.split_once("</Key>"));
        // Without a key it is no object that we could judge.
        let Some((key, _)) = key else { return true };
        let sound = unescape(key).is_ok_and(|name| Path::parse(&*name).is_ok());
        if !sound {
            self.meet(&unescape(key).unwrap_or_else(|_| key.into()));
        }
        sound
    }

    /// Paths of all objects in the folder `prefix` of the directory `root`.
    pub(super) fn walk(&self, root: &FilePath, prefix: &str) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        match fs::read_dir(root.join(prefix)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(entries) => self.descend(entries, prefix, DEPTH, &mut found),
        }
        found.sort();
        Ok(found)
    }

    fn descend(&self, entries: fs::ReadDir, below: &str, depth: usize, found: &mut Vec<String>) {
        // What vanishes meanwhile, somebody else has deleted.
        for entry in entries.flatten() {
            let name = entry.file_name();
            let path = format!("{below}/{}", name.to_string_lossy());
            let sound = name.to_str().is_some_and(|name| Path::parse(name).is_ok());
            let Ok(facts) = fs::metadata(entry.path()) else { continue };
            if !sound {
                self.meet(&path);
            } else if facts.is_file() {
                // object_store names what it has not finished like this.
                let unfinished = name.to_string_lossy().rsplit_once('#').is_some_and(|(_, n)| {
                    !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit())
                });
                if !unfinished {
                    found.push(path);
                }
            } else if facts.is_dir() {
                match fs::read_dir(entry.path()) {
                    Ok(entries) if depth > 0 => self.descend(entries, &path, depth - 1, found),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    _ => self.meet(&path),
                }
            }
        }
    }
}

/// The text before `what`, and from there on.
fn split_before<'a>(text: &'a str, what: &str) -> Option<(&'a str, &'a str)> {
    text.find(what).map(|at| text.split_at(at))
}

/// The text up to the end of `what`, and from there on.
fn split_after<'a>(text: &'a str, what: &str) -> Option<(&'a str, &'a str)> {
    text.find(what).map(|at| text.split_at(at + what.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quick_xml::escape::escape;

    use super::*;

    fn listing(keys: &[String]) -> String {
        let objects = keys.iter().map(|key| {
            format!("<Contents><Key>{}</Key><Size>1</Size></Contents>", escape(key.as_str()))
        });
        format!(
            "<?xml version=\"1.0\"?><ListBucketResult>{}<KeyCount>9</KeyCount></ListBucketResult>",
            objects.collect::<String>()
        )
    }

    proptest! {
        #[test]
        fn only_names_that_cannot_be_read_are_left_out(
            keys in proptest::collection::vec("[a-z/.<&>\\x01\\n ]{1,12}", 0..8),
        ) {
            let strays = Strays::default();
            let (sound, bad): (Vec<_>, Vec<_>) =
                keys.into_iter().partition(|key| Path::parse(key).is_ok());
            let mixed: Vec<_> = bad.iter().chain(&sound).chain(&bad).cloned().collect();
            prop_assert_eq!(strays.leave_out(&listing(&mixed)), listing(&sound));
            let met: BTreeSet<_> = bad.iter().map(|key| format!("{key:?}")).collect();
            prop_assert_eq!(strays.take(), met);
            prop_assert!(strays.take().is_empty());
        }

        #[test]
        fn whatever_is_no_listing_stays_as_it_is(text in "(<Contents>|<Key>|</Key>|a|//){0,8}") {
            prop_assert_eq!(Strays::default().leave_out(&text), text);
        }
    }

    #[test]
    fn references_to_characters_are_read() {
        let strays = Strays::default();
        let listing = "<Contents><Key>gateways/a&#x1;b</Key></Contents>";
        assert_eq!(strays.leave_out(listing), "");
        assert_eq!(strays.take(), BTreeSet::from(["\"gateways/a\\u{1}b\"".to_owned()]));
    }
}
