//! A real Garage with one bucket, and without it where a test cuts the line.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;

use super::super::bucket::Access;
use super::super::bucket::Bucket;
use super::super::bucket::Rights;
use super::super::key::Key;
use crate::agent::http::Client;
use crate::agent::http::Trust;

const PATIENCE: Duration = Duration::from_secs(60);
const NAME: &str = "lab-1";

pub(super) struct Garage {
    program: PathBuf,
    dir: TempDir,
    port: u16,
    process: Option<Child>,
    key: (String, String),
}

impl Garage {
    /// `None` where there is no garage, which is said.
    pub(super) fn start() -> Option<Self> {
        let given = std::env::var_os("FARMGATE_GARAGE").map(PathBuf::from);
        let cache = || {
            let cache = std::env::var_os("FARMGATE_CACHE").map(PathBuf::from);
            let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/farmgate"));
            Some(cache.or_else(home)?.join("garage/bin/garage"))
        };
        let program = given.or_else(cache).filter(|path| path.exists());
        let Some(program) = program else {
            super::skip("volumes", "there is no garage: run scripts/install-packages test", true);
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let [rpc, s3] = [(); 2]
            .map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
        let path = dir.path().display();
        let config = format!(
            "metadata_dir = \"{path}/meta\"\ndata_dir = \"{path}/data\"\ndb_engine = \"lmdb\"\n\
             lmdb_map_size = \"1G\"\nreplication_factor = 1\n\
             rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\n\
             rpc_secret = \"{}\"\n\
             [s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"127.0.0.1:{s3}\"\n",
            "5a".repeat(32)
        );
        let file = dir.path().join("garage.toml");
        fs::write(&file, config).unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let key = Default::default();
        let mut garage = Self { program, dir, port: s3, process: None, key };
        garage.resume();
        let said = |garage: &Self, args: &[&str]| garage.ask(args);
        let deadline = Instant::now() + PATIENCE;
        while said(&garage, &["bucket", "create", NAME]).is_none() {
            assert!(Instant::now() < deadline, "garage does not begin");
            thread::sleep(Duration::from_millis(200));
        }
        let made = said(&garage, &["key", "create", "gateway"]).unwrap();
        let line = |name: &str| {
            let line = made.lines().find(|line| line.starts_with(name));
            line.unwrap_or_else(|| panic!("{made}")).rsplit_once(' ').unwrap().1.to_owned()
        };
        garage.key = (line("Key ID"), line("Secret key"));
        let id = garage.key.0.clone();
        said(&garage, &["bucket", "allow", "--read", "--write", NAME, "--key", &id]).unwrap();
        Some(garage)
    }

    pub(super) fn ask(&self, args: &[&str]) -> Option<String> {
        let output = self.command().args(args).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.dir.path().join("garage.toml")).env("RUST_LOG", "garage=warn");
        command
    }

    pub(super) fn resume(&mut self) {
        let log = fs::File::create(self.dir.path().join("log")).unwrap();
        let mut command = self.command();
        command.args(["server", "--single-node"]).stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(command.spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "garage does not listen");
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub(super) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// A new client of the bucket, as each boot has.
    pub(super) fn bucket(&self) -> Option<Bucket> {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        let access = Access {
            endpoint: &endpoint,
            region: Some("garage"),
            bucket: NAME,
            key_id: &self.key.0,
            key: &self.key.1,
        };
        let http = Client::new(Trust::Only(Vec::new()), 0).unwrap();
        Some(Bucket::new(http, &access).unwrap())
    }

    /// Writes as an operator or another program does.
    pub(super) fn put(&self, key: &str, text: &str) {
        let rights = Rights { mode: 0o640, owner: (0, 0) };
        let key = Key::parse(key).unwrap();
        self.bucket().unwrap().put(&key, rights, text.as_bytes()).unwrap();
    }

    /// The same under a key that is no path.
    pub(super) fn put_raw(&self, key: &str) {
        let content: &[u8] = if key.ends_with('/') { b"" } else { b"strange" };
        self.bucket().unwrap().put_as(key, content);
    }

    pub(super) fn delete(&self, key: &str) {
        self.bucket().unwrap().delete(&Key::parse(key).unwrap()).unwrap();
    }

    /// Everything in the bucket.
    pub(super) fn content(&self) -> BTreeMap<String, String> {
        let bucket = self.bucket().unwrap();
        let keys = bucket.list().unwrap().objects.into_keys();
        let read = |key: Key| {
            let text = std::io::read_to_string(bucket.get(&key).unwrap().body).unwrap();
            (key.to_string(), text)
        };
        keys.map(read).collect()
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.bucket().unwrap().list().unwrap().objects.into_keys().map(String::from).collect()
    }
}

impl Drop for Garage {
    fn drop(&mut self) {
        self.stop();
    }
}
