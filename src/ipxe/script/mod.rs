//! Checks boot scripts: their grammar, and what may strand a gateway that runs them. Pure.
//!
//! There are two kinds of findings ([`Kind`]). Syntax: iPXE itself refuses the script; a script
//! that iPXE reads never gets such a finding. Judgement: something will or may go wrong when a
//! machine that nobody can reach runs the script.
//!
//! Scripts come from users and may contain anything. So every pass is linear in the script's length
//! (except for sorting), and none is recursive.

mod allow;
mod assets;
mod boot2container;
pub mod codes;
pub mod commands;
mod endless;
pub mod expand;
mod fact;
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

/// Default limit for the size of a generation's initramfs.
pub const INITRAMFS_BUDGET: u64 = 512 * 1024 * 1024;

/// Limit of findings for one script. Nobody reads more.
const MOST: usize = 1000;

/// Options of a check, and what it compares the script with.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Report only what iPXE itself would refuse.
    pub syntax_only: bool,
    /// The files that are served with the script and their sizes, if known.
    pub files: Option<&'a BTreeMap<String, u64>>,
    /// The first [`HEAD_LEN`](super::contents::HEAD_LEN) bytes of each file that [`names`] lists. A
    /// file without an entry is assumed to be right.
    pub heads: Option<&'a BTreeMap<String, Vec<u8>>>,
    /// True if there is a secrets template for the script; `None` if not known.
    pub template: Option<bool>,
    /// The variables of the gateway that gets the script, if known.
    pub variables: Option<&'a KnownVariables>,
    /// Limit for the size of the initramfs, in bytes.
    pub initramfs_budget: u64,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            syntax_only: false,
            files: None,
            heads: None,
            template: None,
            variables: None,
            initramfs_budget: INITRAMFS_BUDGET,
        }
    }
}

/// The names of a gateway's variables.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KnownVariables {
    /// Those that it has.
    pub set: BTreeSet<String>,
    /// Those that it lacks, and other gateways with the same script have.
    pub elsewhere: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A gateway that gets here is stranded.
    Error,
    /// A gateway that gets here may be stranded.
    Warning,
}

/// A position in a script, as editors count: from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Position {
    pub line: usize,
    /// Counted in characters.
    pub column: usize,
}

#[derive(Clone, Debug)]
pub struct Finding {
    /// Stable name of the problem.
    pub code: &'static Code,
    pub severity: Severity,
    /// The bytes of the script that it is about.
    pub span: Range<usize>,
    pub start: Position,
    pub end: Position,
    /// The problem.
    pub what: String,
    /// A way to fix it.
    pub help: String,
}

/// Checks a script. Findings come in the order of the script.
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
        let context = Context {
            script: &script,
            facts: &facts,
            flow: &flow,
            reachable: flow.reachable(Returns::Scripts),
        };
        words::check(&context, &mut report);
        values::check(&context, options, &mut report);
        assets::check(&context, options, &mut report);
        payload::check(&context, options, &mut report);
        timeouts::check(&context, &mut report);
        secrets::check(&context, options, &mut report);
        kernel::check(&context, &mut report);
        boot2container::check(&context, &mut report);
        images::check(&context, &mut report);
        paths::check(&context, &labels, &mut report);
        endless::check(&context, &mut report);
        allow::silence(&script, &mut report);
    }
    report.finish(source)
}

/// The files of the folder that a script fetches or uses, as far as their names contain no
/// settings.
pub fn names(source: &[u8]) -> BTreeSet<String> {
    if !grammar::is_script(source) {
        return BTreeSet::new();
    }
    let script = Script::parse(source);
    let facts = facts::gather(&script, &facts::labels(&script), &Options::default());
    facts.iter().filter_map(assets::uri).filter_map(|(_, uri)| assets::relative(uri)).collect()
}

/// Says which of these variables the script certainly never uses. A script that chains another one
/// may use all.
pub fn unused<'n>(source: &[u8], names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    if !grammar::is_script(source) {
        return Vec::new();
    }
    let script = Script::parse(source);
    let facts = facts::gather(&script, &facts::labels(&script), &Options::default());
    values::unused(&facts, names)
}

/// The finding of a variable that the script never uses; `span` is where `source` gives its value.
pub fn unused_variable(name: &str, source: &[u8], span: Range<usize>) -> Finding {
    let mut report = report::Report::default();
    let what = format!("boot.ipxe does not use the variable `{name}`");
    let help = "correct its name here or in boot.ipxe, or remove it";
    report.warn(codes::UNUSED_VARIABLE, span, what, help);
    report.finish(source).remove(0)
}

/// Reports names in a secrets template that nothing fills in. The message does not contain the
/// name, because it could be part of a password.
pub fn in_template(source: &[u8], unknown: &[Range<usize>]) -> Vec<Finding> {
    let mut report = report::Report::default();
    for span in unknown {
        let what = "nothing fills in the name that begins here".to_owned();
        let help = "correct the name (docs/publishing.md lists them), or write `$$` for a `$`";
        report.warn(codes::UNKNOWN_IN_TEMPLATE, span.clone(), what, help);
    }
    report.finish(source)
}

/// Findings of other checks, in the order of the text, with their lines and columns.
pub fn located(
    source: &[u8],
    found: impl IntoIterator<Item = (&'static Code, Severity, Range<usize>, String, String)>,
) -> Vec<Finding> {
    let mut report = report::Report::default();
    for (code, severity, span, what, help) in found {
        report.add(code, severity, span, what, &help);
    }
    report.finish(source)
}

/// The input of the checks.
struct Context<'a> {
    script: &'a Script<'a>,
    facts: &'a [fact::Fact<'a>],
    flow: &'a Flow,
    reachable: Vec<bool>,
}

impl<'a> Context<'a> {
    /// True if a path leads to this command and it runs there.
    fn runs(&self, number: usize) -> bool {
        use grammar::Joined;
        let [ok, failed] = [true, false].map(|ok| self.reachable[self.flow.before(number, ok)]);
        match self.facts[number].command.joined {
            Joined::First | Joined::Then => ok || failed,
            Joined::And => ok,
            Joined::Or => failed,
        }
    }

    /// An error if something is certain to fail and nothing can be booted after it, otherwise a
    /// warning.
    fn severity_of_failure(&self, number: usize) -> Severity {
        let may_boot = self.flow.may_boot_after_failure(number, &self.facts[number]);
        if self.runs(number) && !may_boot { Severity::Error } else { Severity::Warning }
    }

    fn line(&self, fact: &fact::Fact<'_>) -> &'a grammar::Line<'a> {
        &self.script.lines[fact.line]
    }

    /// Position of a word of a command.
    fn word(&self, fact: &fact::Fact<'_>, word: usize) -> Range<usize> {
        self.line(fact).locate(fact.range(word))
    }
}
