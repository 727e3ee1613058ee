//! Finds settings (`${...}`) in words, as `expand_settings` in `src/core/settings.c` does: the
//! innermost first, each closed by the first `}` after a `${`.

use std::ops::Range;

/// A setting that is expanded in a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// From `${` to `}`.
    pub span: Range<usize>,
    /// The bytes between them.
    pub name: Range<usize>,
    /// The name contains other settings, so only iPXE knows it.
    pub dynamic: bool,
}

/// All settings that are expanded in a word.
#[derive(Debug, Default)]
pub struct References {
    /// Inner settings come before outer ones.
    pub all: Vec<Reference>,
    /// A `${` without `}`, which iPXE leaves as it is.
    pub unclosed: Option<usize>,
}

/// Finds the settings in a word, in one pass and without recursion.
pub fn references(word: &[u8]) -> References {
    let mut found = References::default();
    // The open `${`: their positions, and whether something inside was expanded.
    let mut open: Vec<(usize, bool)> = Vec::new();
    for at in memchr::memchr2_iter(b'$', b'}', word) {
        if word[at] == b'}' {
            let Some((start, dynamic)) = open.pop() else { continue };
            if let Some(around) = open.last_mut() {
                around.1 = true;
            }
            found.all.push(Reference { span: start..at + 1, name: start + 2..at, dynamic });
        } else if word.get(at + 1) == Some(&b'{') {
            open.push((at, false));
        }
    }
    found.unclosed = open.first().map(|(start, _)| *start);
    found
}

/// True if a word contains no setting.
pub fn is_literal(word: &[u8]) -> bool {
    memchr::memchr(b'$', word).is_none() || references(word).all.is_empty()
}

/// Splits `scope/name:type`. Scope and type are optional (`parse_setting_name`).
pub fn split_name(name: &[u8]) -> (Option<&[u8]>, &[u8], Option<&[u8]>) {
    let (scope, rest) = match memchr::memchr(b'/', name) {
        Some(at) => (Some(&name[..at]), &name[at + 1..]),
        None => (None, name),
    };
    match memchr::memchr(b':', rest) {
        Some(at) => (scope, &rest[..at], Some(&rest[at + 1..])),
        None => (scope, rest, None),
    }
}
