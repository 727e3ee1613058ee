//! Providers that answer what no provider should.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use rustls::ServerConfig;
use rustls::ServerConnection;
use rustls::StreamOwned;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::common::BIN;
use crate::common::TestServer;
use crate::common::TestState;

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Serves `behave` on the loopback: it gets each connection once a request is in. Counts them.
fn provider(
    tls: Option<Arc<ServerConfig>>,
    behave: impl Fn(&mut dyn Stream) + Send + Sync + 'static,
) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, behave) = (Arc::new(AtomicUsize::new(0)), Arc::new(behave));
    let counter = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (behave, tls, counter) = (behave.clone(), tls.clone(), counter.clone());
            std::thread::spawn(move || {
                let mut stream: Box<dyn Stream> = match tls {
                    Some(config) => {
                        let connection = ServerConnection::new(config).unwrap();
                        Box::new(StreamOwned::<_, TcpStream>::new(connection, stream))
                    }
                    None => Box::new(stream),
                };
                let mut request = [0; 16 * 1024];
                if stream.read(&mut request).is_ok_and(|read| read > 0) {
                    counter.fetch_add(1, Ordering::SeqCst);
                    behave(&mut *stream);
                }
            });
        }
    });
    (port, asked)
}

fn configure(state: &TestState, url: &str) -> PathBuf {
    let credentials = state.folder("credentials", &[("b2", b"key-id = \"a\"\nkey = \"b\"\n")]);
    let credentials = credentials.join("b2");
    fs::set_permissions(&credentials, fs::Permissions::from_mode(0o600)).unwrap();
    state.set_listen(&format!(
        "[buckets]\nprovider = \"b2\"\napi-url = \"{url}\"\ntimeout = \"1s\"\n\
         credentials = {credentials:?}"
    ));
    credentials
}

