//! The outcome of the last look at the git repository: `STATE/sync/status.json`.
//!
//! Every run of the server or of `farmgate sync` replaces the file, so it always tells of the last
//! one. `farmgate status`, `/readyz`, the metrics and the status page show it. It is this boot
//! host's own: others that share a store have theirs.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use crate::foreign::Foreign;
use crate::identity::GatewayName;
use crate::store::State;
use crate::store::files;
use crate::store::layout;

const FILE: &str = "status.json";

/// The outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The commit is what the fleet is now.
    Applied,
    /// There was nothing to do.
    Unchanged,
    /// Nothing was changed; `reason` says why.
    Failed,
}

impl Outcome {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
        }
    }
}

/// The commit that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its id, all hexadecimal digits.
    pub commit: String,
    /// Name and address of its author.
    pub author: Foreign,
    /// The first line of its message.
    pub subject: Foreign,
}

/// The last run, and the last good one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The commit of the last run. Absent if the remote did not say.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// The time when the last run ended.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Its outcome.
    pub result: Outcome,
    /// The reason if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Foreign>,
    /// The time when a run last ended well.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub last_success: Option<OffsetDateTime>,
    /// The commit that the fleet was last brought to, and when that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<Good>,
    /// Gateways that the commit describes and that were not registered. Once one is, the commit is
    /// applied again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<GatewayName>,
}

/// A commit that passed every check and was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Good {
    /// The commit.
    #[serde(flatten)]
    pub source: Source,
    /// The time when it was first applied.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

impl Status {
    /// Reads the status of a state; `None` before the first run.
    pub fn read(state: &State) -> Result<Option<Self>> {
        let path = path(state.dir());
        let cannot = || format!("cannot read {}", path.display());
        match files::read(&path) {
            Ok(json) => serde_json::from_slice(&json).map(Some).with_context(cannot),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(cannot),
        }
    }

    /// Replaces the status of a state.
    pub(super) fn write(&self, state: &State) -> Result<()> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        files::replace(&path(state.dir()), layout::PRIVATE, |file| file.write_all(&json))
    }

    /// The status after a run that ended well.
    pub(super) fn well(
        before: Option<Self>,
        source: Source,
        result: Outcome,
        at: OffsetDateTime,
    ) -> Self {
        let (before, waiting) =
            before.map_or((None, Vec::new()), |status| (status.good, status.waiting));
        // The time of the first application stays, so that it can be read how long it is in force.
        let good = before.filter(|good| good.source.commit == source.commit);
        let good = good.unwrap_or_else(|| Good { source: source.clone(), at });
        Self {
            source: Some(source),
            at,
            result,
            reason: None,
            last_success: Some(at),
            good: Some(good),
            waiting,
        }
    }

    /// The status after a run that failed.
    pub(super) fn failure(
        before: Option<Self>,
        source: Option<Source>,
        error: &anyhow::Error,
        at: OffsetDateTime,
    ) -> Self {
        let (last_success, good, waiting) = before.map_or((None, None, Vec::new()), |status| {
            (status.last_success, status.good, status.waiting)
        });
        let reason = format!("{error:#}").trim_end().replace('\n', " | ");
        Self {
            source,
            at,
            result: Outcome::Failed,
            reason: Some(Foreign::new(&reason)),
            last_success,
            good,
            waiting,
        }
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let short = |source: &Source| format!("{} ({})", source.short(), source.subject);
        let good = self.good.as_ref().map(|good| short(&good.source));
        match self.result {
            Outcome::Applied | Outcome::Unchanged => {
                let what = good.unwrap_or_else(|| "nothing".to_owned());
                let author = self.good.as_ref().map(|good| good.source.author.to_string());
                let by = author.map_or_else(String::new, |author| format!(" by {author}"));
                format!("in force: {what}{by}, looked at {}", moment(self.at))
            }
            Outcome::Failed => {
                let of = self.source.as_ref().map(|source| format!(" of {}", short(source)));
                let reason = self.reason.as_ref().map_or("", Foreign::as_str);
                let still = good.map_or_else(
                    || "nothing was ever applied".to_owned(),
                    |good| format!("still in force: {good}"),
                );
                let of = of.unwrap_or_default();
                format!("FAILED at {}{of}: {reason}; {still}", moment(self.at))
            }
        }
    }
}

impl Source {
    /// The id as people write it.
    pub fn short(&self) -> &str {
        short(&self.commit)
    }
}

/// The id of a commit as people write it.
pub fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

fn path(state: &Path) -> PathBuf {
    state.join(layout::SYNC).join(FILE)
}

/// A moment for people.
pub fn moment(at: OffsetDateTime) -> String {
    format!("{} {:02}:{:02} UTC", at.date(), at.hour(), at.minute())
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    fn source(commit: char) -> Source {
        Source {
            commit: commit.to_string().repeat(40),
            author: "Ada <ada@example.org>".into(),
            subject: "gateways: a newer kernel".into(),
        }
    }

    #[test]
    fn the_last_good_commit_outlives_failures() {
        let at = OffsetDateTime::UNIX_EPOCH;
        let good = Status::well(None, source('a'), Outcome::Applied, at);
        let later = at + Duration::HOUR;
        let failed = Status::failure(
            Some(good.clone()),
            Some(source('b')),
            &anyhow::anyhow!("boot.ipxe:1:1: \x1b[31mwrong\nand more"),
            later,
        );
        assert_eq!((&failed.good, failed.last_success), (&good.good, Some(at)));
        assert_eq!(
            failed.line(),
            "FAILED at 1970-01-01 01:00 UTC of bbbbbbbbbbbb (gateways: a newer kernel): \
             boot.ipxe:1:1: \u{fffd}[31mwrong | and more; still in force: aaaaaaaaaaaa (gateways: a newer kernel)"
        );
        // Looking again changes nothing but the time of the look.
        let again = Status::well(Some(failed), source('a'), Outcome::Unchanged, later);
        assert_eq!((again.good, again.last_success), (good.good, Some(later)));
        let next = Status::well(None, source('b'), Outcome::Applied, later);
        assert_eq!(next.good.unwrap().at, later);
    }

    #[test]
    fn what_is_written_is_read_and_names_are_flat() {
        let at = OffsetDateTime::UNIX_EPOCH;
        let status = Status::well(None, source('a'), Outcome::Applied, at);
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(json["commit"], "a".repeat(40));
        assert_eq!(json["result"], "applied");
        assert_eq!(json["good"]["subject"], "gateways: a newer kernel");
        assert_eq!(serde_json::from_value::<Status>(json).unwrap(), status);
        let failed = Status::failure(None, None, &anyhow::anyhow!("no answer"), at);
        let json = serde_json::to_value(&failed).unwrap();
        assert_eq!(
            json.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["at", "reason", "result"]
        );
        assert_eq!(serde_json::from_value::<Status>(json).unwrap(), failed);
    }
}
