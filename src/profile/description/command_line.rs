//! The kernel's command line: what an operator adds to it, and what it holds in the end.

use std::ops::Range;

use super::problem::Problem;
use super::secrets::REFERENCE;
use crate::ipxe::script::codes;

/// Most bytes of a command line: `COMMAND_LINE_SIZE` of Linux on x86 without its NUL.
const MAX_LEN: usize = 2047;

/// Seconds until a kernel that panicked restarts, unless the operator says another number.
const PANIC: &str = "panic=30";

/// Fewest bytes of a value that is looked for: shorter ones are in many texts by chance.
const TELLING: usize = 8;

/// The way out when a secret is on the line.
pub(super) const NOT_HERE: &str =
    "every process can read it there: name the secret in `environment` of a container";

/// The operator's words.
#[derive(Clone, Debug, Default)]
pub(super) struct CommandLine {
    words: Vec<String>,
    pub(super) span: Range<usize>,
}

impl CommandLine {
    /// Reads `[kernel] cmdline`. Line ends count as spaces, so that a long one can be written in lines.
    pub(super) fn parse(text: &str, span: &Range<usize>, problems: &mut Vec<Problem>) -> Self {
        let mut error = |code, what: String, help: &str| {
            problems.push(Problem::error(code, span, what, help));
        };
        if text.contains(|c: char| c.is_control() && !c.is_ascii_whitespace()) {
            let what = "the command line holds a control character".to_owned();
            error(codes::CANNOT_HOLD, what, "remove it");
        }
        for word in text.split_ascii_whitespace() {
            let name = word.split('=').next().unwrap_or(word);
            if matches!(word, "&&" | "||" | ";") {
                let what = format!("iPXE takes `{word}` for the end of the command");
                error(codes::CANNOT_HOLD, what, "put it into a word, without space around it");
            } else if word.starts_with('#') {
                let what = "iPXE takes a word that begins with `#` for a comment".to_owned();
                error(codes::CANNOT_HOLD, what, "remove it");
            } else if word.ends_with('\\') {
                let what = "a word cannot end in a backslash: iPXE would join two lines".to_owned();
                error(codes::CANNOT_HOLD, what, "remove it");
            } else if word.contains(REFERENCE) {
                let what = "a secret is put on the kernel's command line".to_owned();
                error(codes::SECRET_ARGUMENT, what, NOT_HERE);
            } else if matches!(name, "initrd" | "init" | "rdinit") {
                let what = format!("`{name}=` is not the operator's here");
                error(
                    codes::CANNOT_HOLD,
                    what,
                    "farmgate names the initramfs, and the runtime starts first in it",
                );
            } else if matches!(word, "panic=" | "panic=0") {
                let what = "with `panic=0` a kernel that panics waits forever".to_owned();
                error(codes::NO_PANIC, what, "leave it out: farmgate adds `panic=30`");
            }
        }
        Self {
            words: text.split_ascii_whitespace().map(str::to_owned).collect(),
            span: span.clone(),
        }
    }

    /// The words whose names begin so.
    pub(super) fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.words.iter().map(String::as_str).filter(move |word| word.starts_with(prefix))
    }

    /// Reports a value of a secret that is written out.
    pub(super) fn check_secrets<'v>(
        &self,
        values: impl IntoIterator<Item = &'v str>,
        problems: &mut Vec<Problem>,
    ) {
        let text = self.words.join(" ");
        if values.into_iter().any(|value| value.len() >= TELLING && text.contains(value)) {
            let what = "a secret's value is put on the kernel's command line";
            problems.push(Problem::error(codes::SECRET_ARGUMENT, &self.span, what, NOT_HERE));
        }
    }

    /// The whole line: the initramfs, the operator's words, those of the runtime, and `panic=`.
    pub(super) fn whole(
        &self,
        initramfs: &str,
        of_runtime: &[String],
        problems: &mut Vec<Problem>,
    ) -> String {
        let mut line = format!("initrd={initramfs}");
        for word in self.words.iter().chain(of_runtime) {
            line.push(' ');
            line.push_str(word);
        }
        if self.with_prefix("panic=").next().is_none() {
            line.push(' ');
            line.push_str(PANIC);
        }
        if line.len() > MAX_LEN {
            let what = format!(
                "the kernel's command line has {} bytes, and Linux takes {MAX_LEN}",
                line.len()
            );
            let help = "it would drop the rest without a word: shorten `cmdline`";
            problems.push(Problem::error(codes::LONG_ARGUMENTS, &self.span, what, help));
        }
        line
    }
}
