//! Checks the options of boot2container on the kernel's command line: what would spoil a disk or a
//! bucket, or leave the machine off.
//!
//! They come from what is public about boot2container: its options, and what each does when something
//! fails.

use std::ops::Range;

use super::Context;
use super::assets;
use super::codes;
use super::fact::Fact;
use super::report::Report;

/// An option `b2c.NAME=VALUE`. In quotes, the value can be several words.
struct Opt<'a> {
    name: &'a [u8],
    /// The words of the value, without quotes.
    value: Vec<&'a [u8]>,
    /// Its words in the command.
    words: Range<usize>,
}

impl Opt<'_> {
    /// The parts of `a,b=c,d`.
    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.value.iter().flat_map(|word| word.split(|byte| *byte == b','))
    }

    fn has(&self, part: &[u8]) -> bool {
        self.parts().any(|found| found == part)
    }

    fn has_key(&self, key: &[u8]) -> bool {
        self.parts().any(|found| found.strip_prefix(key).is_some_and(|rest| rest.starts_with(b"=")))
    }

    fn is(&self, names: [&str; 2]) -> bool {
        names.iter().any(|name| self.name == name.as_bytes())
    }
}

const RUN: [&str; 2] = ["run", "container"];
const SERVICE: [&str; 2] = ["run_service", "service"];

pub(super) fn check(context: &Context<'_>, report: &mut Report) {
    for fact in context.facts {
        if !matches!(fact.name(), "kernel" | "imgargs" | "imgselect") {
            continue;
        }
        let Some((at, _)) = assets::uri(fact) else { continue };
        let options = options(fact, at + 1);
        if !options.is_empty() {
            ending(context, fact, at + 1, &options, report);
            cache(context, fact, &options, report);
            containers(context, fact, &options, report);
        }
    }
}

/// The options of a command line, as Linux splits it: only a `"` outside of which a space ends a word.
fn options<'a>(fact: &Fact<'a>, first: usize) -> Vec<Opt<'a>> {
    let mut found = Vec::new();
    let mut at = first;
    while at < fact.words.len() {
        let start = at;
        let mut quotes = 0;
        loop {
            quotes += memchr::memchr_iter(b'"', fact.words[at]).count();
            at += 1;
            if quotes % 2 == 0 || at == fact.words.len() {
                break;
            }
        }
        let Some(rest) = fact.words[start].strip_prefix(b"b2c.") else { continue };
        let equals = memchr::memchr(b'=', rest);
        let name = &rest[..equals.unwrap_or(rest.len())];
        let begin = equals.map_or(&[][..], |equals| &rest[equals + 1..]);
        let others = fact.words[start + 1..at].iter().copied();
        let value = std::iter::once(begin).chain(others);
        let value = value.map(unquoted).filter(|word| !word.is_empty()).collect();
        found.push(Opt { name, value, words: start..at });
    }
    found
}

fn unquoted(word: &[u8]) -> &[u8] {
    let word = word.strip_prefix(b"\"").unwrap_or(word);
    word.strip_suffix(b"\"").unwrap_or(word)
}

fn span(context: &Context<'_>, fact: &Fact<'_>, option: &Opt<'_>) -> Range<usize> {
    let last = option.words.end - 1;
    context.word(fact, option.words.start).start..context.word(fact, last).end
}

fn ending(
    context: &Context<'_>,
    fact: &Fact<'_>,
    first: usize,
    options: &[Opt<'_>],
    report: &mut Report,
) {
    let help = "add `b2c.shutdown_cmd=\"reboot -f\"` to the command line itself: it counts also when \
                `b2c.extra_args_url` cannot be fetched";
    // The last one counts.
    match options.iter().rev().find(|option| option.name == b"shutdown_cmd") {
        None => {
            // A setting may hold any option.
            if fact.words[first..].iter().any(|word| word.starts_with(b"${")) {
                return;
            }
            let what = "boot2container switches this machine off when it is done".to_owned();
            report.warn(codes::B2C_POWEROFF, span(context, fact, &options[0]), what, help);
        }
        Some(option) => {
            let off = |word: &&[u8]| {
                let name = word.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
                [&b"poweroff"[..], b"halt", b"shutdown"].contains(&name)
            };
            if option.value.iter().any(off) {
                let what = "this switches the machine off at the end".to_owned();
                report.warn(codes::B2C_POWEROFF, span(context, fact, option), what, help);
            }
        }
    }
}

fn cache(context: &Context<'_>, fact: &Fact<'_>, options: &[Opt<'_>], report: &mut Report) {
    for option in options {
        let value = option.value.first().copied().unwrap_or_default();
        if option.name == b"cache_device" && matches!(value, b"auto" | b"reset") {
            let what = match value {
                b"auto" => "without a cache, boot2container takes the first disk that it finds",
                _ => "boot2container formats the cache at every boot",
            };
            let help = "make the file system once, name it with `b2c.filesystem=cache,type=ext4,src=/dev/...`, \
                        and write `b2c.cache_device=cache`";
            report.warn(codes::B2C_AUTO_CACHE, span(context, fact, option), what.to_owned(), help);
        }
        let pushes = option.has_key(b"push_on") && !option.has_key(b"pull_on");
        if option.name == b"volume" && option.has(b"remove") && pushes {
            let what =
                "what this volume lacks is deleted in the bucket, and nothing is pulled into it"
                    .to_owned();
            let help = "add `pull_on=pipeline_start`, or leave `remove` out";
            report.warn(codes::B2C_REMOVE, span(context, fact, option), what, help);
        }
    }
}

fn containers(context: &Context<'_>, fact: &Fact<'_>, options: &[Opt<'_>], report: &mut Report) {
    let mut runs = 0;
    for option in options {
        let is_run = option.is(RUN);
        if !is_run && !option.is(SERVICE) && option.name != b"post_container" {
            continue;
        }
        let names_it = |word: &&[u8]| memchr::memmem::find(word, b"ack_url").is_some();
        if is_run && runs > 0 && option.value.iter().any(names_it) {
            let what = "this starts only when the container before it has ended".to_owned();
            let help = "use `b2c.run_service`, which runs in the background, and let it wait for the gateway's health";
            report.warn(codes::B2C_NEVER_RUNS, span(context, fact, option), what, help);
        }
        runs += usize::from(is_run);
        if !keeps(&option.value) {
            let what = "this image is pulled at every boot".to_owned();
            let help = "add `--pull=missing` before its name, and name it by its digest";
            report.warn(codes::B2C_PULLS, span(context, fact, option), what, help);
        }
    }
}

/// Says whether podman takes the image that it has. Of several options the last one counts.
fn keeps(words: &[&[u8]]) -> bool {
    let mut keeps = false;
    for (at, word) in words.iter().enumerate() {
        let policy = match word.strip_prefix(b"--pull=") {
            Some(policy) => policy,
            None if *word == b"--pull" => words.get(at + 1).copied().unwrap_or_default(),
            // A setting may hold any option.
            None if word.starts_with(b"${") && memchr::memmem::find(word, b"ack_url").is_none() => {
                b"missing"
            }
            None => continue,
        };
        keeps = matches!(policy, b"missing" | b"never" | b"newer");
    }
    keeps
}
