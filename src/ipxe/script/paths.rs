//! Checks that depend on the paths through the script: ends, loops, unreachable lines, tests.

use super::Context;
use super::Severity;
use super::assets::FETCH;
use super::codes;
use super::expand::is_literal;
use super::fact::Effect;
use super::fact::Fact;
use super::facts::Labels;
use super::flow::Flow;
use super::flow::Returns;
use super::grammar::Joined;
use super::grammar::Script;
use super::grammar::shown;
use super::report::Report;

/// Commands that can fail because of the network, and so may succeed later.
pub(super) const NETWORK: &[&str] = &[
    "boot",
    "chain",
    "dhcp",
    "ifconf",
    "iflinkwait",
    "ifopen",
    "imgexec",
    "imgfetch",
    "imgload",
    "imgselect",
    "imgverify",
    "initrd",
    "kernel",
    "module",
    "nslookup",
    "ntp",
    "ping",
    "sync",
];

/// Commands whose failure is a normal result.
const TESTS: &[&str] = &["iseq", "isset", "prompt"];

const GO_ON: &str =
    "put `||` at the end of the line, so that the script continues with the next one";

/// Reports a backslash before the end of the file if a path leads there.
pub(super) fn unfinished(script: &Script<'_>, flow: &Flow, report: &mut Report) {
    let Some(line) = script.lines.last().filter(|line| line.unfinished) else { return };
    if flow.reachable(Returns::Scripts)[flow.unfinished()] {
        let what = "the file ends in the middle of this line".to_owned();
        let help = "delete the backslash at the end";
        report.error(codes::UNFINISHED, line.whole(), what, help);
    }
}

pub(super) fn check(context: &Context<'_>, labels: &Labels<'_>, report: &mut Report) {
    ends(context, report);
    unreachable(context, report);
    duplicates(context, labels, report);
    for (number, fact) in
        context.facts.iter().enumerate().filter(|(number, _)| context.runs(*number))
    {
        waits(context, fact, report);
        test_ends(context, number, fact, report);
    }
    nothing_to_boot(context, report);
    loops(context, report);
}

fn ends(context: &Context<'_>, report: &mut Report) {
    for (number, fact) in context.facts.iter().enumerate() {
        if fact.name() == "exit" && fact.arguments.is_ok() && context.runs(number) {
            let what = "the script ends here without booting anything".to_owned();
            let help = "go to a label that tries again, or `reboot`";
            // Another status shows intent: the script ends so that the medium tries again.
            let failure = fact.argument().is_some_and(|(_, status)| {
                is_literal(status) && status.iter().any(|byte| !matches!(byte, b'0' | b'x'))
            });
            let error = fact.is_plain() && !failure;
            let severity = if error { Severity::Error } else { Severity::Warning };
            report.add(codes::EXIT, severity, context.word(fact, 0), what, help);
        }
    }
    for (number, fact) in context.facts.iter().enumerate() {
        if fact.name() == "poweroff" && fact.arguments.is_ok() && context.runs(number) {
            let what = "the machine is switched off here".to_owned();
            let help = "use `reboot`, after a `sleep` if it should wait";
            report.warn(codes::POWEROFF, context.word(fact, 0), what, help);
        }
    }
    let over = context.flow.reachable(Returns::Never)[context.flow.over()];
    let Some(line) = context.script.lines.last().filter(|_| over) else { return };
    let may_boot = context.flow.may_boot();
    let what = if may_boot {
        "a path leads past the last line"
    } else {
        "the script ends and boots nothing"
    };
    let severity = if may_boot { Severity::Warning } else { Severity::Error };
    let help = "end every path with `boot`, `chain`, `reboot`, or a goto that tries again";
    report.add(codes::FALLS_OFF, severity, line.whole(), what.to_owned(), help);
}

fn unreachable(context: &Context<'_>, report: &mut Report) {
    // One finding for a run of unreachable lines is enough.
    let mut before = false;
    let mut after_boot = false;
    let mut after_test = false;
    let mut reported = usize::MAX;
    for (number, fact) in context.facts.iter().enumerate() {
        let runs = context.runs(number);
        let empty = fact.words.is_empty();
        let starts_line = fact.command.joined == Joined::First;
        if starts_line && !empty {
            if !runs && !before && reported != fact.line {
                let what = "no path leads to this line".to_owned();
                let help = if after_boot {
                    "a `boot` that fails ends the script: write `boot || goto label`"
                } else if after_test {
                    "a test that fails ends the script: put `||` at the end of the line before, \
                     so that the script continues here"
                } else {
                    "delete it, or add a path to it"
                };
                report.warn(codes::UNREACHABLE, context.line(fact).whole(), what, help);
            }
            before = !runs;
        } else if !empty && !runs && !before && reported != fact.line {
            let what = format!("`{}` is never run", shown(fact.words[0]));
            let help = "the command before never fails, never succeeds, or leads elsewhere";
            report.warn(codes::UNREACHABLE, context.word(fact, 0), what, help);
            reported = fact.line;
        }
        if !empty {
            after_boot = fact.effect == Effect::Boot;
            after_test &= !starts_line;
            after_test |= runs && ends_by_test(context, number, fact);
        }
    }
}

