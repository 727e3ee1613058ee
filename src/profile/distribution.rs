//! Rules of speaking to a registry, for the boot host that publishes and the agent that pulls: the
//! answer to its `WWW-Authenticate` (<https://distribution.github.io/distribution/spec/auth/token/>),
//! and where it may send. Pure.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use http::header::CONTENT_RANGE;
use http::header::WWW_AUTHENTICATE;
use reqwest::Url;
use reqwest::redirect::Policy;
use serde::Deserialize;

use super::download::is_private;
use crate::foreign::Foreign;

/// Longest answer of a token server.
pub const MAX_TOKEN: u64 = 256 * 1024;

/// Docker Hub has its registry elsewhere.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// The host and port that answer for a registry's name.
pub fn answering_host(name: &str) -> &str {
    if name == DOCKER_HUB.0 { DOCKER_HUB.1 } else { name }
}

/// A user of a registry: `USER:PASSWORD`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
}

/// The text is not `USER:PASSWORD`. It is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("credentials of a registry are USER:PASSWORD, in one line without control characters")]
pub struct ParseCredentialsError;

impl FromStr for Credentials {
    type Err = ParseCredentialsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((user, password))
                if !user.is_empty() && !password.is_empty() && !text.contains(char::is_control) =>
            {
                Ok(Self { user: user.to_owned(), password: password.to_owned() })
            }
            _ => Err(ParseCredentialsError),
        }
    }
}

impl fmt::Debug for Credentials {
    /// Never shows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Credentials {
    /// The value of `Authorization`.
    pub fn basic(&self) -> String {
        let pair = format!("{}:{}", self.user, self.password);
        format!("Basic {}", BASE64_STANDARD.encode(pair))
    }
}

/// The proof that a registry asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Challenge {
    /// User and password.
    Basic,
    /// A token from this address.
    Bearer { realm: Url, service: Option<String> },
    /// Something else.
    Unknown(Foreign),
}

impl Challenge {
    /// The best of the challenges in an answer.
    pub fn read(headers: &HeaderMap) -> Self {
        let mut best = None;
        let mut unknown = Foreign::new("none");
        for value in headers.get_all(WWW_AUTHENTICATE) {
            let Ok(text) = value.to_str() else { continue };
            for challenge in http_auth::parse_challenges(text).unwrap_or_default() {
                let param = |name: &str| {
                    let found = challenge.params.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer")
                    && let Some(realm) = param("realm").and_then(|realm| realm.parse().ok())
                {
                    return Self::Bearer { realm, service: param("service") };
                }
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    best = Some(Self::Basic);
                } else {
                    unknown = Foreign::shorter(challenge.scheme, 40);
                }
            }
        }
        best.unwrap_or(Self::Unknown(unknown))
    }
}

/// The address that gives a token for reading a repository.
pub fn token_url(realm: &Url, service: Option<&str>, repository: &str) -> Url {
    let mut url = realm.clone();
    let mut query = url.query_pairs_mut();
    if let Some(service) = service {
        query.append_pair("service", service);
    }
    query.append_pair("scope", &format!("repository:{repository}:pull"));
    drop(query);
    url
}

/// The answer of a token server.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// The value of `Authorization` with the token of such an answer.
pub fn bearer(body: &[u8]) -> Option<String> {
    let Token { token, access_token } = serde_json::from_slice(body).ok()?;
    let token = token.or(access_token)?;
    let harmless = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    harmless.then(|| format!("Bearer {token}"))
}

/// True if an address that a registry names may be asked: credentials and images of others never
/// cross a network in clear. `plain` says that the registry itself is spoken to without TLS.
pub fn may_ask(url: &Url, plain: bool) -> bool {
    is_private(url) && (plain || url.scheme() == "https")
}

/// Follows up to `most` redirects to where [`may_ask`] says yes. Registries send to stores of their
/// own.
pub fn redirects(most: usize) -> Policy {
    Policy::custom(move |attempt| {
        // The first is no redirect, but what was asked for.
        let plain = attempt.previous().first().is_some_and(|url| url.scheme() == "http");
        if attempt.previous().len() > most {
            attempt.error("it was sent elsewhere again and again")
        } else if may_ask(attempt.url(), plain) {
            attempt.follow()
        } else {
            attempt.error("it was sent to an address without TLS")
        }
    })
}

/// The first byte of an answer that is a part: `bytes 100-199/200`.
pub fn first_byte(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    range.trim().strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Challenge {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        Challenge::read(&headers)
    }

    #[test]
    fn a_token_is_preferred_to_a_password() {
        let realm = "https://auth.example.org/token?account=x";
        let bearer = format!("Bearer realm=\"{realm}\",service=\"registry.example.org\"");
        let expected = Challenge::Bearer {
            realm: realm.parse().unwrap(),
            service: Some("registry.example.org".to_owned()),
        };
        assert_eq!(read(&[&bearer]), expected);
        assert_eq!(read(&["Basic realm=\"x\"", &bearer]), expected);
        assert_eq!(read(&["Basic realm=\"Registry Realm\""]), Challenge::Basic);
        // A token server that nobody can ask.
        assert_eq!(read(&["Bearer realm=\"token\"", "basic realm=x"]), Challenge::Basic);
        for odd in [&["Negotiate"][..], &[], &["\"\""], &["Bearer"]] {
            assert!(matches!(read(odd), Challenge::Unknown(_)), "{odd:?}");
        }
    }

    #[test]
    fn the_address_of_a_token_says_what_it_is_for() {
        let realm = "https://auth.example.org/token?a=b".parse().unwrap();
        let url = token_url(&realm, Some("r&x"), "farm/gateway");
        let expected = "a=b&service=r%26x&scope=repository%3Afarm%2Fgateway%3Apull";
        assert_eq!(url.query(), Some(expected));
    }

    #[test]
    fn secrets_are_never_shown() {
        let credentials: Credentials = "farm:unmistakable".parse().unwrap();
        assert!(!format!("{credentials:?}").contains("unmistakable"));
        assert_eq!(credentials.basic(), "Basic ZmFybTp1bm1pc3Rha2FibGU=");
        let value = bearer(br#"{"access_token":"abc","expires_in":60}"#);
        assert_eq!(value.as_deref(), Some("Bearer abc"));
        for bad in ["{}", "[]", r#"{"token":""}"#, r#"{"token":"a\nb"}"#, r#"{"token":"\u00e9"}"#] {
            assert_eq!(bearer(bad.as_bytes()), None, "{bad}");
        }
        for bad in ["", "farm", ":x", "farm:", "farm:a\nb"] {
            assert!(bad.parse::<Credentials>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nothing_is_asked_in_clear_but_this_machine_by_this_machine() {
        let url = |text: &str| text.parse::<Url>().unwrap();
        assert!(may_ask(&url("https://cdn.example.org/x"), false));
        assert!(may_ask(&url("http://127.0.0.1:1/x"), true));
        assert!(!may_ask(&url("http://127.0.0.1:1/x"), false));
        assert!(!may_ask(&url("http://cdn.example.org/x"), true));
        assert!(!may_ask(&url("file:///etc/passwd"), true));
    }

    #[test]
    fn a_part_begins_where_it_says() {
        let begins = |range: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_RANGE, range.parse().unwrap());
            first_byte(&headers)
        };
        assert_eq!((begins("bytes 5-9/10"), begins("bytes 5-9/*")), (Some(5), Some(5)));
        for bad in ["bytes */10", "5-9", "bytes -9/10", "bytes 5", ""] {
            assert_eq!(begins(bad), None, "{bad}");
        }
        assert_eq!(first_byte(&HeaderMap::new()), None);
    }
}
