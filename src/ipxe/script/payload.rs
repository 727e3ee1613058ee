//! Checks that the files that are booted are kernels and initramfs archives.

use std::collections::HashMap;
use std::collections::HashSet;

use super::Context;
use super::Options;
use super::Severity;
use super::assets;
use super::assets::FETCH;
use super::codes;
use super::expand::is_literal;
use super::expand::references;
use super::fact::Fact;
use super::grammar::shown;
use super::kernel::may_be_linux;
use super::report::Report;
use crate::ipxe::contents::Contents;
use crate::ipxe::contents::MOST_BASE_MEMORY;
use crate::ipxe::contents::Machine;

/// Commands that choose what is booted.
const CHOOSE: &[&str] = &["boot", "chain", "imgexec", "imgload", "imgselect", "kernel"];

const FETCH_IT: &str = "replace it with the file itself: `git lfs pull` fetches it";

pub(super) fn check(context: &Context<'_>, options: &Options<'_>, report: &mut Report) {
    let fetched = fetched(context);
    let of_choice = |fact: &Fact<'_>| {
        let (_, uri) = assets::uri(fact)?;
        fetched.get(uri).cloned().or_else(|| path(fact))
    };
    let chosen: HashSet<String> =
        context.facts.iter().filter(chooses).filter_map(of_choice).collect();
    let linux = boots_linux_alone(context);
    let other_machines = asks_for_the_machine(context);
    let alone = context.facts.iter().any(|fact| is_initramfs(fact) && words_behind(fact).is_none());
    for (number, fact) in context.facts.iter().enumerate() {
        let Some((at, uri)) = assets::uri(fact) else { continue };
        let file = if chooses(&fact) { of_choice(fact) } else { path(fact) };
        let found = file.and_then(|path| contents(&path, options));
        if chooses(&fact) {
            if let Some((contents, len)) = found {
                let bad = bad_kernel(fact, uri, contents, len, other_machines);
                if let Some((what, help)) = bad {
                    let severity = severity(context, number, contents, len);
                    let what = format!("`{}` {what}", shown(uri));
                    report.add(codes::NOT_A_KERNEL, severity, context.word(fact, at), what, help);
                }
            }
        } else if is_initramfs(fact) && !path(fact).is_some_and(|path| chosen.contains(&path)) {
            let as_file = words_behind(fact);
            if let Some(contents) = found.map(|(contents, _)| contents) {
                initramfs(context, fact, contents, linux && as_file.is_none(), report);
            }
            if let Some(name) = as_file.filter(|_| linux) {
                let is_archive = matches!(found, Some((Contents::Archive(_), _)));
                if archived(uri, name, is_archive, alone) {
                    let what = format!(
                        "`{}` becomes a file `{}` inside an archive",
                        shown(uri),
                        shown(name)
                    );
                    let help = "leave the second word out; to put a file into the initramfs, \
                                give a path that begins with `/`";
                    report.warn(codes::ARCHIVED, context.word(fact, at + 1), what, help);
                }
            }
        }
    }
}

fn chooses(fact: &&Fact<'_>) -> bool {
    CHOOSE.contains(&fact.name())
}

fn is_initramfs(fact: &Fact<'_>) -> bool {
    let given = fact.arguments.as_ref().ok().and_then(|found| found.option("name"));
    let name = given.and_then(|given| given.value);
    // A file whose name only iPXE knows may be anything.
    FETCH.contains(&fact.name())
        && assets::uri(fact).is_some()
        && name.is_none_or(|(_, name)| is_literal(name))
}

fn path(fact: &Fact<'_>) -> Option<String> {
    assets::uri(fact).and_then(|(_, uri)| assets::relative(uri))
}

/// The files that were fetched before they are booted, by their image names.
fn fetched<'a>(context: &Context<'a>) -> HashMap<&'a [u8], String> {
    let fetches = context.facts.iter().filter(|fact| is_initramfs(fact));
    let named = fetches.filter_map(|fact| {
        let (_, uri) = assets::uri(fact)?;
        let given = fact.arguments.as_ref().ok()?.option("name").and_then(|given| given.value);
        let last = uri.rsplit(|byte| *byte == b'/').next().unwrap_or(uri);
        Some((given.map_or(last, |(_, name)| name), path(fact)?))
    });
    named.collect()
}

/// The first word after the address.
fn words_behind<'a>(fact: &Fact<'a>) -> Option<&'a [u8]> {
    let (at, _) = assets::uri(fact)?;
    fact.words.get(at + 1).copied()
}

