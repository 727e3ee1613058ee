//! Two boot scripts line by line. Pure.

use maud::Markup;
use maud::html;
use similar::ChangeTag;
use similar::TextDiff;

/// Longer scripts are not compared here: the work grows faster than their length.
const MOST_LINES: usize = 2000;

/// Lines of a difference that are shown.
const SHOWN: usize = 400;

/// Unchanged lines around each change.
const CONTEXT: usize = 3;

/// The lines that differ, with some around them.
pub(super) fn of(old: &str, new: &str) -> Markup {
    if old.lines().count() > MOST_LINES || new.lines().count() > MOST_LINES {
        return html! { p.none { "They are too long to compare here; `farmgate diff` does." } };
    }
    let diff = TextDiff::from_lines(old, new);
    let (mut lines, mut first) = (Vec::new(), true);
    for group in diff.grouped_ops(CONTEXT) {
        if !first {
            lines.push((' ', "gap", "…".to_owned()));
        }
        first = false;
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let (sign, class) = match change.tag() {
                ChangeTag::Delete => ('-', "del"),
                ChangeTag::Insert => ('+', "ins"),
                ChangeTag::Equal => (' ', "same"),
            };
            lines.push((sign, class, change.value().trim_end_matches('\n').to_owned()));
        }
    }
    let left_out = lines.len().saturating_sub(SHOWN);
    lines.truncate(SHOWN);
    html! {
        pre.diff tabindex="0" {
            @for (sign, class, text) in lines {
                span class=(class) { (sign) " " (text) } "\n"
            }
        }
        @if left_out > 0 { p.none { (left_out) " more lines differ." } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_lines_stand_out_and_markup_is_text() {
        let old = "#!ipxe\nkernel vmlinuz\n\nboot\n";
        let new = "#!ipxe\nkernel vmlinuz <b>&\n\nboot\n";
        let html = of(old, new).into_string();
        assert!(html.contains(r#"<span class="del">- kernel vmlinuz</span>"#), "{html}");
        assert!(
            html.contains(r#"<span class="ins">+ kernel vmlinuz &lt;b&gt;&amp;</span>"#),
            "{html}"
        );
    }

    #[test]
    fn long_scripts_and_long_differences_are_bounded() {
        let long = "line\n".repeat(MOST_LINES + 1);
        assert!(of(&long, "").into_string().len() < 200);
        let (old, new) = ("old\n".repeat(1000), "new\n".repeat(1000));
        let html = of(&old, &new).into_string();
        assert!(html.contains("1600 more lines differ"), "{html}");
        assert_eq!(html.matches("<span").count(), SHOWN);
    }
}
