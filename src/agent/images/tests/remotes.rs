//! Registries and the boot host, as a server of a few lines plays them.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Mutex;
use std::thread;

use super::super::Remote;
use super::*;
use crate::agent::http::Client;
use crate::agent::http::Trust;
use crate::profile::reference::Digest;

/// A request: its path, and its headers in lower case.
struct Request {
    path: String,
    headers: BTreeMap<String, String>,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// A server that answers by `answer`: status, headers, body, and how much of the body it sends.
struct Server {
    origin: String,
    asked: Arc<Mutex<Vec<String>>>,
}

struct Reply(u16, Vec<(&'static str, String)>, Vec<u8>, usize);

fn reply(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Reply {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Reply(status, headers, body.to_vec(), body.len())
}

impl Server {
    fn new(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, asked_too) = (Arc::new(answer), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, asked) = (Arc::clone(&answer), Arc::clone(&asked_too));
                thread::spawn(move || serve(&stream.unwrap(), &*answer, &asked));
            }
        });
        Self { origin, asked }
    }
}

fn serve(stream: &TcpStream, answer: &dyn Fn(&Request) -> Reply, asked: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        if lines.read_line(&mut line).unwrap_or(0) < 3 {
            break;
        }
        let (name, value) = line.split_once(':').unwrap();
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    asked.lock().unwrap().push(path.clone());
    let Reply(status, headers, body, sent) = answer(&Request { path, headers });
    let mut head =
        format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    let mut stream = stream;
    let _ = stream.write_all(format!("{head}\r\n").as_bytes());
    let _ = stream.write_all(&body[..sent]);
}

fn client() -> Client {
    Client::new(Trust::Only(Vec::new()), 5).unwrap()
}

/// The answer of a distribution server to one who is let in.
fn content(image: &Image, request: &Request) -> Reply {
    let digest = request.path.rsplit('/').next().unwrap();
    let Some(bytes) = digest.parse().ok().and_then(|digest: Digest| image.blobs.get(&digest))
    else {
        return reply(404, &[], b"{}");
    };
    let from =
        request.header("range").strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
    match from {
        None => reply(200, &[], bytes),
        Some(from) => {
            let from: usize = from.parse().unwrap();
            let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            reply(206, &[("content-range", &range)], &bytes[from..])
        }
    }
}

fn pull(image: &Image, remote: &Remote) -> Result<Ready> {
    let dir = tempfile::tempdir().unwrap();
    ensure(&open(dir.path()).unwrap(), image, remote)
}

