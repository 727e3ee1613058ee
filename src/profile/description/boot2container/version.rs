//! Releases of boot2container.

use std::str::FromStr;

use crate::foreign::Foreign;

/// The release of boot2container: it decides the names of options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::profile::description) struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    /// The first release that is known to have only the new names.
    const NEW_NAMES: Self = Self { major: 0, minor: 10 };

    pub(super) fn run(self) -> &'static str {
        if self < Self::NEW_NAMES { "b2c.container" } else { "b2c.run" }
    }

    pub(super) fn run_service(self) -> &'static str {
        if self < Self::NEW_NAMES { "b2c.service" } else { "b2c.run_service" }
    }
}

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || ParseVersionError(Foreign::shorter(text, 32));
        let mut parts = text.strip_prefix('v').unwrap_or(text).split('.');
        let mut next = || {
            let digits = parts.next().filter(|part| part.chars().all(|c| c.is_ascii_digit()));
            digits.and_then(|part| part.parse().ok()).ok_or_else(malformed)
        };
        let version = Self { major: next()?, minor: next()? };
        let rest: Vec<&str> = parts.collect();
        let patch = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
        if rest.len() > 1 || !rest.iter().all(|part| patch(part)) {
            return Err(malformed());
        }
        Ok(version)
    }
}

/// The text is no release.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a release of boot2container")]
pub(in crate::profile::description) struct ParseVersionError(Foreign);
