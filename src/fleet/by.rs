//! Author and reason of an act. Pure.

use serde::Deserialize;
use serde::Serialize;

use crate::foreign::Foreign;

/// Author and reason of a change. It is for people, and proves nothing: whoever may change the
/// state can write any name into it.
///
/// Names and messages come from outside, so [`Foreign`] cuts and cleans them, on reading too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct By {
    /// A person: `ada@boot-1`, or `Ada <ada@example.org>`.
    pub author: Foreign,
    /// The git commit that was applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Foreign>,
    /// The reason, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Foreign>,
}

impl By {
    /// Without a commit or a message. An empty name becomes `unknown`.
    pub fn new(author: &str) -> Self {
        let author = one_line(author).unwrap_or_else(|| Foreign::new("unknown"));
        Self { author, commit: None, message: None }
    }

    /// The same, as the author of this commit.
    #[must_use]
    pub fn with_commit(self, commit: &str) -> Self {
        Self { commit: one_line(commit), ..self }
    }

    /// The same, with a reason. An empty one is none; line ends become spaces.
    #[must_use]
    pub fn with_message(self, message: &str) -> Self {
        Self { message: one_line(message), ..self }
    }
}

fn one_line(text: &str) -> Option<Foreign> {
    let words: Vec<_> = text.split_whitespace().collect();
    (!words.is_empty()).then(|| Foreign::new(&words.join(" ")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reason_is_one_line() {
        let by = By::new(" Ada\tLovelace ").with_message("kernel 6.12\n\nsee the list\n");
        assert_eq!(by.author, "Ada Lovelace");
        assert_eq!(by.message.unwrap(), "kernel 6.12 see the list");
        let by = By::new("\n").with_message(" ").with_commit("");
        assert_eq!(by, By::new("unknown"));
        assert_eq!(serde_json::to_string(&by).unwrap(), r#"{"author":"unknown"}"#);
    }

    proptest! {
        /// Whatever was given, and whatever another program wrote.
        #[test]
        fn it_stays_short_and_harmless(author in any::<String>(), message in "[\\x00-\\x7f]{0,900}") {
            let by = By::new(&author).with_message(&message).with_commit(&author);
            let text = serde_json::to_string(&by).unwrap();
            prop_assert_eq!(&serde_json::from_str::<By>(&text).unwrap(), &by);
            prop_assert!(text.chars().count() < 3000 && !text.contains("\\u00"), "{}", text);
            let raw = serde_json::json!({ "author": author, "message": message }).to_string();
            let read: By = serde_json::from_str(&raw).unwrap();
            for text in [Some(&read.author), read.message.as_ref()].into_iter().flatten() {
                prop_assert!(!text.as_str().contains(char::is_control));
                prop_assert!(text.as_str().chars().count() <= 401);
            }
        }
    }
}
