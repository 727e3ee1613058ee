//! Images by the distribution specification
//! (<https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md>): from the boot host,
//! or from a registry for an image that the boot host does not hold. Network.

use std::io;
use std::sync::Mutex;
use std::sync::MutexGuard;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::StatusCode;
use reqwest::Url;
use reqwest::header::CONTENT_RANGE;
use reqwest::header::HeaderMap;
use reqwest::header::WWW_AUTHENTICATE;
use serde::Deserialize;
use time::OffsetDateTime;

use super::source::Body;
use super::source::Source;
use super::source::SourceError;
use crate::agent::http::Answer;
use crate::agent::http::Client;
use crate::backoff;
use crate::foreign::Foreign;
use crate::profile::oci::ACCEPTED;
use crate::profile::oci::MAX_DOCUMENT;
use crate::profile::reference::Digest;
use crate::profile::reference::RegistryReference;

/// A repository of the boot host or of a registry.
pub struct Remote {
    client: Client,
    /// Who it is, for messages.
    name: String,
    /// `https://HOST/v2/REPOSITORY`.
    base: String,
    repository: String,
    /// `USER:PASSWORD` for a registry.
    credentials: Option<String>,
    /// The header that the last request was let in with.
    authorization: Mutex<Option<String>>,
    /// False for the boot host, whose token is all there is.
    negotiates: bool,
}

/// What a registry asks for.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    /// User and password.
    Basic,
    /// A token from this address.
    Bearer { realm: Url, service: Option<String> },
}

impl Remote {
    /// A repository of the boot host at `url`, whose boot has this token.
    pub fn boot_host(client: Client, url: &str, token: &str, repository: &str) -> Self {
        let authorization = Mutex::new(Some(format!("Bearer {token}")));
        let base = format!("{url}/v2/{repository}");
        let (name, negotiates) = ("the boot host".to_owned(), false);
        let repository = repository.to_owned();
        Self { client, name, base, repository, credentials: None, authorization, negotiates }
    }

    /// The repository of an image in its registry. `client` has to follow redirects, and to trust
    /// the registry. `credentials` are `USER:PASSWORD`.
    pub fn registry(
        client: Client,
        image: &RegistryReference,
        credentials: Option<String>,
    ) -> Self {
        // The name that people write is not where it answers.
        let host = if image.host == "docker.io" { "registry-1.docker.io" } else { &image.host };
        Self::registry_at(client, &format!("https://{host}"), &image.path, credentials)
    }

    pub(super) fn registry_at(
        client: Client,
        origin: &str,
        repository: &str,
        credentials: Option<String>,
    ) -> Self {
        let name = origin.trim_start_matches("https://").to_owned();
        let base = format!("{origin}/v2/{repository}");
        let (authorization, negotiates) = (Mutex::new(None), true);
        let repository = repository.to_owned();
        Self { client, name, base, repository, credentials, authorization, negotiates }
    }

    fn authorization(&self) -> MutexGuard<'_, Option<String>> {
        self.authorization.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A successful answer. A registry's tokens run out in minutes: then another is asked for.
    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, SourceError> {
        let answer = self.send(path, headers)?;
        if answer.status != StatusCode::UNAUTHORIZED || !self.negotiates {
            return self.judge(answer);
        }
        let authorization = self.authorize(&answer.headers)?;
        *self.authorization() = Some(authorization);
        self.judge(self.send(path, headers)?)
    }

