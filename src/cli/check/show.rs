//! Findings, printed like those of rustc.

use std::fmt;
use std::io::IsTerminal;

use ariadne::CharSet;
use ariadne::Config;
use ariadne::IndexType;
use ariadne::Label;
use ariadne::Report;
use ariadne::ReportKind;
use ariadne::Source;

use crate::cli::terminal;
use crate::ipxe::script::Finding;
use crate::publish::Checked;

/// Longest line of a script that is shown.
const MAX_LINE: usize = 400;

pub(super) fn show(f: &mut fmt::Formatter<'_>, checked: &Checked) -> fmt::Result {
    let text = printable(&checked.source);
    let name = checked.path.display().to_string();
    let mut cache = (name.clone(), Source::from(text.as_str()));
    let is_terminal = std::io::stdout().is_terminal();
    let colour = terminal::colours();
    let config = Config::new()
        .with_index_type(IndexType::Byte)
        .with_char_set(if is_terminal { CharSet::Unicode } else { CharSet::Ascii })
        .with_color(colour);
    for finding in &checked.findings {
        let Finding { code, start, what, help, .. } = finding;
        let bytes = text.as_bytes();
        let begin = memchr::memrchr(b'\n', &bytes[..finding.span.start]).map_or(0, |at| at + 1);
        let end = memchr::memchr(b'\n', &bytes[finding.span.start..])
            .map_or(bytes.len(), |at| finding.span.start + at);
        if end - begin > MAX_LINE || checked.secret {
            let kind = if finding.severity.is_error() { "Error" } else { "Warning" };
            writeln!(f, "[{}] {kind}: {what}", code.id)?;
            writeln!(f, "   ,-[ {name}:{}:{} ]", start.line, start.column)?;
            writeln!(f, "   | Note: {}\n   | Help: {help}", code.why)?;
            continue;
        }
        let kind =
            if finding.severity.is_error() { ReportKind::Error } else { ReportKind::Warning };
        // If continuation lines split a word, the first part is shown.
        let span = (name.clone(), finding.span.start..finding.span.end.min(end));
        let report = Report::build(kind, span.clone())
            .with_config(config)
            .with_code(code.id)
            .with_message(what)
            .with_label(Label::new(span).with_message("here"))
            .with_note(code.why)
            .with_help(help)
            .finish();
        let mut out = Vec::new();
        report.write(&mut cache, &mut out).map_err(|_| fmt::Error)?;
        f.write_str(&String::from_utf8_lossy(&out))?;
    }
    Ok(())
}

/// The script with the same number of bytes, but without bytes that a terminal would interpret or
/// that are not UTF-8, and with `
/// ` as the only line end.
fn printable(source: &[u8]) -> String {
    let mut text = String::with_capacity(source.len());
    for chunk in source.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' | '\t' => text.push(c),
                '\r' | '\x0b' | '\x0c' => text.push(' '),
                // Both end a line in other programs.
                '\u{2028}' | '\u{2029}' => text.push_str("???"),
                c if c.is_control() => text.extend(std::iter::repeat_n('?', c.len_utf8())),
                c => text.push(c),
            }
        }
        text.extend(std::iter::repeat_n('?', chunk.invalid().len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_not_shown() {
        let source = b"a\x1b[2J\r\n\xff\xfe\x00\xc2\x85\xe2\x80\xa8\xc3\xa4\n";
        assert_eq!(printable(source), "a?[2J \n????????\u{e4}\n");
        assert_eq!(printable(source).len(), source.len());
    }
}
