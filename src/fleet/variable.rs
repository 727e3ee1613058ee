//! Variables of a gateway: settings that its boot script finds in iPXE. Pure.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

use crate::foreign::Foreign;
use crate::ipxe::script::settings;

/// Variables by name.
pub type Variables = BTreeMap<VariableName, String>;

/// Longest name of a variable.
const MAX_NAME: usize = 64;

/// Longest value of a variable, in bytes. The longest kernel command line is half as long.
pub const MAX_VALUE: usize = 4096;

/// Most variables of one gateway: they are lines in every boot script.
pub const MAX_VARIABLES: usize = 256;

/// The name of a variable: a letter, then letters, digits, `_` and `-`. It needs no quoting in an
/// iPXE script, and iPXE never takes it for the number of a DHCP option.
///
/// Parsing text refuses names of settings that iPXE or the prelude has for itself. Reading an
/// event does not: a later version may reserve more names, and old events stay readable. The
/// prelude leaves out what [`Self::is_reserved`] says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct VariableName(String);

impl VariableName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if iPXE or the prelude has a setting of this name.
    pub fn is_reserved(&self) -> bool {
        settings::is_reserved(&self.0)
    }
}

/// `NAME=VALUE`, as an argument on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The variable.
    pub name: VariableName,
    /// A value that iPXE can hold.
    pub value: String,
}

impl FromStr for Assignment {
    type Err = ParseAssignmentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once('=').ok_or(ParseAssignmentError::NoValue)?;
        let name = name.parse()?;
        check_value(value)?;
        Ok(Self { name, value: value.to_owned() })
    }
}

/// The text is not `NAME=VALUE`.
#[derive(Debug, thiserror::Error)]
pub enum ParseAssignmentError {
    /// There is no `=`.
    #[error("expected NAME=VALUE")]
    NoValue,
    /// The name is wrong.
    #[error(transparent)]
    Name(#[from] ParseVariableNameError),
    /// The value is wrong.
    #[error(transparent)]
    Value(#[from] VariableValueError),
}

fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    text.len() <= MAX_NAME
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(plain)
}

impl FromStr for VariableName {
    type Err = ParseVariableNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match is_name(text) {
            false => Err(ParseVariableNameError::Wrong(Foreign::shorter(text, MAX_NAME))),
            true if settings::is_reserved(text) => {
                Err(ParseVariableNameError::Reserved(text.to_owned()))
            }
            true => Ok(Self(text.to_owned())),
        }
    }
}

/// The text cannot name a variable.
#[derive(Debug, thiserror::Error)]
pub enum ParseVariableNameError {
    /// It is no name at all.
    #[error(
        "{0:?} is not a variable name: use a letter, then letters, digits, `_` and `-`, at most \
         {MAX_NAME}"
    )]
    Wrong(Foreign),
    /// It means something else already.
    #[error("`{0}` is a setting of iPXE's or farmgate's own: choose another name for the variable")]
    Reserved(String),
}

/// Checks that iPXE can hold `value`, and that `${name}` in a script gives exactly this text.
///
/// iPXE splits a `set` line into words, ends it at `&&`, `||`, `;` and at a word that begins with
/// `#`, and joins the words with one blank (`src/core/exec.c`). It expands settings again in what
/// it expanded (`expand_settings` in `src/core/settings.c`), so `${` in a value would become
/// another value, and a `$` at its end could begin a setting with what follows.
pub fn check_value(value: &str) -> Result<(), VariableValueError> {
    let word_ends = |word: &str| matches!(word, "&&" | "||" | ";") || word.starts_with('#');
    let control = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if value.len() > MAX_VALUE {
        Err(VariableValueError::Long)
    } else if value.contains(control) {
        Err(VariableValueError::Control)
    } else if value.starts_with(' ') || value.ends_with(' ') || value.contains("  ") {
        Err(VariableValueError::Blanks)
    } else if value.contains("${") || value.ends_with('$') {
        Err(VariableValueError::Expands)
    } else if let Some(word) = value.split(' ').find(|word| word_ends(word)) {
        Err(VariableValueError::Ends(Foreign::shorter(word, 20)))
    } else {
        Ok(())
    }
}

