//! Checks what a script fetches: from where, and whether the file exists.

use std::collections::HashSet;

use super::Context;
use super::Options;
use super::codes;
use super::expand::is_literal;
use super::fact::Fact;
use super::grammar::shown;
use super::report::Report;

/// Commands that fetch the image that their first argument names, or use an image of that name
/// (`imgacquire` in `src/usr/imgmgmt.c`).
const ACQUIRE: &[&str] = &[
    "boot",
    "certstore",
    "chain",
    "fdt",
    "imgargs",
    "imgdecrypt",
    "imgexec",
    "imgextract",
    "imgload",
    "imgselect",
    "imgverify",
    "kernel",
    "shim",
];
/// Commands that always fetch.
pub(super) const FETCH: &[&str] = &["imgfetch", "initrd", "module"];

/// Schemes without protection against attackers on the network path (`src/config/general.h`).
const OPEN: &[&str] = &["http", "tftp", "tftm", "ftp", "nfs", "slam", "x-tftp"];

/// The image names that the lines of the script define.
pub(super) struct Names<'a> {
    names: HashSet<&'a [u8]>,
    /// A name is made of settings, so an image may have any name.
    any: bool,
}

impl Names<'_> {
    /// True if a command finds an image of that name and fetches nothing.
    pub(super) fn known(&self, fact: &Fact<'_>, uri: &[u8]) -> bool {
        !FETCH.contains(&fact.name()) && (self.any || self.names.contains(uri))
    }
}

pub(super) fn names<'a>(facts: &[Fact<'a>]) -> Names<'a> {
    let mut names = Names { names: HashSet::new(), any: false };
    for fact in facts {
        if let Ok(arguments) = &fact.arguments {
            let given = arguments.option("name").and_then(|given| given.value);
            if let Some((_, name)) = given {
                names.any |= !is_literal(name);
                names.names.insert(name);
            }
        }
        if let Some((_, uri)) = uri(fact) {
            // Fetching a whole URI does not define an image by that URI, only by its last part.
            let last = memchr::memrchr(b'/', uri).map(|at| &uri[at + 1..]);
            if let Some(last) = last {
                let end = memchr::memchr2(b'?', b'#', last).unwrap_or(last.len());
                names.any |= !is_literal(last);
                names.names.insert(&last[..end]);
            }
        }
    }
    names
}

/// The word of a command that names what is fetched.
pub(super) fn uri<'a>(fact: &Fact<'a>) -> Option<(usize, &'a [u8])> {
    let name = fact.name();
    if !ACQUIRE.contains(&name) && !FETCH.contains(&name) {
        return None;
    }
    fact.argument()
}

/// Like [`uri`], but also where a setting could turn out to be an option. People write addresses
/// there.
pub(super) fn target<'a>(fact: &Fact<'a>) -> Option<(usize, &'a [u8])> {
    let name = fact.name();
    let first = fact.arguments.as_ref().ok()?.first;
    let word = fact.words.get(first)?;
    (ACQUIRE.contains(&name) || FETCH.contains(&name)).then_some((first, *word))
}

/// The path that this command fetches from the folder, if no such file exists.
pub(super) fn missing(fact: &Fact<'_>, names: &Names<'_>, options: &Options<'_>) -> Option<String> {
    let files = options.files?;
    let (_, uri) = uri(fact)?;
    if names.known(fact, uri) {
        return None;
    }
    let path = relative(uri)?;
    (!files.contains_key(&path)).then_some(path)
}

/// The path in the generation that a relative address leads to. `None` for all other addresses, and
/// for those that only iPXE can resolve.
pub(super) fn relative(uri: &[u8]) -> Option<String> {
    let end = memchr::memchr2(b'?', b'#', uri).unwrap_or(uri.len());
    let path = &uri[..end];
    if !is_literal(uri) || path.is_empty() || path[0] == b'/' || path.contains(&b':') {
        return None;
    }
    let decoded = percent_encoding::percent_decode(path).decode_utf8().ok()?;
    let mut parts = Vec::new();
    for part in decoded.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/")).filter(|path| !path.is_empty())
}

pub(super) fn check(context: &Context<'_>, options: &Options<'_>, report: &mut Report) {
    let mut initramfs = 0_u64;
    let mut counted = HashSet::new();
    for (number, fact) in context.facts.iter().enumerate() {
        if let (Some(path), Some((at, _))) = (&fact.missing, uri(fact)) {
            let what = format!("`{}` is not in the folder", shown(path.as_bytes()));
            let help = if path == "secrets" {
                "the secrets template is never served as a file: fetch ${secrets_url}"
            } else {
                "add the file, or correct the name"
            };
            let severity = context.severity_of_failure(number);
            report.add(codes::MISSING_ASSET, severity, context.word(fact, at), what, help);
        }
        open_scheme(context, fact, report);
        let found = uri(fact).filter(|_| FETCH.contains(&fact.name()));
        let Some((files, (at, path))) = options.files.zip(found) else { continue };
        let Some(path) = relative(path).filter(|path| counted.insert(path.clone())) else {
            continue;
        };
        let before = initramfs;
        initramfs = initramfs.saturating_add(files.get(&path).copied().unwrap_or(0));
        if before <= options.initramfs_budget && initramfs > options.initramfs_budget {
            let mib = |bytes: u64| bytes / (1024 * 1024);
            let what = format!(
                "with this file the initramfs has {} MiB, more than {} MiB",
                mib(initramfs),
                mib(options.initramfs_budget)
            );
            let help = "let the booted system fetch what it does not need to start";
            report.warn(codes::BIG_INITRAMFS, context.word(fact, at), what, help);
        }
    }
}

fn open_scheme(context: &Context<'_>, fact: &Fact<'_>, report: &mut Report) {
    let found = match fact.name() {
        "sanboot" | "sanhook" => fact.argument(),
        "set" => fact.argument().and_then(|(at, _)| Some((at + 1, *fact.words.get(at + 1)?))),
        _ => uri(fact),
    };
    let Some((at, word)) = found else { return };
    let Some(colon) = memchr::memchr(b':', word) else { return };
    let is_open = OPEN.iter().any(|scheme| word[..colon].eq_ignore_ascii_case(scheme.as_bytes()));
    if is_open && word[colon..].starts_with(b"://") {
        let what = format!("`{}` is fetched without TLS", shown(word));
        let help = "put the file into the folder and name it by its path, or use https://";
        report.warn(codes::NOT_HTTPS, context.word(fact, at), what, help);
    }
}
