//! Object stores that the tests start, and a client for them that is not ours.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::common::PATIENCE;
use crate::common::TestState;
use crate::common::tool;

/// Ends a process when dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Garage, a single node on the loopback.
pub(crate) struct Garage {
    process: Option<Ended>,
    program: PathBuf,
    dir: TempDir,
    admin: u16,
    s3: u16,
}

const TOKEN: &str = "unmistakable-admin-token";

impl Garage {
    /// `None` if there is no garage here.
    pub(crate) fn start() -> Option<Self> {
        let program = tool("FARMGATE_GARAGE", "garage/bin/garage")?;
        let dir = tempfile::tempdir().unwrap();
        let free: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<_> = free.iter().map(|door| door.local_addr().unwrap().port()).collect();
        let [rpc, s3, admin] = ports[..] else { unreachable!("three were asked for") };
        let path = dir.path().display();
        let config = format!(
            "metadata_dir = \"{path}/meta\"\ndata_dir = \"{path}/data\"\n\
             db_engine = \"lmdb\"\nlmdb_map_size = \"1G\"\nreplication_factor = 1\n\
             rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\n\
             rpc_secret = \"{}\"\n\
             [s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"127.0.0.1:{s3}\"\n\
             [admin]\napi_bind_addr = \"127.0.0.1:{admin}\"\nadmin_token = \"{TOKEN}\"\n",
            "5a".repeat(32)
        );
        write_private(&dir.path().join("garage.toml"), &config);
        drop(free);
        let mut garage = Self { process: None, program, dir, admin, s3 };
        garage.resume();
        Some(garage)
    }

