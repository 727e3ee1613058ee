//! Text from outside: names and messages that gateways, other hosts, providers and certificates
//! send.
//!
//! Such text ends up on terminals, in logs and on web pages. [`Foreign`] makes it harmless once,
//! where it enters, and the type records that this was done. Pure: text in, text out.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;

/// The number of characters kept of one text.
const MOST: usize = 400;

/// Text from outside, without control or invisible characters, and cut to a length that a person
/// can read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Foreign(String);

impl Foreign {
    pub fn new(text: &str) -> Self {
        Self::shorter(text, MOST)
    }

    /// Takes bytes that are meant to be UTF-8; invalid bytes become replacement characters.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        // A character has at most four bytes. Decode no more than is kept.
        Self::new(&String::from_utf8_lossy(&bytes[..bytes.len().min(4 * (MOST + 1))]))
    }

    /// Like [`Self::new`], with a limit of `most` characters.
    pub fn shorter(text: &str, most: usize) -> Self {
        let most = most.min(MOST);
        // Most text is plain and short.
        if text.len() <= most && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Self(text.to_owned());
        }
        let mut characters = text.trim().chars();
        let mut kept: String = characters.by_ref().take(most).map(harmless).collect();
        if characters.next().is_some() {
            kept.push('…');
        }
        Self(kept)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The character that is printed instead.
fn harmless(character: char) -> char {
    if is_harmless(character) { character } else { char::REPLACEMENT_CHARACTER }
}

/// True if the character is visible and does not change the text around it.
fn is_harmless(character: char) -> bool {
    let hidden = matches!(
        character,
        // These characters change the reading direction of the text around them.
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        // Line and paragraph separators, which some programs take for line ends.
        | '\u{2028}' | '\u{2029}'
        // Invisible characters.
        | '\u{00ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    );
    !character.is_control() && !hidden
}

/// Cleans text of our own that may contain text from outside, for a terminal. Line ends and tabs
/// stay.
pub fn harmless_lines(text: &str) -> Cow<'_, str> {
    let stays = |character| matches!(character, '\n' | '\t') || is_harmless(character);
    if text.chars().all(stays) {
        return Cow::Borrowed(text);
    }
    let shown = |character| if stays(character) { character } else { char::REPLACEMENT_CHARACTER };
    Cow::Owned(text.chars().map(shown).collect())
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<&str> for Foreign {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Foreign {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl PartialEq<&str> for Foreign {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

/// Cleans on reading too: an older version or another host may have written the text.
impl<'de> Deserialize<'de> for Foreign {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(deserializer).map(|text| Self::new(&text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A device name like this one used to set the title of the operator's terminal.
    #[test]
    fn control_characters_are_removed() {
        assert_eq!(Foreign::new("\x1b]0;owned\x07").as_str(), "\u{fffd}]0;owned\u{fffd}");
        assert_eq!(Foreign::new("a\u{202e}b\u{9b}31m\r\n").as_str(), "a\u{fffd}b\u{fffd}31m");
        assert_eq!(Foreign::from_bytes(b"\xff\x1b").as_str(), "\u{fffd}\u{fffd}");
        assert_eq!(harmless_lines("a\n\tb\x1b[2J"), "a\n\tb\u{fffd}[2J");
    }

    #[test]
    fn names_of_people_and_machines_stay_as_they_are() {
        for text in ["52:54:00:12:34:56", "CN=Zoë Müller, O=北京", "1.21.1+ (g1234)", "", "a…"]
        {
            assert_eq!(Foreign::new(text).as_str(), text);
            assert_eq!(harmless_lines(text), text);
        }
        assert_eq!(Foreign::shorter("abcdef", 3).as_str(), "abc…");
        assert_eq!(Foreign::shorter("abc", 3).as_str(), "abc");
    }

    proptest! {
        #[test]
        fn nothing_harmful_ever_comes_out(text in any::<String>(), noise in "[\\x00-\\x20\\x7f-\\u{9f}\\u{2000}-\\u{206f}\\u{feff}a]*") {
            for text in [&text, &noise] {
                let foreign = Foreign::new(text);
                let json = serde_json::to_string(&foreign).unwrap();
                let again: Foreign = serde_json::from_str(&json).unwrap();
                let raw: Foreign = serde_json::from_str(&serde_json::to_string(text).unwrap()).unwrap();
                prop_assert_eq!(&raw, &foreign);
                for shown in [&foreign.to_string(), &format!("{foreign:<8}"), &json, &again.to_string()] {
                    prop_assert!(shown.chars().all(is_harmless), "{shown:?}");
                    prop_assert!(shown.chars().count() <= 2 * (MOST + 2));
                }
                prop_assert!(harmless_lines(text).chars().all(|c| matches!(c, '\n' | '\t') || is_harmless(c)));
            }
        }
    }
}
