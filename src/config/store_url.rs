//! `[store] url`: which bucket or directory several boot hosts share. Pure.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;

use super::text::parsed;

/// The address of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// A bucket, and a prefix of all names in it (perhaps empty).
    S3 {
        /// Name of the bucket.
        bucket: String,
        /// Without slashes at its ends.
        prefix: String,
    },
    /// A directory on a file system that all boot hosts mount.
    Directory(PathBuf),
}

impl FromStr for StoreUrl {
    type Err = ParseStoreUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason| ParseStoreUrlError { url: text.to_owned(), reason };
        if let Some(path) = text.strip_prefix("file://") {
            let absolute = path.starts_with('/') && !path.contains(['?', '#', '%']);
            return if absolute {
                Ok(Self::Directory(path.into()))
            } else {
                Err(error("a directory needs its absolute path, as in file:///srv/farmgate"))
            };
        }
        let rest = text
            .strip_prefix("s3://")
            .ok_or_else(|| error("it must begin with s3:// or file:///"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if bucket.is_empty() || !bucket.chars().all(plain) {
            return Err(error("the bucket's name may hold letters, digits, -, . and _"));
        }
        let part = |part: &str| !part.is_empty() && part.chars().all(plain) && part != "..";
        if !(prefix.is_empty() || prefix.split('/').all(part)) {
            return Err(error("the prefix may hold letters, digits, -, ., _ and /"));
        }
        Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::Directory(path) => write!(f, "file://{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for StoreUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "a URL such as \"s3://bucket/prefix\"")
    }
}

/// The text is not the URL of a store.
#[derive(Debug, thiserror::Error)]
#[error("{url:?} cannot be a store: {reason} (example: s3://bucket/prefix)")]
pub struct ParseStoreUrlError {
    url: String,
    reason: &'static str,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_what_is_no_store() {
        for bad in ["", "farm", "s3://", "s3:///x", "s3://a/b//c", "s3://a/../b", "file://x"] {
            assert!(bad.parse::<StoreUrl>().is_err(), "{bad:?} was accepted");
        }
        for good in ["s3://a", "s3://a/b/c/", "file:///srv/farm gate"] {
            assert!(good.parse::<StoreUrl>().is_ok(), "{good:?} was refused");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(text in "(s3://[a.]{1,5}(/[a./]{0,9})?|file:///\\PC{0,9})") {
            if let Ok(url) = text.parse::<StoreUrl>() {
                prop_assert_eq!(url.to_string().parse::<StoreUrl>().unwrap(), url);
            }
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = text.parse::<StoreUrl>();
        }
    }
}
