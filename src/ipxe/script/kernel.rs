//! Checks the kernel's command line: length, `panic=`, secrets.

use super::Context;
use super::assets;
use super::codes;
use super::expand::is_literal;
use super::expand::references;
use super::expand::split_name;
use super::fact::Fact;
use super::grammar::shown;
use super::report::Report;

/// `COMMAND_LINE_SIZE` of Linux on x86, which includes the NUL.
const COMMAND_LINE_SIZE: usize = 2048;

/// Parts of setting names that mark a secret.
const SECRET: &[&[u8]] =
    &[b"s3_access_key", b"secret", b"password", b"passwd", b"privkey", b"token"];
/// Settings whose names look like secrets but that are meant to be passed on.
const PASSED_ON: &[&[u8]] = &[b"secrets_url", b"ack_url", b"s3_access_key_id"];

pub(super) fn check(context: &Context<'_>, report: &mut Report) {
    let elsewhere = context.facts.iter().any(|fact| fact.name() == "imgargs");
    for fact in context.facts {
        if !matches!(
            fact.name(),
            "kernel" | "imgargs" | "imgselect" | "imgload" | "boot" | "imgexec"
        ) {
            continue;
        }
        let Some((at, uri)) = assets::uri(fact).filter(|(_, uri)| may_be_linux(uri)) else {
            continue;
        };
        let arguments = &fact.words[at + 1..];
        if fact.name() == "kernel" || !arguments.is_empty() {
            // The last one counts.
            let panic = arguments.iter().enumerate().rev().find_map(|(number, word)| {
                word.strip_prefix(b"panic=").map(|seconds| (number, seconds))
            });
            if let Some((number, b"" | b"0" | b"00")) = panic {
                let what = "with `panic=0` a kernel that panics waits forever".to_owned();
                let help = "give the seconds until it restarts: `panic=30`";
                report.warn(codes::NO_PANIC, context.word(fact, at + 1 + number), what, help);
            }
            let has_panic = panic.is_some();
            let unsure = arguments.iter().any(|word| word.starts_with(b"${"));
            let set_elsewhere = elsewhere && arguments.is_empty();
            if !has_panic && !unsure && !set_elsewhere {
                let what = format!("the command line of `{}` has no `panic=`", shown(uri));
                let help = "add `panic=30`, so that the machine restarts after a panic";
                report.warn(codes::NO_PANIC, context.word(fact, at), what, help);
            }
        }
        for word in at + 1..fact.words.len() {
            secret(context, fact, word, report);
        }
        length(context, fact, at + 1, report);
    }
}

/// Boot loaders and other programs have arguments of their own.
pub(super) fn may_be_linux(uri: &[u8]) -> bool {
    let end = memchr::memchr2(b'?', b'#', uri).unwrap_or(uri.len());
    let name = uri[..end].rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let name = name.to_ascii_lowercase();
    let others: [&[u8]; 10] = [
        b"wimboot",
        b"memdisk",
        b"memtest",
        b"syslinux",
        b"pxelinux",
        b"grub",
        b"mboot",
        b"xen",
        b"ipxe",
        b"shim",
    ];
    let endings: [&[u8]; 6] = [b".ipxe", b".efi", b".pxe", b".kpxe", b".c32", b".0"];
    !name.is_empty()
        && !others.iter().any(|other| memchr::memmem::find(&name, other).is_some())
        && !endings.iter().any(|ending| name.ends_with(ending))
}

fn secret(context: &Context<'_>, fact: &Fact<'_>, at: usize, report: &mut Report) {
    let word = fact.words[at];
    for reference in references(word).all.iter().filter(|reference| !reference.dynamic) {
        let (_, name, _) = split_name(&word[reference.name.clone()]);
        let is_secret = SECRET.iter().any(|part| memchr::memmem::find(name, part).is_some())
            && !PASSED_ON.contains(&name);
        if is_secret {
            let what = format!("`{}` is put on the kernel's command line", shown(name));
            let help = "pass ${secrets_url} on, or `initrd ${secrets_url} /secrets.env mode=600`";
            report.warn(codes::SECRET_ARGUMENT, context.word(fact, at), what, help);
        }
    }
}

fn length(context: &Context<'_>, fact: &Fact<'_>, first: usize, report: &mut Report) {
    let mut length = 0;
    let mut settings = false;
    for word in &fact.words[first..] {
        let expanded: usize = if is_literal(word) {
            0
        } else {
            settings = true;
            // Leave settings out: they may be empty. Nested ones lie within others.
            let mut covered = 0;
            let mut end = word.len();
            for reference in references(word).all.iter().rev() {
                if reference.span.end <= end {
                    covered += reference.span.len();
                    end = reference.span.start;
                }
            }
            covered
        };
        length += 1 + word.len() - expanded;
    }
    // The first word has no space before it, and the kernel needs a NUL.
    if length > COMMAND_LINE_SIZE {
        let start = context.word(fact, first);
        let end = context.word(fact, fact.words.len() - 1);
        let more = if settings { "at least " } else { "" };
        let what = format!("the kernel's command line has {more}{} bytes", length - 1);
        let help = "shorten it; what the initramfs needs can come as a file with `initrd`";
        report.warn(codes::LONG_ARGUMENTS, start.start..end.end, what, help);
    }
}
