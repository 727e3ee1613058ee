//! A gateway's connection: TLS as iPXE speaks it, and as much of HTTP/1.1 as a boot needs.

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::RootCertStore;
use rustls::StreamOwned;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use crate::wire::Wire;

const HEAD_LIMIT: usize = 16 * 1024;

/// A gateway that boots.
#[derive(Clone)]
pub(crate) struct Gateway {
    tls: Arc<ClientConfig>,
}

impl Gateway {
    /// TLS 1.2 with forward secrecy and AES-128-GCM, a full handshake each time.
    pub(crate) fn new(ca: &Path, certificate: &Path, key: &Path) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca)?)?;
        let cipher_suites = vec![
            aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            // The servers that many made-up gateways ask have an ECDSA key.
            aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        ];
        let provider = CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() };
        let mut tls = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS12])?
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(certificate)?],
                PrivateKeyDer::from_pem_file(key)?,
            )?;
        tls.resumption = Resumption::disabled();
        Ok(Self { tls: Arc::new(tls) })
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    length: u64,
    /// Begins with what came together with the head.
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Connection {
    stream: StreamOwned<ClientConnection, Wire>,
    piece: Vec<u8>,
}

impl Connection {
    /// Opens a connection to a port of this machine; the handshake comes with the first request.
    pub(crate) fn open(gateway: &Gateway, port: u16) -> Result<Self> {
        let tcp = TcpStream::connect(("127.0.0.1", port))
            .with_context(|| format!("cannot connect to port {port}"))?;
        Self::over(gateway, tcp)
    }

    pub(crate) fn over(gateway: &Gateway, tcp: TcpStream) -> Result<Self> {
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(Duration::from_secs(30)))?;
        let tls = ClientConnection::new(gateway.tls.clone(), "127.0.0.1".try_into()?)?;
        Ok(Self { stream: StreamOwned::new(tls, Wire::new(tcp)), piece: vec![0; 64 * 1024] })
    }

    /// Asks, and reads the whole answer.
    pub(crate) fn get(&mut self, path: &str) -> Result<Answer> {
        self.ask(path)?;
        self.answer(path)
    }

    /// Reads the whole answer to the question before.
    pub(crate) fn answer(&mut self, path: &str) -> Result<Answer> {
        let mut answer = self.head(path)?;
        while (answer.body.len() as u64) < answer.length {
            let read = self.read(path)?;
            answer.body.extend_from_slice(&self.piece[..read]);
        }
        Ok(answer)
    }

    /// Asks for what must be there.
    pub(crate) fn fetch(&mut self, path: &str) -> Result<Vec<u8>> {
        let answer = self.get(path)?;
        ensure!(answer.status == 200, "{path}: status {}", answer.status);
        Ok(answer.body)
    }

    /// The same without keeping it: how many bytes it were.
    pub(crate) fn download(&mut self, path: &str) -> Result<u64> {
        let answer = self.begin(path)?;
        ensure!(answer.status == 200, "{path}: status {}", answer.status);
        let mut missing = answer.length.saturating_sub(answer.body.len() as u64);
        while missing > 0 {
            missing = missing.saturating_sub(self.read(path)? as u64);
        }
        Ok(answer.length)
    }

    /// Asks, and reads the head of the answer.
    pub(crate) fn begin(&mut self, path: &str) -> Result<Answer> {
        self.ask(path)?;
        self.head(path)
    }

    /// Asks, and does not wait for the answer.
    pub(crate) fn ask(&mut self, path: &str) -> Result<()> {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: iPXE/1.21.1\r\n\r\n");
        Ok(self.stream.write_all(request.as_bytes())?)
    }

    fn head(&mut self, path: &str) -> Result<Answer> {
        let mut head = Vec::new();
        loop {
            let read = self.read(path)?;
            head.extend_from_slice(&self.piece[..read]);
            if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                let body = head.split_off(end + 4);
                return parse(&head, body).with_context(|| format!("{path}: the answer's head"));
            }
            ensure!(head.len() < HEAD_LIMIT, "{path}: the answer's head has no end");
        }
    }

    /// Reads what is there.
    pub(crate) fn read(&mut self, path: &str) -> Result<usize> {
        let read = self.stream.read(&mut self.piece).with_context(|| path.to_owned())?;
        ensure!(read > 0, "{path}: the server closed the connection");
        Ok(read)
    }
}

fn parse(head: &[u8], body: Vec<u8>) -> Result<Answer> {
    let head = std::str::from_utf8(head)?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    };
    let Some(length) = header("content-length") else { bail!("no Content-Length") };
    let location = header("location").map(str::to_owned);
    Ok(Answer { status, location, length: length.parse()?, body })
}
