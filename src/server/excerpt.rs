use std::fmt;

/// Longest text of a client that is shown as it is, in bytes.
const MAX: usize = 200;

/// Text of a client for logs and journals: quoted, and cut where it is long.
pub(super) struct Excerpt<'a>(pub(super) &'a str);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text) = self;
        let mut end = MAX.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        write!(f, "{:?}", &text[..end])?;
        if end < text.len() {
            write!(f, " and so on, {} bytes", text.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_text_is_shown_as_it_is() {
        assert_eq!(Excerpt("/g/1/\u{1b}[2J").to_string(), r#""/g/1/\u{1b}[2J""#);
    }

    proptest! {
        #[test]
        fn no_text_is_too_long(text in ".{0,400}", times in 1usize..200) {
            let text = text.repeat(times);
            let shown = Excerpt(&text).to_string();
            // `\u{10ffff}` is the longest that one character becomes.
            prop_assert!(shown.len() < MAX * 10 + 50);
            if text.len() <= MAX {
                prop_assert_eq!(shown, format!("{text:?}"));
            } else {
                let end = format!("and so on, {} bytes", text.len());
                prop_assert!(shown.ends_with(&end), "{shown}");
            }
        }
    }
}
