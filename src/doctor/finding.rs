//! Findings, and how they are printed.

use std::fmt;

use serde::Serialize;

const AS_ROOT: &str = "look again as root: sudo farmgate doctor";

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// In order.
    Ok,
    /// It could not be checked.
    Skipped,
    /// An operator should act; gateways boot.
    Warning,
    /// It keeps gateways from booting.
    Error,
}

/// Result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Finding {
    /// Name of the check.
    pub check: &'static str,
    /// Severity.
    pub verdict: Verdict,
    pub what: String,
    /// Advice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub way_out: Option<String>,
    /// True if root could have checked it.
    #[serde(skip)]
    pub for_root: bool,
}

/// All findings, in the order of the checks.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn ok(&mut self, check: &'static str, what: impl Into<String>) {
        self.add(check, Verdict::Ok, what.into(), None);
    }

    pub(super) fn skipped(&mut self, check: &'static str, what: impl Into<String>) {
        self.add(check, Verdict::Skipped, what.into(), None);
    }

    /// Something that this user may not read.
    pub(super) fn unseen(&mut self, check: &'static str, what: impl Into<String>) {
        self.add(check, Verdict::Skipped, what.into(), Some(AS_ROOT.to_owned()));
        if let Some(finding) = self.0.last_mut() {
            finding.for_root = true;
        }
    }

    pub(super) fn warning(
        &mut self,
        check: &'static str,
        what: impl Into<String>,
        way_out: impl Into<String>,
    ) {
        self.add(check, Verdict::Warning, what.into(), Some(way_out.into()));
    }

    pub(super) fn error(
        &mut self,
        check: &'static str,
        what: impl Into<String>,
        way_out: impl Into<String>,
    ) {
        self.add(check, Verdict::Error, what.into(), Some(way_out.into()));
    }

    /// Says whether `check` has a finding of this severity.
    pub(super) fn has(&self, check: &str, verdict: Verdict) -> bool {
        self.0.iter().any(|finding| finding.check == check && finding.verdict == verdict)
    }

    /// Number of findings of this severity.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.0.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// Number of things that root could have checked.
    pub fn for_root(&self) -> usize {
        self.0.iter().filter(|finding| finding.for_root).count()
    }

    fn add(
        &mut self,
        check: &'static str,
        verdict: Verdict,
        what: String,
        way_out: Option<String>,
    ) {
        self.0.push(Finding { check, verdict, what, way_out, for_root: false });
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        })
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Finding { check, verdict, what, way_out, .. }) in self.0.iter().enumerate() {
            let line_break = if at == 0 { "" } else { "\n" };
            write!(f, "{line_break}{verdict:<8} {check:<12} {what}")?;
            if let Some(way_out) = way_out {
                write!(f, "\n{:<21} → {way_out}", "")?;
            }
        }
        Ok(())
    }
}
