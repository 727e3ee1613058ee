//! `farmgate check --explain`: the pages of `docs/checks/`, which the program carries.

use std::fmt;

use anyhow::Context as _;
use anyhow::Result;
use serde::Serialize;

use crate::cli::context::Context;
use crate::near::near;

macro_rules! pages {
    ($($code:literal)*) => {
        /// Each code with its page.
        const PAGES: &[(&str, &str)] = &[$(
            ($code, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/checks/", $code, ".md")))
        ),*];
    };
}

pages! {
    "FG001" "FG002" "FG010" "FG011" "FG012" "FG013" "FG014" "FG015" "FG016" "FG017"
    "FG018" "FG019" "FG020" "FG021" "FG022" "FG023" "FG024" "FG025" "FG026" "FG027"
    "FG028" "FG029" "FG030" "FG031" "FG032" "FG033" "FG034" "FG035" "FG036" "FG037"
    "FG040" "FG041" "FG042" "FG043" "FG044" "FG045" "FG046" "FG047" "FG048" "FG049"
    "FG050" "FG051" "FG052" "FG060" "FG061" "FG062" "FG063" "FG064" "FG065" "FG066" "FG070"
    "FG071" "FG072" "FG073" "FG074" "FG090"
}

/// Prints the page of a code, or the list of all codes if `code` is empty.
pub(super) fn explain(context: &Context, code: &str) -> Result<()> {
    if code.is_empty() {
        return context
            .print(&Codes(PAGES.iter().map(|(code, page)| Page { code, page }).collect()));
    }
    let wanted = code.to_ascii_uppercase();
    let page = PAGES.iter().find(|(code, _)| *code == wanted).with_context(|| {
        let all = "`farmgate check --explain` lists all of them";
        match near(&wanted, PAGES.iter().map(|(code, _)| *code)) {
            Some(near) => format!("there is no code {code}, but {near}; {all}"),
            None => format!("there is no code {code}; {all}"),
        }
    })?;
    context.print(&Page { code: page.0, page: page.1 })
}

#[derive(Serialize)]
struct Page {
    code: &'static str,
    /// Markdown.
    page: &'static str,
}

impl Page {
    /// The first line without its mark: `FG010: unknown command`.
    fn title(&self) -> &'static str {
        self.page.lines().next().unwrap_or_default().trim_start_matches("# ")
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.page.trim_end())
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Codes(Vec<Page>);

impl fmt::Display for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles: Vec<_> = self.0.iter().map(Page::title).collect();
        f.write_str(&titles.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipxe::script;

    #[test]
    fn every_code_has_its_page() {
        let codes: Vec<_> = PAGES.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, script::codes::ALL.iter().map(|code| code.id).collect::<Vec<_>>());
        for (code, page) in PAGES {
            assert!(Page { code, page }.title().starts_with(&format!("{code}: ")), "{code}");
        }
    }
}