    /// Starts it, or starts it again with its data.
    pub(crate) fn resume(&mut self) {
        let log = fs::File::create(self.dir.path().join("log")).unwrap();
        let child = Command::new(&self.program)
            .arg("-c")
            .arg(self.dir.path().join("garage.toml"))
            .args(["server", "--single-node"])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.process = Some(Ended(child.unwrap()));
        let deadline = Instant::now() + PATIENCE;
        while http(self.admin, "GET", "/health", "", None).is_none_or(|(status, _)| status != 200) {
            let log = || fs::read_to_string(self.dir.path().join("log")).unwrap();
            assert!(Instant::now() < deadline, "garage does not start: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn stop(&mut self) {
        self.process = None;
    }

    /// Asks the admin API.
    #[track_caller]
    pub(crate) fn ask(&self, call: &str, body: Option<Value>) -> Value {
        let method = if body.is_some() { "POST" } else { "GET" };
        let header = format!("Authorization: Bearer {TOKEN}\r\n");
        let path = format!("/v2/{call}");
        let (status, answer) = http(self.admin, method, &path, &header, body).unwrap();
        assert!(status < 300, "{call}: {status} {answer}");
        answer
    }

    /// Names of all keys, in order.
    pub(crate) fn keys(&self) -> Vec<String> {
        let keys = self.ask("ListKeys", None);
        let name = |key: &Value| key["name"].as_str().unwrap().to_owned();
        let mut names: Vec<_> = keys.as_array().unwrap().iter().map(name).collect();
        names.sort();
        names
    }

    /// Tells `state` to get its buckets here.
    pub(crate) fn configure(&self, state: &TestState, more: &str) {
        let file = self.dir.path().join("credentials");
        write_private(&file, &format!("admin-token = \"{TOKEN}\"\n"));
        let (admin, s3) = (self.admin, self.s3);
        state.set_listen(&format!(
            "admin = \"{}\"\n[buckets]\nprovider = \"s3\"\napi-url = \"http://127.0.0.1:{admin}\"\n\
             s3-endpoint = \"http://127.0.0.1:{s3}\"\ns3-region = \"garage\"\n\
             credentials = {file:?}\n{more}",
            state.dir().join("admin.sock").display()
        ));
    }
}

/// The stand-in for B2.
pub(crate) struct B2 {
    _process: Ended,
    dir: TempDir,
    port: u16,
    key: (String, String),
}

impl B2 {
    /// `None` if there is no b2sdk here.
    pub(crate) fn start() -> Option<Self> {
        let python = tool("FARMGATE_B2_PYTHON", "b2sdk/bin/python")?;
        let mut child = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/b2-sim.py"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let process = Ended(child);
        let said: Value = serde_json::from_str(&line).unwrap();
        let text = |key: &str| said[key].as_str().unwrap().to_owned();
        let port = text("url").rsplit_once(':').unwrap().1.parse().unwrap();
        let key = (text("applicationKeyId"), text("applicationKey"));
        Some(Self { _process: process, dir: tempfile::tempdir().unwrap(), port, key })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Asks as the owner of the account.
    #[track_caller]
    pub(crate) fn ask(&self, call: &str, body: Value) -> Value {
        let (status, answer) = self.ask_as(&self.key, call, body);
        assert_eq!(status, 200, "{call}: {answer}");
        answer
    }

    /// Asks with some key.
    pub(crate) fn ask_as(&self, key: &(String, String), call: &str, body: Value) -> (u16, Value) {
        let basic = BASE64_STANDARD.encode(format!("{}:{}", key.0, key.1));
        let header = format!("Authorization: Basic {basic}\r\n");
        let path = "/b2api/v3/b2_authorize_account";
        let (status, session) = http(self.port, "GET", path, &header, None).unwrap();
        if status != 200 {
            return (status, session);
        }
        let token = session["authorizationToken"].as_str().unwrap();
        let mut body = body;
        body["accountId"] = session["accountId"].clone();
        let header = format!("Authorization: {token}\r\n");
        http(self.port, "POST", &format!("/b2api/v3/{call}"), &header, Some(body)).unwrap()
    }

    pub(crate) fn configure(&self, state: &TestState, more: &str) {
        self.configure_as(state, &self.key.0, &self.key.1, more);
    }

    pub(crate) fn configure_as(&self, state: &TestState, id: &str, key: &str, more: &str) {
        let file = self.dir.path().join("credentials");
        write_private(&file, &format!("key-id = {id:?}\nkey = {key:?}\n"));
        state.set_listen(&format!(
            "[buckets]\nprovider = \"b2\"\napi-url = \"{}\"\ncredentials = {file:?}\n{more}",
            self.url()
        ));
    }
}

/// Debian's rclone with somebody's key: `None` if there is none.
pub(crate) struct Rclone(PathBuf);

impl Rclone {
    pub(crate) fn find() -> Option<Self> {
        let installed = std::env::split_paths(&std::env::var_os("PATH")?)
            .map(|dir| dir.join("rclone"))
            .find(|path| path.exists());
        installed.or_else(|| tool("FARMGATE_RCLONE", "bookworm/rclone/usr/bin/rclone")).map(Self)
    }

    /// Runs it on the remote `it:`, which `options` describe.
    pub(crate) fn run(&self, options: &[(&str, &str)], args: &[&str]) -> Output {
        let mut command = Command::new(&self.0);
        // What this machine's user has set for other stores.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command.env("RCLONE_CONFIG", "/dev/null").env("RCLONE_RETRIES", "1");
        command.env("RCLONE_LOW_LEVEL_RETRIES", "1").env("RCLONE_CONTIMEOUT", "5s");
        for (name, value) in options {
            command.env(format!("RCLONE_CONFIG_IT_{}", name.to_uppercase()), value);
        }
        command.args(args).output().unwrap()
    }
}

fn write_private(path: &std::path::Path, text: &str) {
    let _ = fs::remove_file(path);
    let file = fs::File::options().write(true).create_new(true).mode(0o600).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

/// Status and JSON of an answer; `None` if nobody answers.
pub(crate) fn http(
    port: u16,
    method: &str,
    path: &str,
    headers: &str,
    body: Option<Value>,
) -> Option<(u16, Value)> {
    let body = body.map_or_else(String::new, |body| body.to_string());
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .ok()?;
    // Python's server keeps the connection open: what it says of the length counts.
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), None);
    reader.read_line(&mut line).ok()?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<u64>().ok();
        }
    }
    let mut text = Vec::new();
    reader.take(length.unwrap_or(u64::MAX)).read_to_end(&mut text).ok()?;
    Some((status, serde_json::from_slice(&text).unwrap_or(json!(null))))
}
