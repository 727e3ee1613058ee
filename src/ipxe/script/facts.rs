//! Facts about each command that do not depend on the paths through the script.

use std::collections::HashMap;

use super::Options;
use super::assets;
use super::commands;
use super::commands::Spec;
use super::expand::is_literal;
use super::fact::Effect;
use super::fact::Fact;
use super::grammar::Command;
use super::grammar::Line;
use super::grammar::Script;
use super::options;
use super::options::Arguments;
use super::options::Wrong;

/// The first line of each label.
pub(super) type Labels<'a> = HashMap<&'a [u8], usize>;

pub(super) fn labels<'a>(script: &'a Script<'_>) -> Labels<'a> {
    let mut labels = Labels::new();
    for (number, line) in script.lines.iter().enumerate() {
        if let Some(label) = &line.label {
            labels.entry(line.get(label)).or_insert(number);
        }
    }
    labels
}

pub(super) fn gather<'a>(
    script: &'a Script<'_>,
    labels: &Labels<'_>,
    options: &Options<'_>,
) -> Vec<Fact<'a>> {
    let mut facts: Vec<Fact<'a>> = Vec::new();
    for (number, line) in script.lines.iter().enumerate() {
        for (index, command) in line.commands.iter().enumerate() {
            let last = index + 1 == line.commands.len();
            facts.push(fact(line, number, command, last));
        }
    }
    let names = assets::names(&facts);
    for fact in &mut facts {
        fact.missing = assets::missing(fact, &names, options);
        fact.effect = effect(fact, labels);
    }
    facts
}

fn fact<'a>(line: &'a Line<'_>, number: usize, command: &'a Command, last: bool) -> Fact<'a> {
    let words: Vec<&[u8]> = command.words.iter().map(|word| line.get(word)).collect();
    let spec = words.first().and_then(|name| commands::find(name));
    let arguments = match spec {
        Some(spec) => options::parse(spec, &words).and_then(|found| numbers(spec, &words, found)),
        None => Ok(Arguments::default()),
    };
    let effect = Effect::MayFail;
    Fact { line: number, command, last, words, spec, arguments, effect, missing: None }
}

/// Checks arguments that must be numbers (`src/core/exec.c`, `nvo_cmd.c`).
fn numbers<'a>(spec: &Spec, words: &[&[u8]], found: Arguments<'a>) -> Result<Arguments<'a>, Wrong> {
    let word = match spec.name {
        "sleep" | "exit" => found.first,
        "inc" => found.first + 1,
        _ => return Ok(found),
    };
    match words.get(word) {
        Some(text) if !found.unsure && is_literal(text) && !options::is_number(text) => {
            Err(Wrong::NotANumber { word })
        }
        _ => Ok(found),
    }
}

fn effect(fact: &Fact<'_>, labels: &Labels<'_>) -> Effect {
    let Some(name) = fact.words.first() else { return Effect::Succeeds };
    let Some(spec) = fact.spec else {
        return if is_literal(name) { Effect::Fails } else { Effect::Unknown };
    };
    let Ok(arguments) = &fact.arguments else { return Effect::Fails };
    if fact.missing.is_some() {
        return Effect::Fails;
    }
    let argument = fact.words.get(arguments.first);
    match spec.name {
        "echo" => Effect::Succeeds,
        "goto" => match argument {
            _ if arguments.unsure => Effect::GotoAny,
            Some(label) if is_literal(label) => {
                labels.get(label).map_or(Effect::Fails, |line| Effect::Goto(*line))
            }
            _ => Effect::GotoAny,
        },
        "exit" if argument.is_none_or(|status| is_literal(status)) => Effect::Exit,
        "exit" | "time" => Effect::Unknown,
        "boot" | "imgexec" | "chain" if argument.is_none() || fact.has("replace") => Effect::Boot,
        "boot" | "imgexec" | "chain" => Effect::Chain,
        "autoboot" | "sanboot" | "startpxe" => Effect::Boot,
        "reboot" | "poweroff" => Effect::Restart,
        _ => Effect::MayFail,
    }
}
