//! Collects findings, and computes their lines and columns at the end.

use std::ops::Range;

use super::Finding;
use super::MOST;
use super::Position;
use super::Severity;
use super::codes;
use super::codes::Code;

#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
}

impl Report {
    pub(super) fn add(
        &mut self,
        code: &'static Code,
        severity: Severity,
        span: Range<usize>,
        what: String,
        help: &str,
    ) {
        let (start, end) = Default::default();
        let help = help.to_owned();
        self.findings.push(Finding { code, severity, span, start, end, what, help });
    }

    pub(super) fn error(
        &mut self,
        code: &'static Code,
        span: Range<usize>,
        what: String,
        help: &str,
    ) {
        self.add(code, Severity::Error, span, what, help);
    }

    pub(super) fn warn(
        &mut self,
        code: &'static Code,
        span: Range<usize>,
        what: String,
        help: &str,
    ) {
        self.add(code, Severity::Warning, span, what, help);
    }

    pub(super) fn not_a_script(&mut self, source: &[u8]) {
        let end = memchr::memchr(b'\n', source).unwrap_or(source.len()).min(16);
        let (what, help) = if source.starts_with(b"\xef\xbb\xbf#!") {
            (
                "there is a byte order mark before `#!ipxe`",
                "save the file as UTF-8 without byte order mark",
            )
        } else if source.starts_with(b"\xff\xfe") || source.starts_with(b"\xfe\xff") {
            (
                "the file is UTF-16, and does not begin with `#!ipxe`",
                "save the file as UTF-8 without byte order mark",
            )
        } else if source == b"#!ipxe" || source == b"#!gpxe" {
            ("nothing follows `#!ipxe`", "add a line end, and the commands that boot")
        } else {
            (
                "the first line is not `#!ipxe`",
                "begin the file with a line `#!ipxe`, with nothing before it",
            )
        };
        self.error(codes::NOT_A_SCRIPT, 0..end, what.to_owned(), help);
    }

    /// Computes lines and columns in one pass over the script.
    pub(super) fn finish(mut self, source: &[u8]) -> Vec<Finding> {
        if self.findings.len() > MOST {
            self.findings.sort_by_key(|finding| (finding.severity, finding.span.start));
            self.findings.truncate(MOST);
        }
        self.findings.sort_by_key(|finding| (finding.span.start, finding.code.id));
        let mut places: Vec<usize> =
            self.findings.iter().flat_map(|f| [f.span.start, f.span.end]).collect();
        places.sort_unstable();
        places.dedup();
        let mut positions = Vec::with_capacity(places.len());
        let mut here = Position { line: 1, column: 1 };
        let mut at = 0;
        for place in &places {
            for byte in &source[at..(*place).min(source.len())] {
                match byte {
                    b'\n' => here = Position { line: here.line + 1, column: 1 },
                    // A continuation byte of a UTF-8 character.
                    0x80..=0xbf => {}
                    _ => here.column += 1,
                }
            }
            at = (*place).min(source.len());
            positions.push(here);
        }
        let position = |place: usize| {
            places.binary_search(&place).map_or_else(|_| Position::default(), |at| positions[at])
        };
        for finding in &mut self.findings {
            finding.start = position(finding.span.start);
            finding.end = position(finding.span.end);
        }
        self.findings
    }
}
