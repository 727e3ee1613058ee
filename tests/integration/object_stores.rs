//! A stand-in for B2, and a client of object stores that is not ours.

use std::io::BufRead;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tempfile::TempDir;

use crate::api::http;
use crate::common::TestState;
use crate::common::installed;
use crate::common::tool;
use crate::common::write_private;

/// The stand-in for B2.
pub(crate) struct B2 {
    process: Child,
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
        let said: Value = serde_json::from_str(&line).unwrap();
        let text = |key: &str| said[key].as_str().unwrap().to_owned();
        let port = text("url").rsplit_once(':').unwrap().1.parse().unwrap();
        let key = (text("applicationKeyId"), text("applicationKey"));
        Some(Self { process: child, dir: tempfile::tempdir().unwrap(), port, key })
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
        http(self.port, "POST", &format!("/b2api/v3/{call}"), &header, Some(&body)).unwrap()
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

impl Drop for B2 {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Debian's rclone with somebody's key: `None` if there is none.
pub(crate) struct Rclone(PathBuf);

impl Rclone {
    pub(crate) fn find() -> Option<Self> {
        let cached = || tool("FARMGATE_RCLONE", "bookworm/rclone/usr/bin/rclone");
        installed("rclone").or_else(cached).map(Self)
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
