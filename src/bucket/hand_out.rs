//! The values of a bucket that a boot gets. Pure.

use super::error::Error;
use super::stored::Key;
use super::stored::Secret;
use super::stored::Stored;

/// The values that a boot gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values {
    endpoint: String,
    region: Option<String>,
    key_id: String,
    secret: Secret,
    bucket: String,
}

impl Values {
    /// The values, by their names in boot scripts and secrets templates.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let values = [
            ("s3_endpoint", &*self.endpoint),
            ("s3_access_key_id", &*self.key_id),
            ("s3_access_key", self.secret.reveal()),
            ("s3_bucket_name", &*self.bucket),
        ];
        values.into_iter().chain(self.region.as_deref().map(|region| ("s3_region", region)))
    }

    /// All names, also of values that are missing.
    pub const NAMES: [&'static str; 5] =
        ["s3_endpoint", "s3_access_key_id", "s3_access_key", "s3_bucket_name", "s3_region"];

    fn of(stored: &Stored, key: &Key) -> Result<Option<Self>, Error> {
        let (Some(bucket), Some(secret)) = (&stored.bucket, &key.secret) else { return Ok(None) };
        let values = Self {
            endpoint: bucket.endpoint.clone(),
            region: bucket.region.clone(),
            key_id: key.id.clone(),
            secret: secret.clone(),
            bucket: key.bucket.clone(),
        };
        let bad = values.named().find(|(_, value)| !is_safe(value)).map(|(what, _)| what);
        bad.map_or(Ok(Some(values)), |what| Err(Error::Unsafe { what }))
    }
}

/// Says whether iPXE's command line takes `value` literally (`src/core/exec.c`): no blanks, quotes,
/// `$`, `\`, `#`, `&` or `|`, and no other character that keys and addresses do not need.
pub(super) fn is_safe(value: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/+=[]".contains(&byte);
    !value.is_empty() && value.bytes().all(safe)
}

/// The values for one boot, or the reason why there are none.
#[derive(Debug, Default)]
pub struct HandOut {
    pub values: Option<Values>,
    /// The reason if there are none, or older ones than intended.
    pub problem: Option<String>,
}

/// The values for a boot, from the content of the file.
pub fn hand_out(stored: &Stored) -> HandOut {
    let trouble = stored.trouble.as_ref().map(|trouble| trouble.error.clone());
    let Some(active) = stored.active() else {
        let waiting = || "it has no bucket yet".to_owned();
        return HandOut { values: None, problem: Some(trouble.unwrap_or_else(waiting)) };
    };
    match Values::of(stored, active) {
        Ok(values) => HandOut { values, problem: trouble },
        Err(error) => HandOut { values: None, problem: Some(error.to_string()) },
    }
}

/// The same when the hand-out cannot be recorded. A key that was never handed out before is not
/// given: it would count as unused, and be deleted some day. Nor is an older key: if the same boot
/// asked again and got the new one, its acknowledgement would delete the old one, which it may be
/// using.
pub(super) fn hand_out_unrecorded(stored: &Stored, problem: String) -> HandOut {
    let known = stored.active().filter(|key| key.delivered);
    let values = known.and_then(|key| Values::of(stored, key).ok().flatten());
    HandOut { values, problem: Some(problem) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_ipxe_would_read_gets_into_a_script() {
        for good in ["K005/abc+DEF==", "https://[::1]:3900", "lab-1", "s3.us-west-004.example.org"]
        {
            assert!(is_safe(good), "{good}");
        }
        for bad in ["", "a b", "a\nb", "${x}", "a||b", "a&&b", "a#b", "'a", "\"a", "a\\b", "ä"] {
            assert!(!is_safe(bad), "{bad:?}");
        }
    }
}
