//! Parses options and arguments as `getopt_long` in `src/core/getopt.c` and `reparse_options` in
//! `src/core/parseopt.c` do: long options must be written in full, no option comes after the first
//! argument, and an option's argument cannot begin with `-`.

use super::commands::Opt;
use super::commands::Spec;
use super::commands::Takes;
use super::expand::is_literal;
use super::expand::references;

/// An error in the words of a command. `word` is an index; the command's own name has index
/// 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    Unknown {
        word: usize,
    },
    /// The option needs an argument and has none.
    NoValue {
        word: usize,
        option: &'static str,
    },
    /// The option takes no argument and has one.
    Value {
        word: usize,
        option: &'static str,
    },
    /// `--help`: iPXE prints the usage, does nothing and fails.
    Help {
        word: usize,
    },
    /// The argument is not a whole number.
    NotANumber {
        word: usize,
    },
    /// Too few or too many arguments.
    Count {
        /// The number of arguments.
        found: usize,
    },
}

/// An option on the command line.
#[derive(Debug)]
pub struct Given<'a> {
    pub option: &'static Opt,
    /// The word that contains the option.
    pub word: usize,
    /// The word that contains its argument, and the argument.
    pub value: Option<(usize, &'a [u8])>,
}

/// The parsed words of a command.
#[derive(Debug, Default)]
pub struct Arguments<'a> {
    /// The options, in order.
    pub options: Vec<Given<'a>>,
    /// Index of the first word that is not an option.
    pub first: usize,
    /// There is a setting whose value decides whether it is an option or an argument.
    pub unsure: bool,
}

impl<'a> Arguments<'a> {
    /// The option of that name, if given.
    pub fn option(&self, long: &str) -> Option<&Given<'a>> {
        self.options.iter().find(|given| given.option.long == long)
    }
}

/// Separates options from arguments. `words` begins with the command's name.
pub fn parse<'a>(spec: &'static Spec, words: &[&'a [u8]]) -> Result<Arguments<'a>, Wrong> {
    let mut found = Arguments { options: Vec::new(), first: 1, unsure: false };
    if spec.name == "help" {
        return Ok(found);
    }
    while let Some(word) = words.get(found.first).copied() {
        if word == b"--" {
            found.first += 1;
            break;
        }
        match word {
            [b'-', b'-', name @ ..] => long(spec, words, name, &mut found)?,
            [b'-', letters @ ..] => short(spec, words, letters, &mut found)?,
            _ => {
                let start = references(word).all.iter().any(|reference| reference.span.start == 0);
                found.unsure |= start;
                break;
            }
        }
        if found.unsure {
            return Ok(found);
        }
    }
    let count = words.len() - found.first.min(words.len());
    if count < spec.min || (count > spec.max && spec.max < super::commands::ANY && !found.unsure) {
        return Err(Wrong::Count { found: count });
    }
    Ok(found)
}

fn long<'a>(
    spec: &'static Spec,
    words: &[&'a [u8]],
    name: &'a [u8],
    found: &mut Arguments<'a>,
) -> Result<(), Wrong> {
    let word = found.first;
    let (name, value) = match memchr::memchr(b'=', name) {
        Some(at) => (&name[..at], Some((word, &name[at + 1..]))),
        None => (name, None),
    };
    if !is_literal(name) {
        found.unsure = true;
        return Ok(());
    }
    found.first += 1;
    if name == b"help" {
        return Err(Wrong::Help { word });
    }
    let option = spec
        .options
        .iter()
        .find(|option| option.long.as_bytes() == name)
        .ok_or(Wrong::Unknown { word })?;
    give(option, word, value, words, found)
}

fn short<'a>(
    spec: &'static Spec,
    words: &[&'a [u8]],
    letters: &'a [u8],
    found: &mut Arguments<'a>,
) -> Result<(), Wrong> {
    let word = found.first;
    found.first += 1;
    if letters.is_empty() {
        return Err(Wrong::Unknown { word });
    }
    for (at, letter) in letters.iter().enumerate() {
        if *letter == b'$' {
            found.unsure = true;
            return Ok(());
        }
        if *letter == b'h' {
            return Err(Wrong::Help { word });
        }
        let option = spec
            .options
            .iter()
            .find(|option| option.short == *letter)
            .ok_or(Wrong::Unknown { word })?;
        let rest = &letters[at + 1..];
        let inline = (option.takes != Takes::Nothing && !rest.is_empty()).then_some((word, rest));
        give(option, word, inline, words, found)?;
        if inline.is_some() {
            break;
        }
    }
    Ok(())
}

fn give<'a>(
    option: &'static Opt,
    word: usize,
    mut value: Option<(usize, &'a [u8])>,
    words: &[&'a [u8]],
    found: &mut Arguments<'a>,
) -> Result<(), Wrong> {
    if option.takes == Takes::Nothing {
        if value.is_some() {
            return Err(Wrong::Value { word, option: option.long });
        }
    } else if value.is_none() {
        // An option is never an argument, even where an argument must follow.
        let next = words.get(found.first).filter(|next| next.first() != Some(&b'-'));
        let next = *next.ok_or(Wrong::NoValue { word, option: option.long })?;
        value = Some((found.first, next));
        found.first += 1;
    }
    if let Some((at, text)) = value {
        let fits = match option.takes {
            Takes::Integer => is_number(text),
            Takes::Key => text.len() == 1 || is_number(text),
            _ => true,
        };
        if !fits && is_literal(text) {
            return Err(Wrong::NotANumber { word: at });
        }
    }
    found.options.push(Given { option, word, value });
    Ok(())
}

/// True if `strtoul` with base 0 may accept the whole text. In doubt, true.
pub fn is_number(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    match digits {
        [b'0', b'x' | b'X', hex @ ..] => hex.iter().all(u8::is_ascii_hexdigit),
        digits => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
    }
}
