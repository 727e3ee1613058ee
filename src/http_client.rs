//! One HTTP exchange over one connection, for callers that need the connection's own facts: the
//! server's certificates, or a Unix socket. Network.

use std::io;
use std::sync::Arc;

use http::HeaderMap;
use http::Request;
use http::StatusCode;
use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::Limited;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

/// The server to ask.
pub struct Server<'a> {
    /// Host name or address, an IPv6 address without its brackets.
    pub host: &'a str,
    /// TCP port.
    pub port: u16,
    /// TLS and whom it trusts. Without it, there is no TLS.
    pub tls: Option<Arc<ClientConfig>>,
}

/// A complete answer.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The server's certificate chain, its own first. Empty without TLS.
    pub chain: Vec<CertificateDer<'static>>,
}

/// Sends `request` and reads an answer of at most `most` bytes. The caller limits the time.
pub async fn exchange(
    server: &Server<'_>,
    request: Request<Full<Bytes>>,
    most: usize,
) -> io::Result<Answer> {
    let stream = TcpStream::connect((server.host, server.port)).await?;
    let Some(tls) = &server.tls else { return exchange_over(stream, request, most).await };
    let name = ServerName::try_from(server.host.to_owned()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(tls.clone()).connect(name, stream).await?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let chain = chain.iter().map(|der| der.clone().into_owned()).collect();
    Ok(Answer { chain, ..exchange_over(stream, request, most).await? })
}

/// The same as [`exchange`], over an open connection.
pub async fn exchange_over<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    most: usize,
) -> io::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // Ends with this request, also when the caller gives up.
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, most).collect().await.map_err(io::Error::other)?;
    let (status, headers, body) = (parts.status, parts.headers, body.to_bytes());
    Ok(Answer { status, headers, body, chain: Vec::new() })
}

/// TLS that trusts the CAs of the system (`SSL_CERT_FILE` names another bundle); `None` if there
/// are none.
pub fn believing_the_system() -> Option<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { None } else { trusting(roots) }
}

/// TLS that trusts these CAs alone; `None` if there are none, or one of them is damaged.
pub fn believing(certificates: Vec<CertificateDer<'_>>) -> Option<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).ok()?;
    }
    if roots.is_empty() { None } else { trusting(roots) }
}

/// TLS that fails, for clients that are to speak none.
pub fn trusting_nobody() -> Option<Arc<ClientConfig>> {
    trusting(RootCertStore::empty())
}

fn trusting(roots: RootCertStore) -> Option<Arc<ClientConfig>> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Some(Arc::new(config))
}
