//! `[media] contact`: whom a gateway's screen names when nothing boots. Pure.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;

use super::text::parsed;

/// A line of text for the screen of a gateway that does not boot. It becomes a word of a script, so
/// it holds nothing that iPXE would interpret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact(String);

/// The screen has 80 columns, and our own words come before it.
const MOST: usize = 55;

impl FromStr for Contact {
    type Err = ParseContactError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // iPXE splits words at white space and joins them with one space.
        let words: Vec<_> = text.split_ascii_whitespace().collect();
        let text = words.join(" ");
        if text.is_empty() || text.len() > MOST {
            return Err(ParseContactError::Length);
        }
        let harmless = |c: char| c.is_ascii_alphanumeric() || " -_.,:;/@+()?!'=~*".contains(c);
        match text.chars().find(|c| !harmless(*c)) {
            Some(c) => Err(ParseContactError::Character(c)),
            None => Ok(Self(text)),
        }
    }
}

impl fmt::Display for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Contact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "a line of text")
    }
}

/// The text cannot stand on a gateway's screen.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseContactError {
    /// Empty, or longer than a line.
    #[error("the contact is empty or too long: expected 1 to {MOST} characters")]
    Length,
    /// A character that the screen or the script cannot hold.
    #[error(
        "a contact cannot hold {0:?}: expected letters (ASCII), digits, space and -_.,:;/@+()?!'=~*"
    )]
    Character(char),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn telephone_numbers_and_addresses_are_taken() {
        for text in
            ["+49 (30) 12-34", "farm@example.org", "#farm:example.org".trim_start_matches('#')]
        {
            assert_eq!(text.parse::<Contact>().unwrap().to_string(), text);
        }
        assert_eq!("  a \t b ".parse::<Contact>().unwrap().to_string(), "a b");
    }

    #[test]
    fn what_would_be_more_than_text_is_refused() {
        for text in ["${cert}", "a || reboot", "a && b", "a\u{1b}[2J", "ä", "a\\", "\"a\""] {
            assert!(
                matches!(text.parse::<Contact>(), Err(ParseContactError::Character(_))),
                "{text}"
            );
        }
        for text in ["", " ", &"x".repeat(MOST + 1)] {
            assert_eq!(text.parse::<Contact>(), Err(ParseContactError::Length));
        }
    }

    proptest! {
        #[test]
        fn no_text_gets_out_of_its_line(text in any::<String>()) {
            if let Ok(contact) = text.parse::<Contact>() {
                let shown = contact.to_string();
                prop_assert!(!shown.contains(['\n', '\r', '$', '|', '&', '\\', '#']), "{shown}");
                prop_assert_eq!(shown.parse::<Contact>(), Ok(contact));
            }
        }
    }
}
