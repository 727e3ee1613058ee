//! Asks the URLs that gateways and booted systems get, as they would ask. Touches the network.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http::Request;
use http_body_util::Full;
use rustls::CipherSuite;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;

use super::finding::Findings;
use super::finding::Verdict;
use super::pki::CHAIN_TOO_LONG;
use super::pki::LONGEST_CHAIN;
use crate::config::ApiUrl;
use crate::config::BootUrl;
use crate::config::Config;
use crate::config::Provider;
use crate::http_client;
use crate::identity::usable_chain;
use crate::store::State;

const CHECK: &str = "url";

/// A gateway waits longer, but an operator should get an answer.
const LIMIT: Duration = Duration::from_secs(10);

const MOST: usize = 1024 * 1024;

const OTHER_SERVER: &str = "another server may be in its place; with nginx, make its \
                            configuration anew: `farmgate nginx-config`";

const SEND_ALL: &str = "`ssl_certificate` of nginx has to be the state's pki/server.crt, or as that: \
                        the server's certificate, those between, the CA";

/// Cipher suites of iPXE that are not broken (`src/crypto/mishmash` of iPXE 1.21.1 and 2.0.0).
const SUITES: &[CipherSuite] = &[
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
];

pub(super) async fn examine(state: &State, findings: &mut Findings) {
    let config = state.config();
    let (ca, tls) = match like_ipxe(state).and_then(|tls| Ok((state.ca_certificate()?, tls))) {
        Ok(both) => both,
        Err(error) => return findings.skipped(CHECK, format!("{error:#}")),
    };
    // Gateways that cannot reach one host try the next.
    let others = &config.media.fallback_urls;
    let mut reached = false;
    for url in [&config.url].into_iter().chain(others) {
        match gateways_door(url, &tls).await {
            Ok(chain) => {
                reached = true;
                judge_chain(url, &chain, &ca, findings);
            }
            // A wrong clock has the same effect, and does not mean that another server answers.
            Err((what, OTHER_SERVER)) if findings.has("clock", Verdict::Error) => {
                findings.error(CHECK, what, "set the clock first: see above");
            }
            Err((what, way_out)) if others.is_empty() => findings.error(CHECK, what, way_out),
            Err((what, way_out)) => findings.warning(CHECK, what, way_out),
        }
    }
    if !reached && !others.is_empty() {
        let what = "none of the boot hosts that media know can be reached";
        findings.error(CHECK, what, "see above");
    }
    if config.store.url.is_some() && others.is_empty() {
        findings.warning(
            CHECK,
            "there is a store for several boot hosts, but media know only this one",
            "name the others in [media] fallback-urls, and make new media",
        );
    }
    if let Some(url) = &config.public_url {
        public_door(url, findings).await;
    }
}

/// The certificates that a boot host shows; or the problem, and its way out.
async fn gateways_door(
    url: &BootUrl,
    tls: &Arc<ClientConfig>,
) -> Result<Vec<CertificateDer<'static>>, (String, &'static str)> {
    let answer = get(url, "/boot/ipxe", tls.clone()).await.map_err(|error| {
        let way_out = match error.kind() {
            io::ErrorKind::ConnectionRefused => "is the server, or nginx, running?",
            io::ErrorKind::InvalidData => OTHER_SERVER,
            _ => {
                "look at DNS, firewall and routes; if only this machine cannot reach its own \
                 public address, ask from elsewhere: curl --cacert ca.crt URL/boot/ipxe"
            }
        };
        (format!("{url} cannot be reached: {error}"), way_out)
    })?;
    match answer.status.as_u16() {
        // Without a certificate, only farmgate answers in this way.
        403 if &*answer.body == b"403 Forbidden\n" => {}
        status @ (502 | 504) => {
            return Err((
                format!("{url} answers {status}: nginx does not reach farmgate"),
                "`systemctl status farmgate.socket farmgate`, and may nginx open the socket?",
            ));
        }
        503 => return Err((format!("{url} is overloaded"), "look again in a minute")),
        status => {
            let what = format!(
                "{url} answers {status} without a client certificate; farmgate answers 403"
            );
            return Err((what, OTHER_SERVER));
        }
    }
    Ok(answer.chain)
}

