//! Names of profiles. Pure.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

use crate::foreign::Foreign;
use crate::identity::GatewayName;

/// The name of a profile: written like the name of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ProfileName(GatewayName);

impl ProfileName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for ProfileName {
    type Err = ParseProfileNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| ParseProfileNameError(Foreign::shorter(text, 64)))
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<ProfileName> for String {
    fn from(name: ProfileName) -> Self {
        name.0.into()
    }
}

impl TryFrom<String> for ProfileName {
    type Error = ParseProfileNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The text cannot name a profile.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not the name of a profile: use 1 to 63 lower-case letters, digits and hyphens, with \
     no hyphen at either end"
)]
pub struct ParseProfileNameError(Foreign);
