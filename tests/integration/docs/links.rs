//! Links lead somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::pages;
use super::root;

/// Text without code, in which brackets mean something else.
fn prose(page: &str) -> String {
    let mut text = String::new();
    let mut fenced = false;
    for line in page.lines() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced || line.starts_with("    ") {
            continue;
        }
        // Every other part is between backticks.
        for (index, part) in line.split('`').enumerate() {
            text.push_str(if index % 2 == 0 { part } else { "code" });
        }
        text.push('\n');
    }
    text
}

/// Targets of `[text](target)`.
fn links(page: &str) -> Vec<String> {
    let text = prose(page);
    let found = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    found.map(str::to_owned).collect()
}

/// The anchors that GitHub and GitLab give to headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut fenced = false;
    for line in page.lines() {
        fenced ^= line.starts_with("```");
        let heading = line.trim_start_matches('#');
        if fenced || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let kept = heading.trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let mut number = 0;
        let mut own = anchor.clone();
        while !anchors.insert(own) {
            number += 1;
            own = format!("{anchor}-{number}");
        }
    }
    anchors
}

/// Faults in the links of a page.
fn broken(path: &Path, page: &str) -> Vec<String> {
    let mut broken = Vec::new();
    for link in links(page) {
        if link.contains("://") || link.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
        let target = path.parent().unwrap().join(file);
        let text = match file {
            "" => Some(page.to_owned()),
            _ => target.exists().then(|| fs::read_to_string(&target).unwrap_or_default()),
        };
        match text {
            None => broken.push(format!("{link}: no such file")),
            Some(text) if !anchor.is_empty() && !anchors(&text).contains(anchor) => {
                broken.push(format!("{link}: no such heading"));
            }
            Some(_) => {}
        }
    }
    broken
}

#[test]
fn every_relative_link_and_anchor_resolves() {
    let mut count = 0;
    let mut all = Vec::new();
    for path in pages() {
        let page = fs::read_to_string(&path).unwrap();
        count += links(&page).len();
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        all.extend(broken(&path, &page).iter().map(|what| format!("{name}: {what}")));
    }
    assert!(count > 100, "{count} links");
    assert!(all.is_empty(), "{all:#?}");
}

#[test]
fn what_is_broken_is_found() {
    let here = root().join("docs/tutorial.md");
    let bad = "[a](none.md) [b](operating.md#none) [c](#none)\n# One\n";
    assert_eq!(broken(&here, bad).len(), 3);
    let good = "[a](store.md) [b](operating.md#units) [c](#one-2-3) `[x](y)`\n# One (2), 3\n";
    assert!(broken(&here, good).is_empty(), "{:?}", broken(&here, good));
}
