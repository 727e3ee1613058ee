//! Against a server of one connection at a time, with certificates that are made here.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::net::TcpListener;
use std::thread;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rustls::ServerConfig;
use rustls::ServerConnection;
use rustls::StreamOwned;
use rustls::pki_types::PrivateKeyDer;

use super::*;

/// A server that answers each request with `answer(first line, headers)`, whose certificate is
/// valid in these years.
struct Server {
    url: String,
    ca: CertificateDer<'static>,
}

type Respond = fn(&str, &[String]) -> Vec<u8>;

fn serve(years: (i32, i32), respond: Respond) -> Server {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = BufReader::new(StreamOwned::new(connection, stream));
            // Clients that do not trust it end here.
            let _ = one(&mut stream, respond);
        }
    });
    Server { url, ca: ca.der().clone() }
}

fn one<S: Read + Write>(stream: &mut BufReader<S>, respond: Respond) -> io::Result<()> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_lowercase());
    }
    let answer = respond(&lines[0], &lines[1..]);
    stream.get_mut().write_all(&answer)?;
    stream.get_mut().flush()
}

fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn client(trust: Trust) -> Client {
    Client::new(trust, 0).unwrap()
}

#[test]
fn an_answer_is_read_in_pieces_and_a_range_is_asked_for() {
    let server = serve((2020, 2090), |line, headers| {
        assert_eq!(line, "get /blob http/1.1");
        assert!(headers.contains(&"range: bytes=7-".to_owned()), "{headers:?}");
        answer("206 Partial Content", &[b'x'; 300_000])
    });
    let client = client(Trust::Only(vec![server.ca]));
    let url = format!("{}/blob", server.url);
    let mut found = client.get(&url, &[("range", "bytes=7-")]).unwrap().successful().unwrap();
    assert_eq!(found.status, StatusCode::PARTIAL_CONTENT);
    let mut first = [0; 10];
    found.body.read_exact(&mut first).unwrap();
    let mut rest = Vec::new();
    found.body.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.len(), 299_990);
}

#[test]
fn a_status_of_no_success_is_an_error_and_so_is_an_answer_that_is_too_long() {
    let server = serve((2020, 2090), |line, _| match line {
        "post /long http/1.1" => answer("200 OK", &[0; 11]),
        _ => answer("404 Not Found", b""),
    });
    let client = client(Trust::Only(vec![server.ca]));
    let post = |path| client.post(&format!("{}{path}", server.url), &[], vec![]).unwrap();
    assert!(post("/else").successful().is_err());
    assert!(post("/long").bytes(10).is_err());
    assert_eq!(post("/long").bytes(11).unwrap().len(), 11);
}

#[test]
fn an_answer_that_breaks_off_is_an_error() {
    let server = serve((2020, 2090), |_, _| {
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\nhalf".to_vec()
    });
    let found = client(Trust::Only(vec![server.ca])).get(&server.url, &[]).unwrap();
    assert!(found.bytes(100).is_err());
}

#[test]
fn only_the_given_ca_is_trusted_and_errors_do_not_show_the_address() {
    let respond: Respond = |_, _| answer("200 OK", b"");
    let (server, other) = (serve((2020, 2090), respond), serve((2020, 2090), respond));
    let url = format!("{}/boot/ack/token", server.url);
    for trust in [Trust::Only(vec![other.ca.clone()]), Trust::OnlyAtAnyTime(vec![other.ca])] {
        let refused = client(trust).get(&url, &[]).err().unwrap().to_string();
        assert!(!refused.contains("token"), "{refused}");
        assert!(refused.contains("certificate"), "{refused}");
    }
    assert!(client(Trust::Only(vec![server.ca])).get(&url, &[]).is_ok());
}

/// The agent once followed a registry to any address, also one without TLS.
#[test]
fn a_redirect_never_leaves_tls() {
    let server = serve((2020, 2090), |line, _| {
        let to = match line {
            "get /within http/1.1" => "/there",
            "get /out http/1.1" => "http://127.0.0.1:1/there",
            _ => return answer("200 OK", b"there"),
        };
        format!("HTTP/1.1 307 Elsewhere\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
            .into_bytes()
    });
    let client = Client::new(Trust::Only(vec![server.ca]), 5).unwrap();
    let get = |path| client.get(&format!("{}{path}", server.url), &[]);
    assert_eq!(get("/within").unwrap().bytes(10).unwrap(), b"there");
    let error = get("/out").err().unwrap().to_string();
    assert!(error.contains("without TLS"), "{error}");
}

#[test]
fn a_certificate_of_another_time_is_only_taken_to_ask_for_the_time() {
    for years in [(1990, 2000), (2080, 2090)] {
        let server = serve(years, |_, _| answer("200 OK", b""));
        let trusted = vec![server.ca];
        assert!(client(Trust::Only(trusted.clone())).get(&server.url, &[]).is_err());
        assert!(client(Trust::OnlyAtAnyTime(trusted)).get(&server.url, &[]).is_ok());
    }
}