#[test]
fn each_bad_answer_is_one_clear_line_in_good_time() {
    let state = TestState::quick();
    state.ok(&["gateway", "add", "lab-2"]);
    type Behaviour = Box<dyn Fn(&mut dyn Stream) + Send + Sync>;
    let says = |text: &'static str| -> Behaviour {
        Box::new(move |stream| stream.write_all(text.as_bytes()).unwrap())
    };
    let cases: Vec<(&str, Behaviour)> = vec![
        ("is busy (503)", says("HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n")),
        ("is busy (429)", says("HTTP/1.1 429 x\r\nContent-Length: 2\r\n\r\n{}")),
        ("failed (500)", says("HTTP/1.1 500 x\r\nContent-Length: 6\r\n\r\n<html>")),
        ("is not one of the API", says("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")),
        ("is not one of the API", says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")),
        ("is not one of the API", says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")),
        ("refuses the credentials", says("HTTP/1.1 401 x\r\nContent-Length: 2\r\n\r\n{}")),
        ("cannot be reached", says("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"accountId\"")),
        ("cannot be reached", says("")),
        ("cannot be reached", says("SSH-2.0-OpenSSH_9\r\n")),
        ("did not answer within 1 s", Box::new(|_| std::thread::sleep(Duration::from_secs(60)))),
        (
            "did not answer within 1 s",
            Box::new(|stream| {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
                // A drop now and then: each alone would be quick enough.
                while stream.write_all(b" ").and_then(|()| stream.flush()).is_ok() {
                    std::thread::sleep(Duration::from_millis(200));
                }
            }),
        ),
        (
            "cannot be reached",
            Box::new(|stream| {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                let chunk = [&b"10000\r\n"[..], &[b' '; 0x10000], b"\r\n"].concat();
                while stream.write_all(&chunk).is_ok() {}
            }),
        ),
    ];
    for (expected, behaviour) in cases {
        let (port, asked) = provider(None, behaviour);
        configure(&state, &format!("http://127.0.0.1:{port}"));
        let began = Instant::now();
        let error = state.fails(&["-q", "bucket", "sync"]);
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(began.elapsed() < Duration::from_secs(30), "{expected}: {:?}", began.elapsed());
        // The second gateway does not wait for the same.
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{expected}");
        let rows = state.json(&["bucket", "list"]);
        for row in rows.as_array().unwrap() {
            assert!(row["error"].as_str().unwrap().contains(expected), "{row}");
        }
    }
    configure(&state, "http://127.0.0.1:1");
    assert!(state.fails(&["-q", "bucket", "sync"]).contains("cannot be reached"));
}

#[test]
fn retry_after_is_heeded_and_failures_are_spaced_out() {
    let state = TestState::quick();
    let (port, _) = provider(None, |stream| {
        let busy = b"HTTP/1.1 503 x\r\nRetry-After: 600\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(busy).unwrap();
    });
    configure(&state, &format!("http://127.0.0.1:{port}"));
    for attempts in 1..=3 {
        state.fails(&["-q", "bucket", "sync"]);
        let file = fs::read_dir(state.dir().join("buckets"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|extension| extension == "json"));
        let stored: Value = serde_json::from_slice(&fs::read(file.unwrap()).unwrap()).unwrap();
        let trouble = &stored["trouble"];
        assert_eq!(trouble["attempts"], attempts);
        let time =
            |key: &str| OffsetDateTime::parse(trouble[key].as_str().unwrap(), &Rfc3339).unwrap();
        let wait = (time("not-before") - time("at")).whole_seconds();
        assert!((599..=3600).contains(&wait), "{wait}");
    }
}

#[test]
fn credentials_go_to_nobody_who_cannot_prove_who_it_is() {
    let state = TestState::quick();
    let pki = state.dir().join("pki");
    let certificate = CertificateDer::from_pem_file(pki.join("server.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(pki.join("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let (port, asked) = provider(Some(Arc::new(config)), |stream| {
        stream.write_all(b"HTTP/1.1 401 x\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        let _ = stream.flush();
    });
    configure(&state, &format!("https://127.0.0.1:{port}"));
    // The CA of this state is nobody that the system believes.
    let error = state.fails(&["-q", "bucket", "sync"]);
    assert!(error.contains("cannot be reached") && error.contains("certificate"), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    let output = Command::new(BIN)
        .env("SSL_CERT_FILE", pki.join("ca.crt"))
        .arg("--state")
        .arg(state.dir())
        .args(["-q", "bucket", "sync"])
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("refuses the credentials"), "{error}");
}

#[test]
fn credentials_do_not_follow_a_redirect() {
    let state = TestState::quick();
    let (elsewhere, followed) = provider(None, |_| {});
    let (port, asked) = provider(None, move |stream| {
        let location = format!("Location: http://127.0.0.1:{elsewhere}/b2api/v3/x\r\n");
        let answer = format!("HTTP/1.1 302 x\r\n{location}Content-Length: 2\r\n\r\n{{}}");
        stream.write_all(answer.as_bytes()).unwrap();
    });
    configure(&state, &format!("http://127.0.0.1:{port}"));
    let error = state.fails(&["-q", "bucket", "sync"]);
    assert!(error.contains("refused b2_authorize_account"), "{error}");
    assert_eq!((asked.load(Ordering::SeqCst), followed.load(Ordering::SeqCst)), (1, 0));
}

#[test]
fn a_proxy_gets_no_credentials_without_tls_but_is_used_with_tls() {
    let state = TestState::quick();
    let (port, asked) = provider(None, |stream| {
        stream.write_all(b"HTTP/1.1 401 x\r\nContent-Length: 2\r\n\r\n{}").unwrap();
    });
    let (proxy, relayed) = provider(None, |stream| {
        stream.write_all(b"HTTP/1.1 407 x\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    let proxy = format!("http://127.0.0.1:{proxy}");
    for (scheme, through_proxy, expected) in
        [("http", 0, "refuses the credentials"), ("https", 1, "cannot be reached")]
    {
        configure(&state, &format!("{scheme}://127.0.0.1:{port}"));
        let output = Command::new(BIN)
            .envs(["HTTP_PROXY", "http_proxy", "HTTPS_PROXY"].map(|name| (name, &proxy)))
            .env_remove("NO_PROXY")
            .env_remove("no_proxy")
            .arg("--state")
            .arg(state.dir())
            .args(["-q", "bucket", "sync"])
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(expected), "{error}");
        assert_eq!(relayed.load(Ordering::SeqCst), through_proxy, "{scheme}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn a_provider_that_hangs_holds_up_neither_boots_nor_the_end_of_the_server() {
    let state = TestState::quick();
    state.publish("lab-1", 10);
    let (port, asked) = provider(None, |_| std::thread::sleep(Duration::from_secs(600)));
    configure(&state, &format!("http://127.0.0.1:{port}"));
    crate::common::edit(&state.dir().join("farmgate.toml"), |text| text.replace("1s", "600s"));
    let mut server = TestServer::start(&state);
    while asked.load(Ordering::SeqCst) == 0 {
        std::thread::sleep(Duration::from_millis(50));
    }
    let began = Instant::now();
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
    let script = server.get(&state, "/files/boot.ipxe");
    assert!(script.status == 200 && !script.text().contains("s3_"), "{script:?}");
    server.wait_for_log("boots with no bucket");
    server.terminate();
    assert!(server.wait().success());
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}
