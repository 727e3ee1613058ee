//! Checks that downloads have a timeout.

use super::Context;
use super::assets;
use super::codes;
use super::expand::is_literal;
use super::fact::Fact;
use super::report::Report;

/// Commands that may download, and have `--timeout`.
const DOWNLOADS: &[&str] = &[
    "boot",
    "chain",
    "imgargs",
    "imgexec",
    "imgfetch",
    "imgload",
    "imgselect",
    "initrd",
    "kernel",
    "module",
];

/// Reports once for the whole script, because whoever forgets the option forgets it everywhere.
pub(super) fn check(context: &Context<'_>, report: &mut Report) {
    let names = assets::names(context.facts);
    let mut without = context.facts.iter().enumerate().filter(|(number, fact)| {
        DOWNLOADS.contains(&fact.name())
            && context.runs(*number)
            && assets::target(fact).is_some_and(|(_, uri)| !names.known(fact, uri))
            && !has_timeout(fact)
    });
    let Some((_, first)) = without.next() else { return };
    let what = match without.count() {
        0 => format!("`{}` has no `--timeout`", first.name()),
        more => format!("`{}` has no `--timeout`, nor have {more} more downloads", first.name()),
    };
    let help = "add `--timeout 30000`: it then fails after that many milliseconds without a byte";
    report.warn(codes::NO_TIMEOUT, context.word(first, 0), what, help);
}

fn has_timeout(fact: &Fact<'_>) -> bool {
    let given = fact.arguments.as_ref().ok().and_then(|found| found.option("timeout"));
    given.and_then(|given| given.value).is_some_and(|(_, value)| {
        // A timeout of 0 means no timeout.
        !is_literal(value) || value.iter().any(|byte| !matches!(byte, b'0' | b'x'))
    })
}
