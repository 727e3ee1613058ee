//! A registry, by the pull part of the distribution specification
//! (<https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pull>). Network.

use std::collections::HashMap;
use std::error::Error as _;
use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use http::HeaderMap;
use http::HeaderValue;
use http::StatusCode;
use http::header::ACCEPT;
use http::header::AUTHORIZATION;
use http::header::CONTENT_TYPE;
use http::header::RANGE;
use reqwest::Client;
use reqwest::RequestBuilder;
use reqwest::Response;
use reqwest::Url;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::OffsetDateTime;

use super::Registry;
use super::error::Why;
use crate::backoff::Backoff;
use crate::backoff::jitter;
use crate::backoff::retry_after;
use crate::foreign::Foreign;
use crate::http_client;
use crate::profile::distribution;
use crate::profile::distribution::Challenge;
use crate::profile::distribution::Credentials;
use crate::profile::distribution::MAX_TOKEN;
use crate::profile::distribution::answering_host;
use crate::profile::distribution::may_ask;
use crate::profile::distribution::redirects;
use crate::profile::download::is_private;
use crate::profile::oci::ACCEPTED;
use crate::profile::oci::MAX_DOCUMENT;

/// Tries of one request.
const TRIES: u32 = 5;

/// Waits between them.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(20));

/// Longest wait that a registry may ask for: somebody waits at a terminal.
const LONGEST_WAIT: Duration = Duration::from_secs(2 * 60);

/// Longest wait for a connection, and for the next bytes.
const PATIENCE: Duration = Duration::from_secs(30);

const MAX_REDIRECTS: usize = 5;

const USER_AGENT: &str = concat!("farmgate/", env!("CARGO_PKG_VERSION"));

/// A registry that is spoken to.
pub(super) struct Connection {
    pub(super) host: String,
    origin: String,
    client: Client,
    credentials: Option<Credentials>,
    /// Headers that it accepted, by repository.
    accepted: Mutex<HashMap<String, HeaderValue>>,
}

/// One request for a part of a repository.
pub(super) struct Ask<'a> {
    pub(super) repository: &'a str,
    /// `manifests/v12` or `blobs/sha256:...`.
    pub(super) path: String,
    /// The first byte.
    pub(super) from: u64,
}

impl Connection {
    /// TLS, except for a registry on this machine without a CA of its own. Credentials and images
    /// of others never cross a network in clear.
    pub(super) fn new(host: &str, registry: &Registry) -> Result<Self, Why> {
        let here = format!("http://{host}").parse().is_ok_and(|url| is_private(&url));
        let plain = registry.ca.is_none() && here;
        let tls = match (&registry.ca, plain) {
            (_, true) => http_client::trusting_nobody(),
            (None, false) => {
                http_client::believing_the_system().or_else(http_client::trusting_nobody)
            }
            (Some(pem), false) => {
                let bad = || Why::BadCa { host: host.to_owned() };
                let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
                    .collect::<Result<_, _>>()
                    .map_err(|_| bad())?;
                http_client::believing(certificates).ok_or_else(bad).map(Some)?
            }
        };
        let setup =
            |reason: String| Why::Unreachable { host: host.to_owned(), reason: reason.into() };
        let tls = tls.ok_or_else(|| setup("TLS cannot be set up".to_owned()))?;
        let mut client = Client::builder()
            .tls_backend_preconfigured((*tls).clone())
            .user_agent(USER_AGENT)
            .redirect(redirects(MAX_REDIRECTS))
            .connect_timeout(PATIENCE)
            .read_timeout(PATIENCE);
        if plain {
            client = client.no_proxy();
        }
        let client = client.build().map_err(|error| setup(error.to_string()))?;
        let scheme = if plain { "http" } else { "https" };
        Ok(Self {
            host: host.to_owned(),
            origin: format!("{scheme}://{}", answering_host(host)),
            client,
            credentials: registry.credentials.clone(),
            accepted: Mutex::default(),
        })
    }

