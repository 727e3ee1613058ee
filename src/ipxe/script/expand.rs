//! `${...}`, as `expand_settings` in `src/core/settings.c` finds it: the
//! innermost first, at the first `}` after a `${`.

use std::ops::Range;

/// One setting that is expanded, as ranges of the word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// From `${` to `}`.
    pub span: Range<usize>,
    /// What stands between.
    pub name: Range<usize>,
    /// Other settings stand in the name, so that only iPXE knows it.
    pub dynamic: bool,
}

/// All settings that are expanded in a word.
#[derive(Debug, Default)]
pub struct References {
    /// The inner ones before those around them.
    pub all: Vec<Reference>,
    /// A `${` that nothing closes: iPXE leaves it as it is.
    pub unclosed: Option<usize>,
}

/// Finds the settings in a word. Takes one pass and no recursion.
pub fn references(word: &[u8]) -> References {
    let mut found = References::default();
    // Opened and not closed: where, and whether something was expanded inside.
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

/// Whether nothing is expanded in a word.
pub fn is_literal(word: &[u8]) -> bool {
    memchr::memchr(b'$', word).is_none() || references(word).all.is_empty()
}

/// Splits `scope/name:type`, of which only the name must be there (`parse_setting_name`).
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
