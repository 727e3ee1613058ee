//! What a registry wants to know of a client: the answer to its `WWW-Authenticate`
//! (<https://distribution.github.io/distribution/spec/auth/token/>). Pure.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use http::HeaderValue;
use http::header::WWW_AUTHENTICATE;
use reqwest::Url;
use serde::Deserialize;

use super::Credentials;
use crate::foreign::Foreign;

/// What the registry asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password.
    Basic,
    /// A token from this address.
    Bearer { realm: Url, service: Option<String> },
    /// Something else.
    Unknown(Foreign),
}

impl Challenge {
    /// The best of the challenges in an answer.
    pub(super) fn read(headers: &HeaderMap) -> Self {
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
pub(super) fn token_url(realm: &Url, service: Option<&str>, repository: &str) -> Url {
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

/// The header with the token of such an answer.
pub(super) fn bearer(body: &[u8]) -> Option<HeaderValue> {
    let Token { token, access_token } = serde_json::from_slice(body).ok()?;
    let token = token.or(access_token).filter(|token| !token.is_empty())?;
    secret(format!("Bearer {token}"))
}

/// The header with user and password.
pub(super) fn basic(credentials: &Credentials) -> Option<HeaderValue> {
    let pair = format!("{}:{}", credentials.user, credentials.password);
    secret(format!("Basic {}", BASE64_STANDARD.encode(pair)))
}

fn secret(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
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
        let value = basic(&credentials).unwrap();
        assert!(value.is_sensitive() && value == "Basic ZmFybTp1bm1pc3Rha2FibGU=");
        let value = bearer(br#"{"access_token":"abc","expires_in":60}"#).unwrap();
        assert!(value.is_sensitive() && value == "Bearer abc");
        for bad in ["{}", "[]", r#"{"token":""}"#, r#"{"token":"a\nb"}"#] {
            assert!(bearer(bad.as_bytes()).is_none(), "{bad}");
        }
        for bad in ["", "farm", ":x", "farm:", "farm:a\nb"] {
            assert!(bad.parse::<Credentials>().is_err(), "{bad:?}");
        }
    }
}
