//! The condition of a gateway's bucket, for operators and monitoring. Disk.

use std::fmt;

use serde::Serialize;
use time::OffsetDateTime;

use super::disk::Disk;
use super::stored::Standing;
use super::stored::Stored;
use crate::fleet::Record;
use crate::store::State;

/// The condition of a gateway's bucket.
#[derive(Clone, Debug, Serialize)]
pub struct Condition {
    #[serde(rename = "state")]
    pub standing: Standing,
    /// The reason if it is not in order.
    pub error: Option<String>,
    /// The time when the active key was made.
    #[serde(skip)]
    pub key_made: Option<OffsetDateTime>,
}

impl Condition {
    /// The condition from this host's files; `None` if gateways have no buckets.
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

    /// Says whether no operator needs to look at it.
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
