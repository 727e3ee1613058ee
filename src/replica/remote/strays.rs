//! Strays: objects whose names farmgate never writes and its client cannot parse, such as names
//! with `//` or a control character. One of these would end every listing, and with it all
//! deliveries.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use object_store::path::Path;
use quick_xml::escape::unescape;

/// Most names that are kept until they are taken.
const MAX_NAMES: usize = 1000;

/// Names of strays that listings found.
#[derive(Clone, Debug, Default)]
pub(super) struct Strays {
    found: Arc<Mutex<BTreeSet<String>>>,
}

impl Strays {
    /// Takes the names that were added since the last call, escaped for terminals and logs.
    pub(super) fn take(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes a stray.
    pub(super) fn add(&self, name: &str) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.len() < MAX_NAMES {
            found.insert(format!("{name:?}"));
        }
    }

    /// Removes strays from an answer to ListObjectsV2.
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
        // Without a key there is nothing to judge.
        let Some((key, _)) = key else { return true };
        let sound = unescape(key).is_ok_and(|name| Path::parse(&*name).is_ok());
        if !sound {
            self.add(&unescape(key).unwrap_or_else(|_| key.into()));
        }
        sound
    }
}

/// Splits before the first `what`.
fn split_before<'a>(text: &'a str, what: &str) -> Option<(&'a str, &'a str)> {
    text.find(what).map(|at| text.split_at(at))
}

/// Splits after the first `what`.
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
        fn only_names_that_cannot_be_parsed_are_left_out(
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
    fn character_references_are_decoded() {
        let strays = Strays::default();
        let listing = "<Contents><Key>gateways/a&#x1;b</Key></Contents>";
        assert_eq!(strays.leave_out(listing), "");
        assert_eq!(strays.take(), BTreeSet::from(["\"gateways/a\\u{1}b\"".to_owned()]));
    }
}