fn source_error(result: Result<Ready>) -> SourceError {
    match result {
        Err(Error::Source { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_boot_host_lets_in_by_the_boots_token() {
    if !made::is_root() {
        return;
    }
    let (image, _) = versions();
    let held = image.clone();
    let cuts = Mutex::new(vec![70, 10, 100]);
    let server = Server::new(move |request| {
        if request.header("authorization") != "Bearer good" {
            return reply(401, &[("www-authenticate", "Basic realm=\"farmgate\"")], b"");
        }
        let mut answer = content(&held, request);
        // Half answers for layers.
        if answer.2.len() > 1000
            && let Some(cut) = cuts.lock().unwrap().pop()
        {
            answer.3 = cut;
        }
        answer
    });
    let name = "registry.example.org/farm/gateway";
    let remote = |token| Remote::boot_host(client(), &server.origin, token, name);
    let ready = pull(&image, &remote("good")).unwrap();
    let size: usize = image.layers.iter().map(|layer| image.blobs[layer].len()).sum();
    assert_eq!(ready.fetched, size as u64);
    let asked = std::mem::take(&mut *server.asked.lock().unwrap());
    assert!(asked[0].starts_with(&format!("/v2/{name}/manifests/sha256:")), "{asked:?}");
    assert_eq!(asked.len(), 2 + 2 + 3);
    assert!(matches!(source_error(pull(&image, &remote("bad"))), SourceError::Refused(_)));
    assert_eq!(server.asked.lock().unwrap().len(), 1, "a refused token is tried again");
}

/// The token of a boot that ran out in the middle of a pull.
#[test]
fn a_token_that_runs_out_is_told_as_such() {
    if !made::is_root() {
        return;
    }
    let (image, _) = versions();
    let held = image.clone();
    let left = Mutex::new(3);
    let server = Server::new(move |request| {
        let mut left = left.lock().unwrap();
        *left -= 1;
        if *left < 0 { reply(401, &[], b"") } else { content(&held, request) }
    });
    let error = pull(&image, &Remote::boot_host(client(), &server.origin, "t", "a/b")).unwrap_err();
    assert!(is_refused(&error), "{error}");
    assert!(error.to_string().contains("the boot host answers 401"), "{error}");
}

/// A registry with a token server, whose tokens are good for two requests.
#[test]
fn a_registrys_tokens_are_renewed() {
    if !made::is_root() {
        return;
    }
    let (image, _) = versions();
    let held = image.clone();
    let issued = Mutex::new((0, 0));
    let server = Server::new(move |request| {
        let mut issued = issued.lock().unwrap();
        if request.path.starts_with("/token") {
            assert_eq!(
                request.path,
                "/token?a=b&service=reg&scope=repository%3Afarm%2Fgateway%3Apull"
            );
            if request.header("authorization") != "Basic ZmFybTpzZWNyZXQ=" {
                return reply(401, &[], b"");
            }
            *issued = (issued.0 + 1, 2);
            return reply(200, &[], format!("{{\"token\":\"t{}\"}}", issued.0).as_bytes());
        }
        let host = request.header("host");
        if issued.1 == 0 || request.header("authorization") != format!("Bearer t{}", issued.0) {
            let challenge = format!("Bearer realm=\"http://{host}/token?a=b\",service=\"reg\"");
            return reply(401, &[("www-authenticate", &challenge)], b"");
        }
        issued.1 -= 1;
        content(&held, request)
    });
    let remote = |credentials: &str| {
        let credentials = credentials.parse().ok();
        Remote::registry_at(client(), &server.origin, "farm/gateway", credentials)
    };
    pull(&image, &remote("farm:secret")).unwrap();
    let asked = std::mem::take(&mut *server.asked.lock().unwrap());
    assert_eq!(asked.iter().filter(|path| path.starts_with("/token")).count(), 2, "{asked:?}");
    let error = source_error(pull(&image, &remote("farm:wrong")));
    assert!(matches!(&error, SourceError::Refused(_)), "{error}");
    assert!(!error.to_string().contains("wrong"));
}

#[test]
fn a_registry_with_passwords_gets_one() {
    if !made::is_root() {
        return;
    }
    let (image, _) = versions();
    let held = image.clone();
    let server = Server::new(move |request| match request.header("authorization") {
        "Basic ZmFybTpzZWNyZXQ=" => content(&held, request),
        _ => reply(401, &[("www-authenticate", "Basic realm=\"Registry\"")], b""),
    });
    let remote = |credentials: Option<&str>| {
        let credentials = credentials.map(|text| text.parse().unwrap());
        Remote::registry_at(client(), &server.origin, "farm/gateway", credentials)
    };
    pull(&image, &remote(Some("farm:secret"))).unwrap();
    for bad in [None, Some("farm:wrong")] {
        let error = source_error(pull(&image, &remote(bad)));
        assert!(matches!(error, SourceError::Refused(_)), "{error}");
    }
}

#[test]
fn a_token_is_asked_for_at_no_address_without_tls_and_in_no_unknown_way() {
    if !made::is_root() {
        return;
    }
    let (image, _) = versions();
    for (challenge, part) in [
        ("Bearer realm=\"http://auth.example.org/token\"", "an address without TLS"),
        ("Negotiate", "unknown kind of authentication: Negotiate"),
    ] {
        let server = Server::new(move |_| reply(401, &[("www-authenticate", challenge)], b""));
        let remote = Remote::registry_at(client(), &server.origin, "a/b", None);
        let error = source_error(pull(&image, &remote)).to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn every_status_has_its_meaning() {
    if !made::is_root() {
        return;
    }
    let (image, _) = versions();
    for (status, expected) in
        [(404, "missing"), (429, "away"), (503, "away"), (400, "failed"), (403, "refused")]
    {
        let server = Server::new(move |_| reply(status, &[("retry-after", "7")], b"no"));
        let remote = Remote::registry_at(client(), &server.origin, "a/b", None);
        let kind = match source_error(pull(&image, &remote)) {
            SourceError::Missing(_) => "missing",
            SourceError::Away { retry_after, .. } => {
                assert_eq!(retry_after.unwrap().as_secs(), 7);
                "away"
            }
            SourceError::Failed(_) => "failed",
            SourceError::Refused(_) => "refused",
        };
        assert_eq!(kind, expected, "{status}");
    }
    // Nobody answers.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let remote = Remote::registry_at(client(), &format!("http://{closed}"), "a/b", None);
    assert!(matches!(source_error(pull(&image, &remote)), SourceError::Away { .. }));
    // Other bytes than those that were asked for.
    let held = image.clone();
    let server = Server::new(move |request| {
        let mut answer = content(&held, request);
        if answer.0 == 206 {
            answer.1 = vec![("content-range", "bytes 3-9/10".to_owned())];
        } else if answer.2.len() > 1000 {
            answer.3 = 100;
        }
        answer
    });
    let remote = Remote::registry_at(client(), &server.origin, "a/b", None);
    let error = source_error(pull(&image, &remote));
    assert!(error.to_string().contains("bytes from 3 on came"), "{error}");
    let mut body = Vec::new();
    let blob = Remote::registry_at(client(), &server.origin, "a/b", None);
    blob.blob(&image.digest, 0).unwrap().bytes.read_to_end(&mut body).unwrap();
    assert_eq!(body, image.blobs[&image.digest]);
}