/// iPXE cannot hold a value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum VariableValueError {
    /// Longer than [`MAX_VALUE`].
    #[error("the value is longer than {MAX_VALUE} bytes")]
    Long,
    /// It would begin another line of the script.
    #[error("the value contains a line end or another control character: iPXE holds one line")]
    Control,
    /// Blanks that iPXE loses.
    #[error(
        "the value has a blank at an end, or two in a row: iPXE keeps only single blanks between \
         words"
    )]
    Blanks,
    /// iPXE would expand it again.
    #[error(
        "the value contains `${{` or ends with `$`: iPXE would take it for the name of a setting; \
         write the setting in boot.ipxe"
    )]
    Expands,
    /// iPXE would end the value there.
    #[error("iPXE ends a value before the word `{0}`: leave the word out, or glue it to another")]
    Ends(Foreign),
}

impl fmt::Display for VariableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Borrow<str> for VariableName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<VariableName> for String {
    fn from(name: VariableName) -> Self {
        name.0
    }
}

impl TryFrom<String> for VariableName {
    type Error = ParseVariableNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if is_name(&text) { Ok(Self(text)) } else { text.parse() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ipxe::script::grammar::Script;

    #[test]
    fn names_are_words_that_mean_nothing_else() {
        for good in ["console", "Disk_2", "a", "add", "serial-speed", &"x".repeat(64)] {
            assert_eq!(good.parse::<VariableName>().unwrap().as_str(), good);
        }
        for bad in ["", "1a", "-a", "_a", "a b", "a:b", "a/b", "a.b", "ä", "a\n", &"x".repeat(65)]
        {
            let error = bad.parse::<VariableName>().unwrap_err();
            assert!(matches!(error, ParseVariableNameError::Wrong(_)), "{bad:?}: {error}");
            assert!(VariableName::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
        for own in ["gateway_name", "ack_url", "public_ack_url", "s3_region", "trust", "hostname"] {
            let error = own.parse::<VariableName>().unwrap_err();
            assert!(matches!(error, ParseVariableNameError::Reserved(_)), "{own}: {error}");
            // An event may hold it: the name was free when it was written.
            assert!(VariableName::try_from(own.to_owned()).unwrap().is_reserved(), "{own}");
        }
    }

    #[test]
    fn assignments_split_at_the_first_sign() {
        let Assignment { name, value } = "args=a=b c".parse().unwrap();
        assert_eq!((name.as_str(), &*value), ("args", "a=b c"));
        for bad in ["args", "=x", "trust=00", "a=x\ny"] {
            assert!(bad.parse::<Assignment>().is_err(), "{bad}");
        }
    }

    #[test]
    fn values_are_what_a_script_gets_back() {
        for good in
            ["", "ttyS0,115200", "a b", "$5", "a$b", "{x}", "a||b", "x#y", "Zoë", "-n", "\\"]
        {
            assert_eq!(check_value(good), Ok(()), "{good:?}");
        }
        use VariableValueError::*;
        let ends = |word: &str| Ends(Foreign::new(word));
        for (bad, error) in [
            ("a\nb", Control),
            ("a\r", Control),
            ("\0", Control),
            ("\u{1b}[2J", Control),
            ("a\u{85}b", Control),
            (" a", Blanks),
            ("a ", Blanks),
            ("a  b", Blanks),
            ("${ip}", Expands),
            ("a$", Expands),
            ("a || reboot", ends("||")),
            ("a && b", ends("&&")),
            ("; b", ends(";")),
            ("a #b", ends("#b")),
        ] {
            assert_eq!(check_value(bad), Err(error), "{bad:?}");
        }
        assert_eq!(check_value(&"x".repeat(MAX_VALUE)), Ok(()));
        assert_eq!(check_value(&"x".repeat(MAX_VALUE + 1)), Err(Long));
    }

    proptest! {
        /// What passes stands in one command of one line, word for word, for the parser that the
        /// checks use.
        #[test]
        fn a_value_never_leaves_its_line(value in "[ a$#&|;{}\\\\\n\t]{0,12}|.{0,20}") {
            prop_assume!(check_value(&value).is_ok());
            let text = format!("#!ipxe\nset x {value} ||\nreboot\n");
            let script = Script::parse(text.as_bytes());
            let line = &script.lines[1];
            let words: Vec<&[u8]> = line.commands[0].words.iter().map(|w| line.get(w)).collect();
            let joined = words[2..].join(&b' ');
            prop_assert_eq!(String::from_utf8(joined).unwrap(), value);
            prop_assert_eq!(script.lines.len(), 3);
        }
    }
}
