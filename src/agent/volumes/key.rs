//! Names of files as keys of objects, and back. Pure.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;

/// Longest key of S3, in bytes.
const LONGEST: usize = 1024;

/// Longest name of a file, in bytes.
const LONGEST_NAME: usize = 255;

/// The key of an object that is the path of a file in a volume, too: `ssh/authorized_keys`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Key(String);

/// The text cannot be both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
    #[error("a name in it is empty, `.` or `..`, or longer than {LONGEST_NAME} bytes")]
    Name,
    #[error("a character in it cannot be in a key")]
    Character,
}

impl Key {
    /// Reads a key or a relative path.
    pub(super) fn parse(text: &str) -> Result<Self, Unfit> {
        if text.len() > LONGEST {
            return Err(Unfit::TooLong);
        }
        // Names like these address another object, or the bucket itself, and lead out of the
        // volume.
        let fits = |name: &str| !matches!(name, "" | "." | "..") && name.len() <= LONGEST_NAME;
        if !text.split('/').all(fits) {
            return Err(Unfit::Name);
        }
        // XML, which lists of objects are written in, has none of these.
        let unfit = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
        if text.contains(unfit) { Err(Unfit::Character) } else { Ok(Self(text.to_owned())) }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The directories on the way, and the name of the file.
    pub(super) fn split(&self) -> (impl Iterator<Item = &str>, &str) {
        let (above, name) = self.0.rsplit_once('/').unwrap_or(("", &self.0));
        (above.split('/').filter(|part| !part.is_empty()), name)
    }

    /// The keys that would be directories on the way.
    pub(super) fn above(&self) -> impl Iterator<Item = Self> {
        self.0.match_indices('/').map(|(at, _)| Self(self.0[..at].to_owned()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for Key {
    type Error = Unfit;

    fn try_from(text: String) -> Result<Self, Unfit> {
        Self::parse(&text)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_would_lead_elsewhere_is_no_key() {
        let long = "x".repeat(256);
        for bad in ["", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a\nb", "a\u{85}", &long] {
            assert!(Key::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Key::parse(&"a/".repeat(600)), Err(Unfit::TooLong));
        for good in ["a", "a b/ü+%&?#.txt", "...", ".a/..b", "-", "a/b/c"] {
            assert_eq!(Key::parse(good).unwrap().as_str(), good);
        }
        let key = Key::parse("a/b/c").unwrap();
        let (above, name) = key.split();
        assert_eq!((above.collect::<Vec<_>>(), name), (vec!["a", "b"], "c"));
        assert_eq!(key.above().map(String::from).collect::<Vec<_>>(), ["a", "a/b"]);
    }

    proptest! {
        #[test]
        fn a_key_stays_below_its_volume(text in "[a./\\x00\\u{fffe}é]{0,12}") {
            if let Ok(key) = Key::parse(&text) {
                let path = std::path::Path::new(key.as_str());
                let all_normal = path.components().all(|part| {
                    matches!(part, std::path::Component::Normal(_))
                });
                prop_assert!(all_normal);
                prop_assert_eq!(path.components().count(), key.above().count() + 1);
            }
        }
    }
}
