//! The agent's HTTP client: blocking, for threads, over TLS that trusts only whom it is told to.
//! Network.
//!
//! It is reqwest, which the crate has anyway, on a runtime of one thread. The pieces of an answer
//! are fetched as they are read, so an image's layer is never in memory as a whole.

use std::error::Error as _;
use std::io;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use reqwest::Method;
use reqwest::Response;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use tokio::runtime::Runtime;

use self::any_time::AnyTime;
use crate::foreign::harmless_lines;
use crate::profile::distribution;

mod any_time;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest silence of a server.
const SILENCE: Duration = Duration::from_secs(30);

/// Those that a client trusts.
pub enum Trust {
    /// Certificates of these CAs, valid now.
    Only(Vec<CertificateDer<'static>>),
    /// The same whenever they are or were valid: for the one request that asks for the time.
    OnlyAtAnyTime(Vec<CertificateDer<'static>>),
    /// The public CAs that are in the initramfs.
    Public,
}

/// Sends requests. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    runtime: Arc<Runtime>,
    client: reqwest::Client,
    limit: Option<Duration>,
}

/// An answer whose body is still to be read.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Body,
}

/// The body of an answer.
pub struct Body {
    runtime: Arc<Runtime>,
    response: Response,
    rest: Bytes,
}

impl Client {
    /// A client that follows up to `redirects` redirects, none of them from TLS to an address without
    /// it. Registries send theirs to a store of their own; the boot host has none.
    pub fn new(trust: Trust, redirects: usize) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let redirects = match redirects {
            0 => Policy::none(),
            most => distribution::redirects(most),
        };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(trust)?)
            .user_agent(concat!("farmgate-agent/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .redirect(redirects)
            .no_proxy()
            .build()
            .map_err(failure)?;
        Ok(Self { runtime: Arc::new(runtime), client, limit: None })
    }

    /// The same client, for answers that are complete within `limit`.
    pub fn within(self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// `GET` with these headers, such as `("range", "bytes=100-")`.
    pub fn get(&self, url: &str, headers: &[(&str, &str)]) -> io::Result<Answer> {
        self.send(Method::GET, url, headers, None)
    }

    pub fn post(&self, url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> io::Result<Answer> {
        self.send(Method::POST, url, headers, Some(body))
    }

    pub fn put(&self, url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> io::Result<Answer> {
        self.send(Method::PUT, url, headers, Some(body))
    }

    pub fn delete(&self, url: &str) -> io::Result<Answer> {
        self.send(Method::DELETE, url, &[], None)
    }

    fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> io::Result<Answer> {
        let mut request = self.client.request(method, url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(limit) = self.limit {
            request = request.timeout(limit);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        // In a block, because a request's timers need the runtime when they are made.
        let response = self.runtime.block_on(async { request.send().await }).map_err(failure)?;
        Ok(Answer {
            status: response.status(),
            headers: response.headers().clone(),
            body: Body { runtime: self.runtime.clone(), response, rest: Bytes::new() },
        })
    }
}

impl Answer {
    /// The answer, if its status is a success.
    pub fn successful(self) -> io::Result<Self> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(io::Error::other(format!("the answer is {}", self.status)))
    }

    /// The whole body, of at most `most` bytes.
    pub fn bytes(self, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.body.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(io::Error::other(format!("the answer has more than {most} bytes")));
        }
        Ok(bytes)
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.runtime.block_on(async { self.response.chunk().await }).map_err(failure)? {
                Some(chunk) => self.rest = chunk,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.rest.len());
        buffer[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}

fn tls(trust: Trust) -> io::Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let builder = match trust {
        Trust::Only(roots) => builder.with_root_certificates(store(roots)?),
        Trust::OnlyAtAnyTime(roots) => {
            let verifier = Arc::new(AnyTime::new(verifier(roots, provider)?));
            builder.dangerous().with_custom_certificate_verifier(verifier)
        }
        Trust::Public => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            builder.with_root_certificates(roots)
        }
    };
    Ok(builder.with_no_client_auth())
}

fn store(roots: Vec<CertificateDer<'static>>) -> io::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root).map_err(io::Error::other)?;
    }
    Ok(store)
}

fn verifier(
    roots: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> io::Result<Arc<dyn ServerCertVerifier>> {
    let roots = Arc::new(store(roots)?);
    WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map(|verifier| verifier as Arc<dyn ServerCertVerifier>)
        .map_err(io::Error::other)
}

/// The failure without the address: a boot's token may be in it.
fn failure(error: reqwest::Error) -> io::Error {
    let kind = if error.is_timeout() { io::ErrorKind::TimedOut } else { io::ErrorKind::Other };
    let error = error.without_url();
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        // Some errors already say what their cause says.
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    io::Error::new(kind, harmless_lines(&text).into_owned())
}

#[cfg(test)]
mod tests;