    fn send(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, SourceError> {
        let authorization = self.authorization().clone();
        let authorization = authorization.as_deref().map(|value| ("authorization", value));
        let headers: Vec<_> = headers.iter().copied().chain(authorization).collect();
        self.client.get(&format!("{}/{path}", self.base), &headers).map_err(|e| self.away(&e))
    }

    /// The header that the registry wants.
    fn authorize(&self, headers: &HeaderMap) -> Result<String, SourceError> {
        let basic = self.credentials.as_ref();
        let basic = basic.map(|pair| format!("Basic {}", BASE64_STANDARD.encode(pair)));
        match challenge(headers) {
            None => {
                let why =
                    format!("{} wants an authentication that farmgate does not know", self.name);
                Err(SourceError::Refused(why))
            }
            Some(Challenge::Basic) => basic.ok_or_else(|| {
                SourceError::Refused(format!("{} wants a user and a password", self.name))
            }),
            Some(Challenge::Bearer { realm, service }) => self.token(realm, service, basic),
        }
    }

    fn token(
        &self,
        mut realm: Url,
        service: Option<String>,
        basic: Option<String>,
    ) -> Result<String, SourceError> {
        /// The answer of a token server.
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let plain = realm.scheme() != "https" && self.base.starts_with("https:");
        if plain && basic.is_some() {
            let why = format!("{} wants the password sent in clear", self.name);
            return Err(SourceError::Failed(why));
        }
        {
            let mut query = realm.query_pairs_mut();
            if let Some(service) = service {
                query.append_pair("service", &service);
            }
            query.append_pair("scope", &format!("repository:{}:pull", self.repository));
        }
        let headers: Vec<_> = basic.iter().map(|value| ("authorization", &value[..])).collect();
        let answer = self.client.get(realm.as_str(), &headers).map_err(|e| self.away(&e))?;
        let bytes = self.judge(answer)?.bytes(MAX_DOCUMENT).map_err(|e| self.away(&e))?;
        let token = serde_json::from_slice::<Token>(&bytes).ok();
        let token = token.and_then(|token| token.token.or(token.access_token));
        let harmless = |token: &String| token.bytes().all(|byte| byte.is_ascii_graphic());
        let token = token.filter(harmless).filter(|token| !token.is_empty());
        let none = || SourceError::Failed(format!("{} gave no token", self.name));
        Ok(format!("Bearer {}", token.ok_or_else(none)?))
    }

    /// The answer, or what its status means.
    fn judge(&self, answer: Answer) -> Result<Answer, SourceError> {
        let status = answer.status;
        let why = format!("{} answers {status}", self.name);
        let retry_after = backoff::retry_after(&answer.headers, OffsetDateTime::now_utc());
        match status {
            status if status.is_success() => Ok(answer),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(SourceError::Refused(why)),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(SourceError::Missing(why)),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                Err(SourceError::Away { why, retry_after })
            }
            status if status.is_server_error() => Err(SourceError::Away { why, retry_after }),
            _ => Err(SourceError::Failed(why)),
        }
    }

    fn away(&self, error: &io::Error) -> SourceError {
        let why = format!("{}: {}", self.name, Foreign::new(&error.to_string()));
        SourceError::Away { why, retry_after: None }
    }
}

impl Source for Remote {
    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, SourceError> {
        let accepted = ACCEPTED.map(|media_type| ("accept", media_type));
        let answer = self.get(&format!("manifests/{digest}"), &accepted)?;
        answer.bytes(MAX_DOCUMENT).map_err(|error| self.away(&error))
    }

    fn blob(&self, digest: &Digest, from: u64) -> Result<Body, SourceError> {
        let range = format!("bytes={from}-");
        let headers = if from > 0 { &[("range", &range[..])][..] } else { &[] };
        let answer = self.get(&format!("blobs/{digest}"), headers)?;
        let from = match answer.status {
            StatusCode::PARTIAL_CONTENT => start(&answer.headers).ok_or_else(|| {
                SourceError::Failed(format!("{} does not say what it sends", self.name))
            })?,
            _ => 0,
        };
        Ok(Body { from, bytes: Box::new(answer.body) })
    }
}

/// The first byte of a range: `bytes 100-199/200`.
fn start(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

/// The best of the challenges in an answer.
fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let mut best = None;
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let Ok(text) = value.to_str() else { continue };
        for challenge in http_auth::parse_challenges(text).unwrap_or_default() {
            let parameter = |name: &str| {
                let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.to_unescaped())
            };
            if challenge.scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = parameter("realm").and_then(|realm| realm.parse().ok())
            {
                return Some(Challenge::Bearer { realm, service: parameter("service") });
            }
            if challenge.scheme.eq_ignore_ascii_case("basic") {
                best = Some(Challenge::Basic);
            }
        }
    }
    best
}
