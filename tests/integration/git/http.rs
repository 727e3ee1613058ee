//! Smart HTTP: `git http-backend` behind a small CGI server of the test.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::Forge;
use super::Here;

/// A request line, and an `Authorization` header.
type Request = (String, Option<String>);

/// Serves the repositories below a folder until the test ends.
pub(crate) struct HttpServer {
    port: u16,
    /// What came.
    asked: Arc<Mutex<Vec<Request>>>,
}

impl HttpServer {
    /// `login` is `user:password`, if one is needed.
    pub(crate) fn start(root: &Path, login: Option<&str>) -> Self {
        Self::start_with(root, login, None)
    }

    fn start_with(root: &Path, login: Option<&str>, redirect: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<_>>> = Arc::default();
        let (root, login, seen) = (root.to_owned(), login.map(str::to_owned), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (root, login, seen) = (root.clone(), login.clone(), seen.clone());
                let redirect = redirect.clone();
                std::thread::spawn(move || {
                    answer(stream, &root, login.as_deref(), redirect, &seen)
                });
            }
        });
        Self { port, asked }
    }

    pub(crate) fn remote(&self) -> String {
        format!("http://127.0.0.1:{}/fleet.git", self.port)
    }
}

/// One request on each connection.
fn answer(
    mut stream: TcpStream,
    root: &Path,
    login: Option<&str>,
    redirect: Option<String>,
    seen: &Mutex<Vec<Request>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let header =
        |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    let authorization = header("authorization");
    seen.lock().unwrap().push((line.trim_end().to_owned(), authorization.clone()));
    let (method, target) = line.split_once(' ')?;
    let target = target.split(' ').next()?;
    if let Some(redirect) = redirect {
        let to = format!(
            "HTTP/1.1 302 Found\r\nLocation: {redirect}{target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        return stream.write_all(to.as_bytes()).ok();
    }
    let expected = login.map(|login| format!("Basic {}", BASE64_STANDARD.encode(login)));
    if expected.is_some() && authorization != expected {
        let no = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return stream.write_all(no.as_bytes()).ok();
    }
    let body = if header("transfer-encoding").is_some() {
        chunks(&mut reader)?
    } else {
        let length = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        body
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut cgi = Command::new("git");
    cgi.args(["-c", "safe.directory=*", "http-backend"])
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type").unwrap_or_default())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding").unwrap_or_default())
        .env("GIT_PROTOCOL", header("git-protocol").unwrap_or_default())
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut cgi = cgi.spawn().ok()?;
    let mut stdin = cgi.stdin.take()?;
    std::thread::spawn(move || stdin.write_all(&body));
    let output = cgi.wait_with_output().ok()?.stdout;
    let end = output.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, content) =
        (String::from_utf8_lossy(&output[..end]).into_owned(), &output[end + 4..]);
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    let length = content.len();
    let head = format!(
        "HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(content).ok()
}

fn chunks(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let length = usize::from_str_radix(line.trim(), 16).ok()?;
        let start = body.len();
        body.resize(start + length, 0);
        reader.read_exact(&mut body[start..]).ok()?;
        reader.read_line(&mut line).ok()?;
        if length == 0 {
            return Some(body);
        }
    }
}

const LOGIN: &str = "farm:unmistakable-password";

fn credentials(here: &Here, password: &str) -> PathBuf {
    here.secret("login", &format!("username = \"farm\"\npassword = \"{password}\"\n"))
}

#[test]
fn a_public_repository_is_fetched_by_http() {
    let forge = Forge::new();
    forge.write("fleet.toml", b"x");
    let id = forge.push("first");
    let server = HttpServer::start(forge.path(), None);
    let here = Here::new(&server.remote());
    assert_eq!(here.bring().unwrap().commit.id, id);
    forge.write("fleet.toml", &vec![b'y'; 200_000]);
    let id = forge.push("second");
    assert_eq!(here.bring().unwrap().commit.id, id);
    // One that is not there.
    let other = Here::new(&server.remote().replace("fleet", "other"));
    assert!(other.fails().contains("no such repository"), "{}", other.fails());
}

#[test]
fn a_password_is_given_to_the_remote_and_to_nobody_else() {
    let forge = Forge::new();
    forge.write("fleet.toml", b"x");
    let id = forge.push("first");
    let server = HttpServer::start(forge.path(), Some(LOGIN));
    let mut here = Here::new(&server.remote());
    let error = here.fails();
    assert!(error.contains("asks for a password") && error.contains("credentials"), "{error}");
    here.config.credentials = Some(credentials(&here, "wrong-unmistakable"));
    let error = here.fails();
    assert!(error.contains("does not take the user name and password"), "{error}");
    assert!(!error.contains("unmistakable"), "{error}");
    here.config.credentials = Some(credentials(&here, "unmistakable-password"));
    for _ in 0..2 {
        assert_eq!(here.bring().unwrap().commit.id, id);
    }
    // It rests in no file of ours.
    let out =
        Command::new("grep").args(["-r", "-l", "unmistakable"]).arg(here.dir()).output().unwrap();
    let found = String::from_utf8(out.stdout).unwrap();
    assert_eq!(found.lines().collect::<Vec<_>>(), [here.dir().join("login").to_str().unwrap()]);

    // A remote that sends git to another: that one asks in vain.
    let other = HttpServer::start_with(
        forge.path(),
        None,
        Some(format!("http://127.0.0.1:{}", server.port)),
    );
    here.config.remote = Some(other.remote().parse().unwrap());
    server.asked.lock().unwrap().clear();
    let error = here.fails();
    assert!(error.contains("asks for a password"), "{error}");
    let asked = server.asked.lock().unwrap();
    assert!(
        !asked.is_empty() && asked.iter().all(|(_, authorization)| authorization.is_none()),
        "{asked:?}"
    );
}

#[test]
fn a_remote_that_is_gone_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = format!("http://{}/fleet.git", listener.local_addr().unwrap());
    drop(listener);
    let error = Here::new(&remote).fails();
    assert!(error.contains(&format!("cannot fetch main of {remote}")), "{error}");
    assert!(
        error.contains("Failed to connect")
            || error.contains("Connection refused")
            || error.contains("unable to access"),
        "{error}"
    );
}
