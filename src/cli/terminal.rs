//! The terminal that stdout is, if it is one: its width, and whether it shows colours.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::io::IsTerminal;

/// Columns of the terminal; `None` where stdout is none, and lines can have any length.
pub(super) fn width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| size.ws_col.into());
    // A terminal that does not say, such as a serial console.
    let columns = || env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    Some(Some(size).filter(|size| *size > 0).or_else(columns).unwrap_or(80))
}

/// Says whether output may have colours: on a terminal, unless `NO_COLOR` is set, and wherever
/// `CLICOLOR_FORCE` is set (no-color.org, bixense.com/clicolors).
pub(super) fn colours() -> bool {
    let get = |name| env::var_os(name);
    let is_dumb = get("TERM").is_some_and(|term| term == "dumb");
    decide(
        get("NO_COLOR").as_deref(),
        get("CLICOLOR_FORCE").as_deref(),
        get("CLICOLOR").as_deref(),
        io::stdout().is_terminal() && !is_dumb,
    )
}

fn decide(no: Option<&OsStr>, force: Option<&OsStr>, may: Option<&OsStr>, terminal: bool) -> bool {
    let says = |value: Option<&OsStr>| value.is_some_and(|value| !value.is_empty() && value != "0");
    if no.is_some_and(|value| !value.is_empty()) {
        return false;
    }
    says(force) || (terminal && may.is_none_or(|value| value != "0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_have_the_last_word() {
        let decide = |no: &str, force: &str, may: &str, terminal| {
            let set = |value: &'static str| (value != "unset").then(|| OsStr::new(value));
            let leak = |text: &str| set(text.to_owned().leak());
            decide(leak(no), leak(force), leak(may), terminal)
        };
        assert!(decide("unset", "unset", "unset", true));
        assert!(!decide("unset", "unset", "unset", false));
        assert!(!decide("1", "unset", "unset", true));
        assert!(!decide("1", "1", "unset", true));
        assert!(decide("", "unset", "unset", true));
        assert!(decide("unset", "1", "unset", false));
        assert!(!decide("unset", "0", "unset", false));
        assert!(!decide("unset", "unset", "0", true));
    }
}
