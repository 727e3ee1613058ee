//! Boot scripts: their grammar, and what may strand a gateway that runs one.
//!
//! Two kinds are kept apart ([`Kind`]). A script that iPXE itself reads gets no
//! finding of the kind syntax; judgement says what will, or may, go wrong when
//! it is run by a machine that nobody can reach.
//!
//! All passes are linear in the script's length (but for sorting) and none
//! recurses: scripts come from users, and may be anything.

mod allow;
mod assets;
pub mod codes;
pub mod commands;
mod endless;
pub mod expand;
mod facts;
mod flow;
pub mod grammar;
mod images;
mod kernel;
pub mod options;
mod paths;
mod payload;
mod report;
mod secrets;
pub mod settings;
mod timeouts;
mod values;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Range;

pub use codes::Code;
pub use codes::Kind;
use flow::Flow;
use flow::Returns;
use grammar::Script;

/// Most bytes of initramfs that a generation should have, if nothing else is said.
pub const INITRAMFS_BUDGET: u64 = 512 * 1024 * 1024;

/// Most findings that are worth listing for one script.
const MOST: usize = 1000;

/// What to check, and against what.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Looks only for what iPXE itself would refuse.
    pub syntax_only: bool,
    /// The files that are served with the script, with their sizes, if known.
    pub files: Option<&'a BTreeMap<String, u64>>,
    /// The first [`HEAD_LEN`](super::contents::HEAD_LEN) bytes of those of them that
    /// [`names`] lists. What is not in it is taken to be right.
    pub heads: Option<&'a BTreeMap<String, Vec<u8>>>,
    /// Whether there is a template of secrets for the script, if known.
    pub template: Option<bool>,
    /// Most bytes of initramfs.
    pub initramfs_budget: u64,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            syntax_only: false,
            files: None,
            heads: None,
            template: None,
            initramfs_budget: INITRAMFS_BUDGET,
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A gateway that comes here is stranded.
    Error,
    /// It may be.
    Warning,
}

/// A place in a script, as editors count: from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Position {
    /// Line of the source.
    pub line: usize,
    /// Character in the line.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Stable name of what it is.
    pub code: &'static Code,
    /// How bad it is.
    pub severity: Severity,
    /// Bytes of the script that it is about.
    pub span: Range<usize>,
    /// Where these begin.
    pub start: Position,
    /// Where they end.
    pub end: Position,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub help: String,
}

/// Checks a script. The findings come in the order of the script.
pub fn check(source: &[u8], options: &Options<'_>) -> Vec<Finding> {
    let mut report = report::Report::default();
    if !grammar::is_script(source) {
        report.not_a_script(source);
        return report.finish(source);
    }
    let script = Script::parse(source);
    let labels = facts::labels(&script);
    let facts = facts::gather(&script, &labels, options);
    let flow = Flow::new(&script, &facts);
    paths::unfinished(&script, &flow, &mut report);
    if !options.syntax_only {
        let seen = Seen {
            script: &script,
            facts: &facts,
            flow: &flow,
            reachable: flow.reachable(Returns::Scripts),
        };
        words::check(&seen, &mut report);
        values::check(&seen, &mut report);
        assets::check(&seen, options, &mut report);
        payload::check(&seen, options, &mut report);
        timeouts::check(&seen, &mut report);
        secrets::check(&seen, options, &mut report);
        kernel::check(&seen, &mut report);
        images::check(&seen, &mut report);
        paths::check(&seen, &labels, &mut report);
        endless::check(&seen, &mut report);
        allow::silence(&script, &mut report);
    }
    report.finish(source)
}

/// The files of the folder that a script fetches or uses, as far as it says so.
pub fn names(source: &[u8]) -> BTreeSet<String> {
    if !grammar::is_script(source) {
        return BTreeSet::new();
    }
    let script = Script::parse(source);
    let facts = facts::gather(&script, &facts::labels(&script), &Options::default());
    facts.iter().filter_map(assets::uri).filter_map(|(_, uri)| assets::relative(uri)).collect()
}

/// Findings in a template of secrets: names that nothing fills in. They are not shown, for
/// what looks like a name can be part of a password.
pub fn in_template(source: &[u8], unknown: &[Range<usize>]) -> Vec<Finding> {
    let mut report = report::Report::default();
    for span in unknown {
        let what = "nothing fills in the name that begins here".to_owned();
        let help = "correct the name (docs/publishing.md lists them), or write `$$` for a `$`";
        report.warn(codes::UNKNOWN_IN_TEMPLATE, span.clone(), what, help);
    }
    report.finish(source)
}

/// What the checks look at.
struct Seen<'a> {
    script: &'a Script<'a>,
    facts: &'a [facts::Fact<'a>],
    flow: &'a Flow,
    reachable: Vec<bool>,
}

impl<'a> Seen<'a> {
    /// Whether any path leads to this command and it is run there.
    fn runs(&self, number: usize) -> bool {
        use grammar::Joined;
        let [ok, failed] = [true, false].map(|ok| self.reachable[self.flow.before(number, ok)]);
        match self.facts[number].command.joined {
            Joined::First | Joined::Then => ok || failed,
            Joined::And => ok,
            Joined::Or => failed,
        }
    }

    /// An error where a command that fails for certain leaves nothing to boot.
    fn severity_of_failure(&self, number: usize) -> Severity {
        let hope = self.flow.hope_after_failure(number, &self.facts[number]);
        if self.runs(number) && !hope { Severity::Error } else { Severity::Warning }
    }

    fn line(&self, fact: &facts::Fact<'_>) -> &'a grammar::Line<'a> {
        &self.script.lines[fact.line]
    }

    /// Where a word of a command stands.
    fn word(&self, fact: &facts::Fact<'_>, word: usize) -> Range<usize> {
        self.line(fact).locate(fact.range(word))
    }
}