fn judge_chain(url: &BootUrl, chain: &[CertificateDer<'_>], ca: &[u8], findings: &mut Findings) {
    if let Err(error) = usable_chain(chain, ca) {
        let what = format!("no gateway trusts the certificate of {url}: {error}");
        return findings.error(CHECK, what, SEND_ALL);
    }
    let length: usize = chain.iter().map(|der| der.len()).sum();
    if length <= LONGEST_CHAIN {
        return findings.ok(CHECK, format!("{url} answers as gateways need it"));
    }
    let what = format!("{url} shows {length} bytes of certificates: {CHAIN_TOO_LONG}");
    findings.warning(CHECK, what, "remove what gateways do not need from ssl_certificate");
}

/// The URL where booted systems acknowledge; they trust the public authorities.
async fn public_door(url: &BootUrl, findings: &mut Findings) {
    let Some(tls) = http_client::believing_the_system() else {
        let what = format!("{url}: this machine trusts no authority (package ca-certificates)");
        return findings.skipped(CHECK, what);
    };
    match get(url, "/boot/ack/doctor", tls).await {
        Ok(answer) if answer.status == 404 => {
            findings.ok(CHECK, format!("{url} answers as booted systems need it"));
        }
        Ok(answer) => findings.error(
            CHECK,
            format!("{url} answers {} where 404 is expected", answer.status.as_u16()),
            "`farmgate nginx-config --public-certificate` prints what nginx needs for it",
        ),
        Err(error) => findings.error(
            CHECK,
            format!("{url} (public-url) cannot be reached: {error}"),
            "booted systems cannot acknowledge, so new generations are given up",
        ),
    }
}

async fn get(url: &BootUrl, path: &str, tls: Arc<ClientConfig>) -> io::Result<http_client::Answer> {
    let host = url.host().to_string();
    let authority = url.as_str().trim_start_matches("https://");
    let request = Request::get(path).header("Host", authority);
    let request = request.body(Full::default()).map_err(io::Error::other)?;
    let server = http_client::Server { host: &host, port: url.port(), tls: Some(tls) };
    let exchange = http_client::exchange(&server, request, MOST);
    let late = |_| io::Error::other(format!("no answer within {} s", LIMIT.as_secs()));
    tokio::time::timeout(LIMIT, exchange).await.map_err(late)?
}

/// TLS as iPXE speaks it, with the fleet's CA as the only root.
fn like_ipxe(state: &State) -> anyhow::Result<Arc<ClientConfig>> {
    let provider = aws_lc_rs::default_provider();
    let known = provider.cipher_suites.iter().filter(|suite| SUITES.contains(&suite.suite()));
    let provider = CryptoProvider { cipher_suites: known.copied().collect(), ..provider };
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from(state.ca_certificate()?);
    roots.add(ca).context("the CA certificate cannot be used as a trust anchor")?;
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS12])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The clocks of the stores that this host signs requests for.
pub(super) async fn clocks(config: &Config) -> Vec<(String, OffsetDateTime)> {
    let buckets = match &config.buckets.provider {
        Some(Provider::B2 { api, .. } | Provider::S3 { api, .. }) => Some(api.as_str()),
        None => None,
    };
    let store = config.store.endpoint.as_ref().map(|endpoint| endpoint.as_str());
    let mut clocks = Vec::new();
    for url in [store, buckets].into_iter().flatten() {
        // A store that does not answer is reported elsewhere.
        if let Some(time) = clock(url).await {
            clocks.push((url.to_owned(), time));
        }
    }
    clocks
}

async fn clock(url: &str) -> Option<OffsetDateTime> {
    let url: ApiUrl = url.parse().ok()?;
    let tls = if url.tls() { Some(http_client::believing_the_system()?) } else { None };
    let server = http_client::Server { host: url.host(), port: url.port(), tls };
    let request = Request::get("/").header("Host", url.host()).body(Full::default()).ok()?;
    let exchange = http_client::exchange(&server, request, MOST);
    let answer = tokio::time::timeout(LIMIT, exchange).await.ok()?.ok()?;
    let date = answer.headers.get("date")?.to_str().ok()?;
    httpdate::parse_http_date(date).ok().map(OffsetDateTime::from)
}
