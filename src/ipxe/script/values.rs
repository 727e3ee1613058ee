//! Checks settings: those that nothing sets, and types that do not exist.

use std::collections::BTreeSet;
use std::collections::HashSet;

use super::Context;
use super::Options;
use super::assets;
use super::codes;
use super::expand::is_literal;
use super::expand::references;
use super::expand::split_name;
use super::fact::Effect;
use super::fact::Fact;
use super::grammar::shown;
use super::report::Report;
use super::settings;

/// The settings that the script sets, or tests with `isset`.
#[derive(Default)]
struct Known<'a> {
    names: HashSet<&'a [u8]>,
    /// A command may have set any setting.
    anything: bool,
}

impl<'a> Known<'a> {
    fn gather(facts: &'a [Fact<'_>]) -> Self {
        let mut known = Self::default();
        for fact in facts {
            known.anything |= matches!(fact.effect, Effect::Chain | Effect::Unknown);
            if let Ok(arguments) = &fact.arguments {
                let stored = arguments.options.iter().filter(|o| o.option.long == "set");
                for (_, name) in stored.filter_map(|given| given.value) {
                    known.add(name);
                }
            }
            if fact.name() == "isset" {
                // A word that begins with a setting could be an option, for all that is known.
                for word in fact.words.iter().skip(1) {
                    for reference in references(word).all {
                        known.add(&word[reference.name]);
                    }
                }
            }
            let Some((_, argument)) = fact.argument() else { continue };
            match fact.name() {
                "set" | "read" | "inc" | "choose" | "nslookup" | "pciscan" | "usbscan" | "item"
                | "imgset" => known.add(argument),
                _ => {}
            }
        }
        known
    }

    fn add(&mut self, name: &'a [u8]) {
        if !is_literal(name) {
            // In `net${i}/x`, only the part after the block's name counts.
            match memchr::memrchr(b'/', name).map(|at| &name[at + 1..]) {
                Some(last) if is_literal(last) => self.add(last),
                _ => self.anything = true,
            }
            return;
        }
        let (_, last, _) = split_name(name);
        self.names.insert(last);
        self.names.insert(untyped(name));
    }

    fn has(&self, name: &[u8]) -> bool {
        let (scope, last, _) = split_name(name);
        let known = self.names.contains(untyped(name));
        match scope {
            Some(scope) => known || settings::is_scope(scope),
            None => known || self.names.contains(last) || settings::is_builtin(last),
        }
    }
}

/// The name without its type.
fn untyped(name: &[u8]) -> &[u8] {
    let (_, _, kind) = split_name(name);
    kind.map_or(name, |kind| &name[..name.len() - kind.len() - 1])
}

pub(super) fn check(context: &Context<'_>, options: &Options<'_>, report: &mut Report) {
    let mut known = Known::gather(context.facts);
    if let Some(variables) = options.variables {
        known.names.extend(variables.set.iter().map(|name| name.as_bytes()));
    }
    let elsewhere = |name: &[u8]| {
        let named = |all: &BTreeSet<String>| all.iter().any(|other| other.as_bytes() == name);
        options.variables.is_some_and(|variables| named(&variables.elsewhere))
    };
    split_before(context, report);
    for (number, fact) in context.facts.iter().enumerate() {
        stored_type(context, number, fact, report);
        for (at, word) in fact.words.iter().enumerate() {
            for reference in references(word).all.iter().filter(|r| !r.dynamic) {
                let name = &word[reference.name.clone()];
                let start = fact.range(at).start;
                let span = start + reference.span.start..start + reference.span.end;
                let span = context.line(fact).locate(&span);
                let (_, _, kind) = split_name(name);
                if let Some(kind) = kind.filter(|kind| !settings::is_type(kind)) {
                    let what = format!("iPXE has no setting type `{}`", shown(kind));
                    let help = format!("the types are {}", settings::TYPES.join(", "));
                    report.warn(codes::BAD_TYPE, span, what, &help);
                } else if name == b"gateway" {
                    let what = "`gateway` is shown as an address here".to_owned();
                    let help = "write ${gateway_name} for the gateway's name, ${net0/gateway} for the router";
                    report.warn(codes::NAME_AS_ADDRESS, span, what, help);
                } else if !known.anything && !known.has(name) && elsewhere(untyped(name)) {
                    let what = format!("this gateway has no variable `{}`", shown(name));
                    let help = "set it for the gateway or in `[defaults]` of fleet.toml, or test \
                                it with `isset`";
                    report.warn(codes::UNSET_VARIABLE, span, what, help);
                } else if !known.anything && !known.has(name) {
                    let what = format!("nothing sets `{}`", shown(name));
                    let help = "set it, correct its name, or test it with `isset`";
                    report.warn(codes::UNSET, span, what, help);
                }
            }
        }
    }
}

/// See [`super::unused`].
pub(super) fn unused<'n>(
    facts: &[Fact<'_>],
    names: impl IntoIterator<Item = &'n str>,
) -> Vec<&'n str> {
    let mut used: HashSet<&[u8]> = HashSet::new();
    for fact in facts {
        if matches!(fact.effect, Effect::Chain | Effect::Unknown) {
            return Vec::new();
        }
        for word in &fact.words {
            // `show x` and `iseq` of a name's own kind take names without `${`.
            used.insert(untyped(word));
            for reference in references(word).all {
                if reference.dynamic {
                    return Vec::new();
                }
                used.insert(untyped(&word[reference.name]));
            }
        }
    }
    names.into_iter().filter(|name| !used.contains(name.as_bytes())).collect()
}

/// Reports a setting of several words where one word names what is booted. iPXE never splits the
/// value into words.
fn split_before(context: &Context<'_>, report: &mut Report) {
    let mut several = HashSet::new();
    for fact in context.facts.iter().filter(|fact| fact.name() == "set") {
        let Some((at, name)) = fact.argument().filter(|(_, name)| is_literal(name)) else {
            continue;
        };
        if fact.words.len() > at + 2 {
            several.insert(split_name(name).1);
        }
    }
    for fact in context.facts {
        let command = fact.words.first().filter(|_| fact.spec.is_none()).map(|word| (0, *word));
        let Some((at, word)) = assets::target(fact).or(command) else { continue };
        for reference in references(word).all.iter().filter(|found| !found.dynamic) {
            let (_, name, _) = split_name(&word[reference.name.clone()]);
            if several.contains(name) {
                let what =
                    format!("`{}` has several words, but iPXE takes them as one here", shown(name));
                let help = "put the address alone into the setting, and the arguments on this line";
                report.warn(codes::SPLIT_BEFORE, context.word(fact, at), what, help);
            }
        }
    }
}

/// `set x:nonsense y` fails.
fn stored_type(context: &Context<'_>, number: usize, fact: &Fact<'_>, report: &mut Report) {
    if !matches!(fact.name(), "set" | "read" | "inc" | "clear" | "show" | "choose") {
        return;
    }
    let Some((at, name)) = fact.argument().filter(|(_, name)| is_literal(name)) else { return };
    let (_, _, kind) = split_name(name);
    if let Some(kind) = kind.filter(|kind| !settings::is_type(kind)) {
        let what = format!("iPXE has no setting type `{}`", shown(kind));
        let help = format!("the types are {}", settings::TYPES.join(", "));
        let severity = context.severity_of_failure(number);
        report.add(codes::BAD_TYPE, severity, context.word(fact, at), what, &help);
    }
}
