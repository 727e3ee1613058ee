use std::fmt;

use serde::Serialize;
use time::OffsetDateTime;

use super::disk::Disk;
use super::stored::Standing;
use super::stored::Stored;
use crate::fleet::Record;
use crate::store::State;

/// How the bucket of a gateway is doing, for people and their monitoring.
#[derive(Clone, Debug, Serialize)]
pub struct Condition {
    /// In a word.
    #[serde(rename = "state")]
    pub standing: Standing,
    /// What is wrong with it.
    pub error: Option<String>,
    /// When the key was made that boots are given.
    #[serde(skip)]
    pub key_made: Option<OffsetDateTime>,
}

impl Condition {
    /// As this host knows it; `None` if gateways have no buckets.
    pub fn of(state: &State, record: &Record) -> Option<Self> {
        state.config().buckets.provider.as_ref()?;
        Some(match Disk::new(state).load(&record.id) {
            Ok(stored) => {
                let stored = stored.unwrap_or_else(|| Stored::new(record.name.clone()));
                Self {
                    standing: stored.standing(true),
                    key_made: stored.active().map(|key| key.made),
                    error: stored.trouble.map(|trouble| trouble.error),
                }
            }
            Err(error) => Self {
                standing: Standing::Failed,
                error: Some(format!("{error:#}")),
                key_made: None,
            },
        })
    }

    /// Whether somebody should look at it.
    pub fn is_well(&self) -> bool {
        matches!(self.standing, Standing::Ready | Standing::Rotating)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.standing)?;
        self.error.as_ref().map_or(Ok(()), |error| write!(f, ": {error}"))
    }
}
