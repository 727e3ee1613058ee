//! Images by the distribution specification
//! (<https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md>): from the boot host,
//! or from a registry for an image that the boot host does not hold. Network.

use std::io;
use std::sync::Mutex;
use std::sync::MutexGuard;

use reqwest::StatusCode;
use reqwest::Url;
use reqwest::header::HeaderMap;
use time::OffsetDateTime;

use super::source::Body;
use super::source::Source;
use super::source::SourceError;
use crate::agent::http::Answer;
use crate::agent::http::Client;
use crate::backoff;
use crate::foreign::Foreign;
use crate::profile::distribution::Challenge;
use crate::profile::distribution::Credentials;
use crate::profile::distribution::MAX_TOKEN;
use crate::profile::distribution::answering_host;
use crate::profile::distribution::bearer;
use crate::profile::distribution::first_byte;
use crate::profile::distribution::may_ask;
use crate::profile::distribution::token_url;
use crate::profile::oci::ACCEPTED;
use crate::profile::oci::MAX_DOCUMENT;
use crate::profile::reference::Digest;
use crate::profile::reference::RegistryReference;

/// A repository of the boot host or of a registry.
pub struct Remote {
    client: Client,
    /// Its name, for messages.
    name: String,
    /// `https://HOST/v2/REPOSITORY`.
    base: String,
    repository: String,
    /// For a registry.
    credentials: Option<Credentials>,
    /// The header that the last request was let in with.
    authorization: Mutex<Option<String>>,
    /// False for the boot host, whose token is all there is.
    negotiates: bool,
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
    /// the registry.
    pub fn registry(
        client: Client,
        image: &RegistryReference,
        credentials: Option<Credentials>,
    ) -> Self {
        let host = answering_host(&image.host);
        Self::registry_at(client, &format!("https://{host}"), &image.path, credentials)
    }

    pub(super) fn registry_at(
        client: Client,
        origin: &str,
        repository: &str,
        credentials: Option<Credentials>,
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
        let basic = self.credentials.as_ref().map(Credentials::basic);
        let refused = |why: String| SourceError::Refused(format!("{} {why}", self.name));
        match Challenge::read(headers) {
            Challenge::Unknown(scheme) => {
                Err(refused(format!("asks for an unknown kind of authentication: {scheme}")))
            }
            Challenge::Basic => {
                basic.ok_or_else(|| refused("wants a user and a password".to_owned()))
            }
            Challenge::Bearer { realm, service } => self.token(&realm, service.as_deref(), basic),
        }
    }

    fn token(
        &self,
        realm: &Url,
        service: Option<&str>,
        basic: Option<String>,
    ) -> Result<String, SourceError> {
        if !may_ask(realm, self.base.starts_with("http:")) {
            let why = format!("{} names an address without TLS for its tokens", self.name);
            return Err(SourceError::Failed(why));
        }
        let url = token_url(realm, service, &self.repository);
        let headers: Vec<_> = basic.iter().map(|value| ("authorization", &value[..])).collect();
        let answer = self.client.get(url.as_str(), &headers).map_err(|e| self.away(&e))?;
        let bytes = self.judge(answer)?.bytes(MAX_TOKEN).map_err(|e| self.away(&e))?;
        bearer(&bytes).ok_or_else(|| SourceError::Failed(format!("{} gave no token", self.name)))
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
            StatusCode::PARTIAL_CONTENT => first_byte(&answer.headers).ok_or_else(|| {
                SourceError::Failed(format!("{} does not say what it sends", self.name))
            })?,
            _ => 0,
        };
        Ok(Body { from, bytes: Box::new(answer.body) })
    }
}
