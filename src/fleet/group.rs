//! Groups of gateways, and free labels on them. Pure.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

use crate::foreign::Foreign;
use crate::identity::GatewayName;
use crate::identity::natural_cmp;

/// The word that stands for all gateways wherever a group does (`@all`).
pub const ALL: &str = "all";

/// The name of a group of gateways: written like the name of a gateway. No group is called `all`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct GroupName(GatewayName);

impl GroupName {
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for GroupName {
    type Err = ParseGroupError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            _ if text == ALL => Err(ParseGroupError::All),
            Ok(name) => Ok(Self(name)),
            Err(_) => Err(ParseGroupError::Form(Foreign::shorter(text, 80))),
        }
    }
}

/// In the order of people: `lab-2` before `lab-10`.
impl Ord for GroupName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for GroupName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<GroupName> for String {
    fn from(name: GroupName) -> Self {
        name.0.into()
    }
}

impl TryFrom<String> for GroupName {
    type Error = ParseGroupError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The text is not the name of a group.
#[derive(Debug, thiserror::Error)]
pub enum ParseGroupError {
    /// It has characters that a name cannot have, or too many.
    #[error(
        "{:?} is not the name of a group: use 1 to 63 lower-case letters, digits and hyphens, \
         with no hyphen at either end", .0.as_str()
    )]
    Form(Foreign),
    /// `@all` stands for all gateways.
    #[error("no group can be called all: @all stands for all gateways")]
    All,
}

/// Longest name of a label.
const MAX_LABEL: usize = 63;

/// Longest value of a label, in bytes.
const MAX_VALUE: usize = 256;

/// Most labels of one gateway.
pub const MAX_LABELS: usize = 64;

/// The name of a label: a lower-case letter, then lower-case letters, digits, `-`, `_` and `.`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct LabelName(String);

impl LabelName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LabelName {
    type Err = ParseLabelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        let valid = text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.len() <= MAX_LABEL
            && text.chars().all(inner);
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseLabelError::Name(Foreign::shorter(text, 80)))
        }
    }
}

impl Ord for LabelName {
    fn cmp(&self, other: &Self) -> Ordering {
        natural_cmp(&self.0, &other.0)
    }
}

impl PartialOrd for LabelName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for LabelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<LabelName> for String {
    fn from(name: LabelName) -> Self {
        name.0
    }
}

impl TryFrom<String> for LabelName {
    type Error = ParseLabelError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// A label with its value, written `NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Name of the label.
    pub name: LabelName,
    /// One line of visible text; may be empty.
    pub value: String,
}

impl Label {
    /// Checks that a label can have this value.
    pub fn new(name: LabelName, value: &str) -> Result<Self, ParseLabelError> {
        let harmless = Foreign::shorter(value, MAX_VALUE);
        if value.len() > MAX_VALUE || harmless.as_str() != value {
            return Err(ParseLabelError::Value(name));
        }
        Ok(Self { name, value: value.to_owned() })
    }
}

impl FromStr for Label {
    type Err = ParseLabelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| ParseLabelError::NoValue(Foreign::shorter(text, 80)))?;
        Self::new(name.parse()?, value)
    }
}

/// The text is not a label, or not the name of one.
#[derive(Debug, thiserror::Error)]
pub enum ParseLabelError {
    /// There is no `=`.
    #[error("{:?} has no value: write NAME=VALUE", .0.as_str())]
    NoValue(Foreign),
    /// The name has characters that it cannot have, or too many.
    #[error(
        "{:?} is not the name of a label: a lower-case letter, then lower-case letters, digits, \
         -, _ and ., at most {MAX_LABEL}", .0.as_str()
    )]
    Name(Foreign),
    /// The value is too long, or not all of it can be seen.
    #[error(
        "the value of label {0} must be one line of visible text, without spaces at its ends, of \
         at most {MAX_VALUE} bytes"
    )]
    Value(LabelName),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_written_like_a_gateway() {
        for good in ["a", "debian-13", "0", &"x".repeat(63)] {
            assert_eq!(good.parse::<GroupName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "A", "@a", "a b", "a/b", "all", "\u{1b}[2J", &"x".repeat(64)] {
            let error = bad.parse::<GroupName>().unwrap_err().to_string();
            assert!(!error.contains('\u{1b}') && error.len() < 300, "{error}");
        }
    }

    #[test]
    fn a_label_is_one_visible_line() {
        let label: Label = "site=Grenoble, rack 4=left".parse().unwrap();
        assert_eq!((label.name.as_str(), &*label.value), ("site", "Grenoble, rack 4=left"));
        assert_eq!("a.b-c_1=".parse::<Label>().unwrap().value, "");
        for bad in ["site", "=x", "Site=x", "1=x", "a b=x", "a=x\ny", "a=\u{1b}[2J", "a= x"] {
            assert!(bad.parse::<Label>().is_err(), "{bad:?} was taken");
        }
        assert!(format!("a={}", "x".repeat(256)).parse::<Label>().is_ok());
        assert!(format!("a={}", "x".repeat(257)).parse::<Label>().is_err());
        assert!("a".repeat(63).parse::<LabelName>().is_ok());
        assert!("a".repeat(64).parse::<LabelName>().is_err());
    }
}
