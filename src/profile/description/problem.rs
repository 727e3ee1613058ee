//! Problems of a `gateway.toml`, each at its place.

use std::fmt;
use std::ops::Range;

use crate::ipxe::script;
use crate::ipxe::script::Code;
use crate::ipxe::script::Finding;
use crate::ipxe::script::Severity;

/// A value, and the bytes of the file where it is written.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<T> Placed<T> {
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Placed<U> {
        Placed { value: change(self.value), span: self.span }
    }
}

/// A problem at a place of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable name of the problem.
    pub code: &'static Code,
    pub severity: Severity,
    /// The bytes of the file that it is about.
    pub span: Range<usize>,
    /// The problem.
    pub what: String,
    /// The way out.
    pub help: String,
}

impl Problem {
    pub(super) fn error(
        code: &'static Code,
        span: &Range<usize>,
        what: impl fmt::Display,
        help: impl fmt::Display,
    ) -> Self {
        let (what, help) = (what.to_string(), help.to_string());
        Self { code, severity: Severity::Error, span: span.clone(), what, help }
    }

    pub(super) fn warning(
        code: &'static Code,
        span: &Range<usize>,
        what: impl fmt::Display,
        help: impl fmt::Display,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, what, help) }
    }

    /// The problems as findings, in the order of the file.
    pub fn findings(source: &str, problems: Vec<Self>) -> Vec<Finding> {
        let found = problems.into_iter().map(|problem| {
            let Self { code, severity, span, what, help } = problem;
            (code, severity, span, what, help)
        });
        script::located(source.as_bytes(), found)
    }
}
