//! Parts of manual pages: terms, literal lines, and the little Markdown of docs/configuration.md.
//! Pure.

use clap_mangen::roff::Inline;
use clap_mangen::roff::Roff;
use clap_mangen::roff::bold;
use clap_mangen::roff::roman;

/// Writes a page without its title.
pub(super) fn write(page: &str, roff: &mut Roff) {
    let mut paragraph = String::new();
    let mut lines = page.lines().skip_while(|line| line.starts_with("# ") || line.is_empty());
    while let Some(line) = lines.next() {
        let is_text = !(line.is_empty() || line.starts_with(['#', '|', '`']) && !is_inline(line));
        if is_text {
            paragraph.push_str(line);
            paragraph.push(' ');
            continue;
        }
        flush(&mut paragraph, roff);
        if let Some(heading) = line.strip_prefix("## ") {
            roff.control("SH", [heading.replace('`', "").to_uppercase().as_str()]);
        } else if line.starts_with("```") {
            let block: Vec<_> =
                lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            literally(&block.join("\n"), roff);
        } else if let Some((term, text)) = row(line) {
            tagged(&term, &text, roff);
        }
    }
    flush(&mut paragraph, roff);
}

/// A line that begins with code is text; one that begins with a fence is none.
fn is_inline(line: &str) -> bool {
    line.starts_with('`') && !line.starts_with("```")
}

fn flush(paragraph: &mut String, roff: &mut Roff) {
    if !paragraph.is_empty() {
        roff.control("PP", []);
        roff.text(inlines(paragraph.trim_end()));
        paragraph.clear();
    }
}

/// A row of a table: its first cell, and what the others say. The last one says most.
fn row(line: &str) -> Option<(String, String)> {
    let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
    let (first, rest) = cells.split_first()?;
    let is_head = ["key", "unit", "type"].contains(first) || first.starts_with("---");
    let text = match rest {
        [] => return None,
        [kind, default, since, meaning] => {
            format!("{meaning}. ({kind}; default {default}; since {since})")
        }
        rest => rest.join(", "),
    };
    (!is_head).then(|| (first.replace('`', ""), text))
}

/// Text with its code and emphasis in bold, and of links the words alone.
pub(super) fn inlines(text: &str) -> Vec<Inline> {
    let mut text = text.to_owned();
    while let Some((before, rest)) = text.split_once("](") {
        let (Some((head, words)), Some((_, tail))) =
            (before.rsplit_once('['), rest.split_once(')'))
        else {
            break;
        };
        text = format!("{head}{words}{tail}");
    }
    let parts = text.split('`').enumerate();
    let code = parts.flat_map(|(at, part)| match at % 2 {
        0 => emphasis(part),
        _ => vec![bold(part)],
    });
    code.collect()
}

fn emphasis(text: &str) -> Vec<Inline> {
    let parts = text.split("**").enumerate().filter(|(_, part)| !part.is_empty());
    parts.map(|(at, part)| if at % 2 == 0 { roman(part) } else { bold(part) }).collect()
}

/// A term and what it means.
pub(super) fn tagged(term: &str, text: &str, roff: &mut Roff) {
    roff.control("TP", []);
    roff.text([bold(term)]);
    roff.text(inlines(text));
}

/// Lines as they are, indented.
pub(super) fn literally(text: &str, roff: &mut Roff) {
    roff.control("RS", ["4"]);
    roff.control("nf", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.control("RE", []);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> String {
        let mut roff = Roff::new();
        write(text, &mut roff);
        roff.to_roff()
    }

    #[test]
    fn what_it_knows_becomes_roff() {
        let text = "# Title\n\n`a` and **b** of [c](d.md)\ngo on.\n\n## `[listen]`\n\n\
                    | key | type | default | since | meaning |\n|---|---|---|---|---|\n\
                    | `tls` | address | none | 0.1.0 | Own TLS |\n\n```toml\n.x = 1\n```\n";
        let page = page(text);
        for part in [
            "\\fBa\\fR and \\fBb\\fR of c go on.",
            ".SH [LISTEN]",
            ".TP\n\\fBtls\\fR\nOwn TLS. (address; default none; since 0.1.0)",
            ".nf\n\\&.x = 1\n.fi",
        ] {
            assert!(page.contains(part), "no {part:?} in {page}");
        }
        assert!(!page.contains("Title") && !page.contains("d.md") && !page.contains("meaning"));
    }

    #[test]
    fn a_bracket_alone_is_text() {
        assert_eq!(inlines("a ](b [c"), vec![roman("a ](b [c")]);
    }
}
