//! Masks tokens in client paths for the log.

/// Shorter than any token: those of secrets have 43 characters.
const SHORT: usize = 40;

/// Characters of a longer name that are shown; nobody can guess the rest of a token.
const PREFIX: usize = 8;

/// Most names that are shown.
const NAMES: usize = 8;

/// A path that was not found, for the log. It may contain a valid token, misspelled only by an
/// extra slash.
pub(super) fn shown(path: &str) -> String {
    let mut names: Vec<String> = path.splitn(NAMES + 1, '/').map(name).collect();
    if names.len() > NAMES {
        names[NAMES] = "...".to_owned();
    }
    names.join("/")
}

fn name(name: &str) -> String {
    if name.len() < SHORT {
        return name.to_owned();
    }
    name.chars().take(PREFIX).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_shown_and_tokens_are_not() {
        let token = "A".repeat(43);
        for (path, expected) in [
            ("/secrets".to_owned(), "/secrets"),
            (
                "modules/vmlinuz-6.1.0-50-cloud-amd64".to_owned(),
                "modules/vmlinuz-6.1.0-50-cloud-amd64",
            ),
            (format!("/secret/{token}"), "/secret/AAAAAAAA..."),
            (format!("//secrets/{token}/"), "//secrets/AAAAAAAA.../"),
            (token.clone(), "AAAAAAAA..."),
            ("a/".repeat(100), "a/a/a/a/a/a/a/a/..."),
            (String::new(), ""),
        ] {
            assert_eq!(shown(&path), expected);
        }
    }

    proptest! {
        #[test]
        fn no_more_of_a_token_than_its_beginning(
            before in ".{0,30}", token in "[0-9A-Za-z_.%-]{40,200}", after in ".{0,30}",
        ) {
            let text = shown(&format!("{before}/{token}/{after}"));
            prop_assert!(!text.contains(&token));
            prop_assert!(text.len() < (NAMES + 1) * 4 * SHORT);
        }
    }
}