fn duplicates(context: &Context<'_>, labels: &Labels<'_>, report: &mut Report) {
    for (number, line) in context.script.lines.iter().enumerate() {
        let Some(range) = &line.label else { continue };
        let label = line.get(range);
        if labels.get(label).is_some_and(|first| *first != number) {
            let what = format!("an earlier line already has the label `{}`", shown(label));
            report.warn(codes::DUPLICATE_LABEL, line.locate(range), what, "rename one of them");
        }
    }
}

/// Reports a test that ends the script when it is false.
fn test_ends(context: &Context<'_>, number: usize, fact: &Fact<'_>, report: &mut Report) {
    if fact.arguments.is_ok() && ends_by_test(context, number, fact) {
        let what = format!("`{}` ends the script when it fails", fact.name());
        report.warn(codes::TEST_ENDS, context.word(fact, 0), what, GO_ON);
    }
}

fn ends_by_test(context: &Context<'_>, number: usize, fact: &Fact<'_>) -> bool {
    // Without a timeout or a key of its own, a prompt only ever succeeds.
    let fails = fact.name() != "prompt" || fact.has("timeout") || fact.has("key");
    fails && TESTS.contains(&fact.name()) && context.flow.failure_ends(number, fact)
}

fn waits(context: &Context<'_>, fact: &Fact<'_>, report: &mut Report) {
    let name = fact.name();
    if fact.arguments.is_err() {
        return;
    }
    let timeout = fact.arguments.as_ref().ok().and_then(|found| found.option("timeout"));
    // A timeout of 0 means no timeout.
    let endless = match timeout.and_then(|given| given.value) {
        Some((_, value)) => {
            is_literal(value) && value.iter().all(|byte| matches!(byte, b'0' | b'x'))
        }
        None => true,
    };
    let help = match name {
        "prompt" | "choose" | "read" if endless => "add `--timeout` with milliseconds",
        "shell" | "config" | "login" | "present" => "delete it",
        _ => return,
    };
    let what = format!("`{name}` waits for somebody to press a key");
    report.warn(codes::WAITS, context.word(fact, 0), what, help);
}

/// Reports a `boot` without an image name if no line chooses an image.
fn nothing_to_boot(context: &Context<'_>, report: &mut Report) {
    let chooses = |fact: &Fact<'_>| {
        matches!(fact.effect, Effect::Unknown | Effect::Chain)
            || matches!(fact.name(), "kernel" | "imgselect" | "imgload")
    };
    if context.facts.iter().any(chooses) {
        return;
    }
    for fact in context.facts {
        let bare = matches!(fact.name(), "boot" | "imgexec" | "chain")
            && fact.arguments.as_ref().is_ok_and(|found| fact.words.len() == found.first);
        if bare {
            let what = format!("no line before `{}` chooses what to boot", fact.name());
            let help = "add a line `kernel FILE ARGUMENTS`";
            report.warn(codes::NOTHING_TO_BOOT, context.word(fact, 0), what, help);
        }
    }
}

fn loops(context: &Context<'_>, report: &mut Report) {
    let all = context.flow.loops(&|_| false);
    let unfreed = context.flow.loops(&|number| context.facts[number].name() == "imgfree");
    let lines = context.flow.lines(context.script);
    for (number, fact) in
        context.facts.iter().enumerate().filter(|(number, _)| context.runs(*number))
    {
        let states = [true, false].map(|ok| context.flow.before(number, ok));
        let name = fact.name();
        let in_loop = states.iter().any(|state| context.reachable[*state] && all[*state] != 0);
        if in_loop && NETWORK.contains(&name) && context.flow.failure_ends(number, fact) {
            let what = format!("if `{name}` fails here, the script ends and nothing tries again");
            let help = "put `|| goto label` after it, with a label that tries again";
            report.warn(codes::UNGUARDED, context.word(fact, 0), what, help);
        }
        let success = context.flow.success(number, fact, &lines);
        let again = states.iter().any(|state| {
            context.reachable[*state]
                && unfreed[*state] != 0
                && unfreed.get(success) == Some(&unfreed[*state])
        });
        if again && FETCH.contains(&name) && !fact.has("autofree") {
            let what = format!("a loop leads back to this `{name}` without `imgfree`");
            let help = "put `imgfree` at the start of the loop";
            report.warn(codes::NO_IMGFREE, context.word(fact, 0), what, help);
        }
    }
}
