//! Gateway names.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

use super::natural::natural_cmp;

/// Longest gateway name. This is the limit of a DNS label (RFC 1035, section 2.3.4); it also fits a
/// common name (RFC 5280: 64) and a file name.
const MAX_LEN: usize = 63;

/// The name of a gateway: lower-case letters, digits and inner hyphens. It needs no quoting in a
/// path, a certificate, an iPXE script or a URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct GatewayName(String);

impl GatewayName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GatewayName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let valid = !text.is_empty()
            && text.len() <= MAX_LEN
            && text.chars().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if valid { Ok(Self(text.to_owned())) } else { Err(ParseNameError(text.to_owned())) }
    }
}

/// In the order of people: `lab-2` before `lab-10`.
impl Ord for GatewayName {
    fn cmp(&self, other: &Self) -> Ordering {
        natural_cmp(&self.0, &other.0)
    }
}

impl PartialOrd for GatewayName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for GatewayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<std::path::Path> for GatewayName {
    fn as_ref(&self) -> &std::path::Path {
        self.0.as_ref()
    }
}

impl From<GatewayName> for String {
    fn from(name: GatewayName) -> Self {
        name.0
    }
}

impl TryFrom<String> for GatewayName {
    type Error = ParseNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not a gateway name: use 1 to {MAX_LEN} lower-case letters, digits and hyphens, \
     with no hyphen at either end"
)]
pub struct ParseNameError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_labels_and_nothing_that_could_be_a_path_or_an_option() {
        for good in ["a", "lab-1", "0farm", &"x".repeat(63)] {
            assert_eq!(good.parse::<GatewayName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", "..", "a b", "ä", "a\0", &"x".repeat(64)] {
            assert!(bad.parse::<GatewayName>().is_err(), "{bad:?} was taken");
        }
    }
}
