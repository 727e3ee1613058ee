//! The rules by which a wave of a rollout is over. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

/// The conditions under which a rollout goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rules {
    /// The share of a wave that must work.
    #[serde(default, skip_serializing_if = "Share::is_all")]
    pub wait_for: Share,
    /// The longest wait of a wave, in seconds in its file.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "timeout-seconds",
        serialize_with = "write_seconds",
        deserialize_with = "read_seconds"
    )]
    pub timeout: Option<Duration>,
}

fn write_seconds<S: Serializer>(limit: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    limit.map(|limit| limit.as_secs()).serialize(to)
}

fn read_seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    Ok(Option::<u64>::deserialize(from)?.map(Duration::from_secs))
}

/// A share of a wave in percent: at least 1, at most 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub struct Share(u8);

impl Share {
    /// The number of gateways that this is of `all`: never less than the share, and so at least 1
    /// of any.
    pub fn of(self, all: usize) -> usize {
        (all * usize::from(self.0)).div_ceil(100)
    }

    /// True for 100 %.
    pub fn is_all(&self) -> bool {
        self.0 == 100
    }
}

impl Default for Share {
    fn default() -> Self {
        Self(100)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl From<Share> for u8 {
    fn from(share: Share) -> Self {
        share.0
    }
}

impl TryFrom<u8> for Share {
    type Error = ParseShareError;

    fn try_from(percent: u8) -> Result<Self, Self::Error> {
        (1..=100).contains(&percent).then_some(Self(percent)).ok_or(ParseShareError)
    }
}

impl FromStr for Share {
    type Err = ParseShareError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_suffix('%').ok_or(ParseShareError)?;
        digits.parse::<u8>().map_err(|_| ParseShareError)?.try_into()
    }
}

/// The text is not a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a share from 1% to 100%")]
pub struct ParseShareError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_up() {
        let of = |share: &str, all| share.parse::<Share>().unwrap().of(all);
        assert_eq!([0, 1, 2, 3, 10, 11].map(|all| of("80%", all)), [0, 1, 2, 3, 8, 9]);
        assert_eq!([of("1%", 1), of("1%", 500), of("100%", 7)], [1, 5, 7]);
        for wrong in ["", "%", "0%", "101%", "80", "-1%", "300%", "8 0%", "80 %"] {
            assert_eq!(wrong.parse::<Share>(), Err(ParseShareError), "{wrong}");
        }
    }

    #[test]
    fn rules_that_an_older_version_would_have_used_take_no_room() {
        assert_eq!(serde_json::to_string(&Rules::default()).unwrap(), "{}");
        let rules =
            Rules { wait_for: "80%".parse().unwrap(), timeout: Some(Duration::from_secs(90)) };
        let text = serde_json::to_string(&rules).unwrap();
        assert_eq!(text, r#"{"wait-for":80,"timeout-seconds":90}"#);
        assert_eq!(serde_json::from_str::<Rules>(&text).unwrap(), rules);
        assert!(serde_json::from_str::<Rules>(r#"{"wait-for":0}"#).is_err());
    }
}
