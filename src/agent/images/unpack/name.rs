//! Names of entries: where in the layer they lead. Pure.

/// Deepest path in a layer.
const MAX_DEPTH: usize = 256;

/// Longest path in a layer: what Linux takes, without the last byte.
const MAX_PATH: usize = 4095;

/// Marks a name of the layers below as gone.
const WHITEOUT: &[u8] = b".wh.";
/// Names of AUFS's own files, which say nothing to others.
const AUFS: &[u8] = b".wh..wh.";
/// Marks a directory whose content in the layers below is gone.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The place that an entry leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    /// Directories from the layer's root to it.
    pub parents: Vec<&'a [u8]>,
    pub target: Target<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// The layer's root itself.
    Root,
    /// Something of this name.
    Named(&'a [u8]),
    /// The name is gone.
    Whiteout(&'a [u8]),
    /// Everything that the layers below have in the parent directory is gone.
    Opaque,
    /// AUFS's own.
    Nothing,
}

impl<'a> Place<'a> {
    /// Reads the name of an entry. Absolute names count from the layer's root, as other tools take
    /// them.
    pub(super) fn parse(name: &'a [u8]) -> Result<Self, &'static str> {
        let mut parents = components(name)?;
        let target = match parents.pop() {
            None => Target::Root,
            Some(OPAQUE) => Target::Opaque,
            Some(last) if last.starts_with(AUFS) => Target::Nothing,
            Some(last) => match last.strip_prefix(WHITEOUT) {
                None => Target::Named(last),
                Some(b"" | b"." | b"..") => return Err("this whiteout names nothing"),
                Some(gone) => Target::Whiteout(gone),
            },
        };
        if parents.iter().any(|parent| parent.starts_with(WHITEOUT)) {
            return Err("a whiteout is no directory");
        }
        Ok(Self { parents, target })
    }
}

/// The components of a path below the layer's root.
pub(super) fn components(name: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    if name.len() > MAX_PATH {
        return Err("its name is too long");
    }
    if name.contains(&0) {
        return Err("its name has a zero byte");
    }
    let parts = name.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let parts: Vec<_> = parts.collect();
    if parts.contains(&&b".."[..]) {
        return Err("its name leads out of the image (..)");
    }
    if parts.len() > MAX_DEPTH {
        return Err("its name has too many directories");
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_lead_where_other_tools_take_them() {
        let place = |name: &'static str| Place::parse(name.as_bytes()).unwrap();
        let named = |parents: &[&'static str], name: &'static str| Place {
            parents: parents.iter().map(|parent| parent.as_bytes()).collect(),
            target: Target::Named(name.as_bytes()),
        };
        for (name, expected) in [
            ("etc/passwd", named(&["etc"], "passwd")),
            ("./etc//passwd", named(&["etc"], "passwd")),
            ("/etc/passwd", named(&["etc"], "passwd")),
            ("etc/", named(&[], "etc")),
            ("..a/...", named(&["..a"], "...")),
        ] {
            assert_eq!(place(name), expected, "{name}");
        }
        for root in ["", ".", "./", "/", "//."] {
            assert_eq!(place(root).target, Target::Root);
        }
        assert_eq!(place("a/.wh.b").target, Target::Whiteout(b"b"));
        assert_eq!(place("a/.wh..wh..opq").target, Target::Opaque);
        assert_eq!(place(".wh..wh.plnk").target, Target::Nothing);
    }

    #[test]
    fn names_that_lead_nowhere_are_refused() {
        let deep = "a/".repeat(300);
        let long = "a".repeat(5000);
        for bad in [
            "..",
            "a/../b",
            "../../etc",
            ".wh.",
            ".wh..",
            ".wh...",
            "a\0b",
            ".wh.a/b",
            &deep,
            &long,
        ] {
            assert!(Place::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_name_has_a_component_that_is_none(name in "[./\\x00a.wh]{0,40}") {
            if let Ok(place) = Place::parse(name.as_bytes()) {
                let last = match place.target {
                    Target::Named(name) | Target::Whiteout(name) => Some(name),
                    _ => None,
                };
                for part in place.parents.into_iter().chain(last) {
                    prop_assert!(!matches!(part, b"" | b"." | b".."));
                    prop_assert!(!part.contains(&b'/') && !part.contains(&0));
                }
            }
        }
    }
}
