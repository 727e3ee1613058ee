//! Comments that silence findings: `# farmgate: allow FG012` silences one for the next line, or for
//! its own line after a command. `# farmgate: allow-file FG012` silences it for the whole script.

use std::collections::HashMap;
use std::collections::HashSet;

use super::codes;
use super::codes::Kind;
use super::grammar::Script;
use super::grammar::shown;
use super::report::Report;

pub(super) fn silence(script: &Script<'_>, report: &mut Report) {
    let mut everywhere: HashSet<&'static str> = HashSet::new();
    let mut lines: HashMap<usize, Vec<&'static str>> = HashMap::new();
    let mut pending: Vec<&'static str> = Vec::new();
    for (number, line) in script.lines.iter().enumerate() {
        let empty = line.label.is_none() && line.commands.iter().all(|c| c.words.is_empty());
        if let Some(comment) = &line.comment
            && let Some((file, rest)) = directive(line.get(comment))
        {
            for word in rest.split(|c: char| c == ',' || c.is_whitespace()) {
                match codes::find(word) {
                    None if word.is_empty() => {}
                    Some(code) if file => drop(everywhere.insert(code.id)),
                    Some(code) => pending.push(code.id),
                    // A reason may follow the codes.
                    None if !word.starts_with("FG") => break,
                    None => report.warn(
                        codes::UNKNOWN_CODE,
                        line.locate(comment),
                        format!("there is no code `{}`", shown(word.as_bytes())),
                        "docs/checks/README.md lists the codes",
                    ),
                }
            }
        }
        if !empty && !pending.is_empty() {
            lines.insert(number, std::mem::take(&mut pending));
        }
    }
    report.findings.retain(|finding| {
        let line = script.lines.partition_point(|line| line.span.end <= finding.span.start);
        let here = lines.get(&line).is_some_and(|codes| codes.contains(&finding.code.id));
        finding.code.kind == Kind::Syntax || !(here || everywhere.contains(finding.code.id))
    });
}

/// Returns the codes after `allow` or `allow-file`, and true for `allow-file`.
fn directive(comment: &[u8]) -> Option<(bool, &str)> {
    let text = std::str::from_utf8(comment).ok()?.trim_start_matches('#').trim_start();
    let rest = text.strip_prefix("farmgate:")?.trim_start();
    let (verb, codes) = rest.split_once(char::is_whitespace)?;
    match verb {
        "allow" => Some((false, codes.trim_start())),
        "allow-file" => Some((true, codes.trim_start())),
        _ => None,
    }
}