fn contents(path: &str, options: &Options<'_>) -> Option<(Contents, u64)> {
    let head = options.heads?.get(path)?;
    let len = options.files.and_then(|files| files.get(path)).copied();
    Some((Contents::of(head), len.unwrap_or(head.len() as u64)))
}

/// Boot loaders of other systems accept files that Linux would not.
fn boots_linux_alone(context: &Context<'_>) -> bool {
    let mut kernels = context.facts.iter().filter(|fact| fact.name() == "kernel").peekable();
    kernels.peek().is_some()
        && kernels.all(|fact| assets::uri(fact).is_some_and(|(_, uri)| may_be_linux(uri)))
}

/// A script that looks at the processor has kernels for several processors.
fn asks_for_the_machine(context: &Context<'_>) -> bool {
    let asks = |word: &&[u8]| {
        references(word).all.iter().any(|found| {
            let name = &word[found.name.clone()];
            name.starts_with(b"buildarch") || name.starts_with(b"cpu")
        })
    };
    context.facts.iter().any(|fact| fact.words.iter().any(&asks))
}

/// The problem with a file that is booted, and how to fix it.
fn bad_kernel(
    fact: &Fact<'_>,
    uri: &[u8],
    contents: Contents,
    len: u64,
    other_machines: bool,
) -> Option<(String, &'static str)> {
    // Network boot programs have no magic number, and `chain` can start them too.
    let strict = matches!(fact.name(), "kernel" | "imgselect") && may_be_linux(uri);
    if let Some(missing) = contents.cut_short(len).filter(|_| may_be_linux(uri)) {
        return Some((format!("is cut short: {missing} bytes are missing"), "copy it again"));
    }
    match contents {
        Contents::LfsPointer => Some((format!("is {contents}, not a kernel"), FETCH_IT)),
        Contents::Page => Some((
            format!("is {contents}, not a kernel"),
            "download it again, and check what you got",
        )),
        Contents::Empty => Some(("is empty".to_owned(), "copy it again")),
        Contents::Elf64 if strict => {
            let help = "boot the bzImage that is built from it (arch/x86/boot/bzImage)";
            Some((format!("is {contents}, which iPXE cannot boot"), help))
        }
        Contents::Armour | Contents::Archive(_) | Contents::OldCpio | Contents::Unknown
            if strict =>
        {
            Some((format!("is not a kernel, but {contents}"), "name the kernel here"))
        }
        _ => match contents.machine() {
            Some(Machine::X86) | None => None,
            Some(_) if other_machines => None,
            Some(machine) => {
                let help = "gateways are x86: put the kernel for x86 in its place";
                Some((format!("is for {machine}"), help))
            }
        },
    }
}

/// The severity of a bad kernel. iPXE jumps into a small file that is not a kernel, and into a
/// truncated kernel. It refuses all others, and the command fails.
fn severity(context: &Context<'_>, number: usize, contents: Contents, len: u64) -> Severity {
    let cut = matches!(contents, Contents::BzImage { .. });
    match len <= MOST_BASE_MEMORY || cut {
        true if context.runs(number) => Severity::Error,
        true => Severity::Warning,
        false => context.severity_of_failure(number),
    }
}

fn initramfs(
    context: &Context<'_>,
    fact: &Fact<'_>,
    contents: Contents,
    unpacked: bool,
    report: &mut Report,
) {
    let Some((at, uri)) = assets::uri(fact) else { return };
    let (severity, help) = match contents {
        Contents::LfsPointer => (Severity::Error, FETCH_IT),
        Contents::Archive(_) => return,
        _ if !unpacked => return,
        Contents::Page => (Severity::Error, "download it again, and check what you got"),
        _ => (Severity::Warning, "make it with `cpio -o -H newc`, compressed or not"),
    };
    let what = format!("`{}` is not an initramfs, but {contents}", shown(uri));
    let what = match contents {
        Contents::Empty => format!("`{}` is empty", shown(uri)),
        _ => what,
    };
    report.add(codes::NOT_AN_INITRAMFS, severity, context.word(fact, at), what, help);
}

/// True if a file that was meant to be the initramfs becomes a file inside an initramfs. The word
/// `name` after the address has this effect. `alone` is true if the kernel gets another initramfs.
fn archived(uri: &[u8], name: &[u8], is_archive: bool, alone: bool) -> bool {
    if memchr::memchr2(b'/', b'$', name).is_some() {
        return false;
    }
    let looks_like_it = [uri, name].iter().any(|text| {
        let text = text.to_ascii_lowercase();
        [&b"initr"[..], b".cpio"].iter().any(|part| memchr::memmem::find(&text, part).is_some())
    });
    looks_like_it || (is_archive && !alone)
}
