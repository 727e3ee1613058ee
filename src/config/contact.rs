//! `[media] contact`: whom a gateway's screen names when nothing boots.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::de;

/// A line of text for the screen of a gateway that does not boot. It becomes a
/// word of a script, so it has nothing that iPXE takes for more than text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact(String);

/// The screen has 80 columns, and our own words stand before it.
const MOST: usize = 55;

impl FromStr for Contact {
    type Err = ParseContactError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // iPXE parts words at white space and puts one space between them.
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
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The text cannot stand on a gateway's screen.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseContactError {
    /// Nothing, or more than fits on a line.
    #[error("a contact has 1 to {MOST} characters")]
    Length,
    /// A character that the screen or the script has no place for.
    #[error("{0:?} cannot be in a contact: letters (ASCII), digits and -_.,:;/@+()?!'=~* can")]
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