    /// The manifest or index with a tag or digest, and its content type.
    pub(super) async fn manifest(
        &self,
        repository: &str,
        reference: &str,
    ) -> Result<(Vec<u8>, Option<String>), Why> {
        let ask = Ask { repository, path: format!("manifests/{reference}"), from: 0 };
        let answer = self.get(&ask).await?;
        let content_type = answer.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let content_type = content_type.map(str::to_owned);
        Ok((self.body(answer, "the manifest", MAX_DOCUMENT).await?, content_type))
    }

    /// A blob in memory.
    pub(super) async fn small(
        &self,
        repository: &str,
        digest: &str,
        max: u64,
    ) -> Result<Vec<u8>, Why> {
        let ask = Ask { repository, path: format!("blobs/{digest}"), from: 0 };
        let answer = self.get(&ask).await?;
        self.body(answer, "the configuration", max).await
    }

    async fn body(&self, mut answer: Response, what: &str, max: u64) -> Result<Vec<u8>, Why> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.broken(&error))? {
            if (body.len() + chunk.len()) as u64 > max {
                return Err(Why::TooLong { what: what.into(), max });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Asks until there is a good answer, or none is to be expected.
    pub(super) async fn get(&self, ask: &Ask<'_>) -> Result<Response, Why> {
        let url = format!("{}/v2/{}/{}", self.origin, ask.repository, ask.path);
        let mut challenged = false;
        loop {
            let answer = self.send(|| self.request(&url, ask)).await?;
            let (host, status) = (self.host.clone(), answer.status());
            return match status {
                StatusCode::UNAUTHORIZED if !challenged => {
                    challenged = true;
                    self.authorize(ask.repository, answer.headers()).await?;
                    continue;
                }
                StatusCode::UNAUTHORIZED if self.credentials.is_some() => {
                    Err(Why::Unauthorized { host })
                }
                StatusCode::UNAUTHORIZED => Err(Why::NoCredentials { host }),
                StatusCode::FORBIDDEN => Err(Why::Denied { host }),
                StatusCode::NOT_FOUND => {
                    let what = format!("{} of {}", ask.path, ask.repository);
                    Err(Why::NotFound { host, what })
                }
                status if status.is_success() => Ok(answer),
                status => {
                    let what = status.canonical_reason().unwrap_or_default().into();
                    Err(Why::Odd { host, status: status.as_u16(), what })
                }
            };
        }
    }

    fn request(&self, url: &str, ask: &Ask<'_>) -> RequestBuilder {
        let mut request = self.client.get(url);
        if ask.path.starts_with("manifests/") {
            for media_type in ACCEPTED {
                request = request.header(ACCEPT, media_type);
            }
        }
        if ask.from > 0 {
            request = request.header(RANGE, format!("bytes={}-", ask.from));
        }
        match self.accepted().get(ask.repository) {
            Some(header) => request.header(AUTHORIZATION, header.clone()),
            None => request,
        }
    }

    /// Does what an answer with 401 asks for.
    async fn authorize(&self, repository: &str, headers: &HeaderMap) -> Result<(), Why> {
        let host = || self.host.clone();
        let header = match Challenge::read(headers) {
            Challenge::Basic => match &self.credentials {
                Some(credentials) => secret(credentials.basic()),
                None => return Err(Why::NoCredentials { host: host() }),
            },
            Challenge::Bearer { realm, service } => {
                self.token(repository, &realm, service.as_deref()).await?
            }
            Challenge::Unknown(scheme) => {
                return Err(Why::UnknownScheme { host: host(), scheme });
            }
        };
        let header = header.ok_or_else(|| Why::Unauthorized { host: host() })?;
        self.accepted().insert(repository.to_owned(), header);
        Ok(())
    }

    async fn token(
        &self,
        repository: &str,
        realm: &Url,
        service: Option<&str>,
    ) -> Result<Option<HeaderValue>, Why> {
        let host = || self.host.clone();
        if !may_ask(realm, self.origin.starts_with("http:")) {
            let scheme = "a token from an address without TLS".into();
            return Err(Why::UnknownScheme { host: host(), scheme });
        }
        let url = distribution::token_url(realm, service, repository);
        let request = || {
            let request = self.client.get(url.clone());
            match self.credentials.as_ref().and_then(|who| secret(who.basic())) {
                Some(header) => request.header(AUTHORIZATION, header),
                None => request,
            }
        };
        let answer = self.send(request).await?;
        match answer.status() {
            status if status.is_success() => {
                Ok(distribution::bearer(&self.body(answer, "the token", MAX_TOKEN).await?)
                    .and_then(secret))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if self.credentials.is_some() => {
                Err(Why::Unauthorized { host: host() })
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(Why::NoCredentials { host: host() })
            }
            status => {
                let what = "to the request for a token".into();
                Err(Why::Odd { host: host(), status: status.as_u16(), what })
            }
        }
    }

    /// Sends a request, again while the registry is away, busy or fails.
    async fn send(&self, request: impl Fn() -> RequestBuilder) -> Result<Response, Why> {
        let mut tries = 0;
        loop {
            let (why, asked) = match request().send().await {
                Ok(answer) => {
                    let status = answer.status();
                    let busy = status == StatusCode::TOO_MANY_REQUESTS;
                    if !busy && !status.is_server_error() {
                        return Ok(answer);
                    }
                    let asked = retry_after(answer.headers(), OffsetDateTime::now_utc());
                    let (host, status) = (self.host.clone(), status.as_u16());
                    let when = match asked {
                        Some(wait) => format!("in {} s", wait.as_secs()),
                        None => "later".to_owned(),
                    };
                    let why = match busy || status == 503 {
                        true => Why::Busy { host, status, when },
                        false => Why::Failed { host, status },
                    };
                    (why, asked)
                }
                Err(error) => match self.broken(&error) {
                    why @ Why::Unreachable { .. } if !error.is_redirect() => (why, None),
                    why => return Err(why),
                },
            };
            tries += 1;
            if tries >= TRIES || asked.is_some_and(|wait| wait > LONGEST_WAIT) {
                return Err(why);
            }
            tokio::time::sleep(pause(tries - 1, asked)).await;
        }
    }

    /// The reason why there is no answer, or not all of it. The message of reqwest repeats the address, into
    /// which a redirect may have put a token; so only what is below it is shown.
    pub(super) fn broken(&self, error: &reqwest::Error) -> Why {
        let (mut reason, mut cause) = (String::new(), error.source());
        while let Some(error) = cause {
            if let Some(rustls::Error::InvalidCertificate(why)) = error.downcast_ref() {
                let reason = Foreign::new(&why.to_string());
                return Why::Untrusted { host: self.host.clone(), reason };
            }
            reason = error.to_string();
            // The source of an `io::Error` is that of its content, which would be left out.
            let content = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            cause = match content {
                Some(content) => Some(content),
                None => error.source(),
            };
        }
        if reason.is_empty() {
            reason = "the request failed".to_owned();
        }
        Why::Unreachable { host: self.host.clone(), reason: Foreign::new(&reason) }
    }

    fn accepted(&self) -> std::sync::MutexGuard<'_, HashMap<String, HeaderValue>> {
        // The code under this lock cannot panic.
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wait after `earlier` waits in a row.
pub(super) fn pause(earlier: u32, asked: Option<Duration>) -> Duration {
    BACKOFF.wait(earlier, asked, jitter())
}

/// A header that no log shows.
fn secret(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_on_this_machine_is_spoken_to_in_clear() {
        for (host, ca, origin) in [
            ("registry.example.org", false, "https://registry.example.org"),
            ("registry.example.org:5000", false, "https://registry.example.org:5000"),
            ("10.0.0.1:5000", false, "https://10.0.0.1:5000"),
            ("localhost.example.org", false, "https://localhost.example.org"),
            ("docker.io", false, "https://registry-1.docker.io"),
            ("localhost:5000", false, "http://localhost:5000"),
            ("127.0.0.1:5000", false, "http://127.0.0.1:5000"),
        ] {
            let registry = Registry { ca: ca.then(Vec::new), credentials: None };
            assert_eq!(Connection::new(host, &registry).ok().unwrap().origin, origin);
        }
        for pem in ["", "x", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"] {
            let registry = Registry { ca: Some(pem.into()), credentials: None };
            let error = Connection::new("localhost:1", &registry).err().unwrap();
            assert!(matches!(error, Why::BadCa { .. }), "{error}");
        }
        assert!(secret("Basic YTpi".to_owned()).is_some_and(|value| value.is_sensitive()));
    }
}
