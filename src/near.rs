//! Names near one that does not exist, for errors. Pure.

/// The candidate that `wanted` was probably meant to be: one typing error in a short name, two or
/// more in a longer one.
pub fn near<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |other: &&str| strsim::osa_distance(other, wanted);
    let nearest = candidates.into_iter().min_by_key(distance)?;
    (distance(&nearest) <= 1 + wanted.len() / 8).then_some(nearest)
}

/// "did you mean ...?", or else all that there are.
pub fn meant<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match near(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "there are none yet".to_owned(),
        None => format!("there are: {}", known.join(", ")),
    }
}

/// Like [`near`] for an unknown key or word of a file, from serde's message about it. That names in
/// backticks what was found, and then everything that is known.
pub fn near_key(message: &str) -> Option<&str> {
    if !message.starts_with("unknown field") && !message.starts_with("unknown variant") {
        return None;
    }
    let mut words = message.split('`').skip(1).step_by(2);
    near(words.next()?, words)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[test]
    fn only_typing_errors_are_near() {
        let names = ["debian", "fedora", "lab-1"];
        assert_eq!(near("debain", names), Some("debian"));
        assert_eq!(near("debian", names), Some("debian"));
        assert_eq!(near("lab1", names), Some("lab-1"));
        assert_eq!(near("windows", names), None);
        assert_eq!(near("x", []), None);
    }

    #[test]
    fn a_slip_is_told_from_another_name() {
        assert_eq!(meant("debain", ["debian", "nixos"]), "did you mean `debian`?");
        assert_eq!(meant("arch", ["debian", "nixos"]), "there are: debian, nixos");
        assert_eq!(meant("arch", []), "there are none yet");
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    #[allow(dead_code, reason = "only its messages count")]
    struct Table {
        fallback_urls: Option<String>,
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Kind {
        Rsa2048,
        P256,
    }

    #[test]
    fn keys_and_words_are_found_in_what_serde_says() {
        let message = |toml: &str| toml::from_str::<Table>(toml).unwrap_err().message().to_owned();
        let near = |toml: &str| near_key(&message(toml)).map(str::to_owned);
        assert_eq!(near("fallback-url = 'x'").as_deref(), Some("fallback-urls"));
        assert_eq!(near("kind = 'rsa-2048'").as_deref(), Some("rsa2048"));
        assert_eq!(near("windows = 'x'"), None);
        assert_eq!(near("kind = 7"), None);
        assert_eq!(near_key("unknown field"), None);
    }
}
