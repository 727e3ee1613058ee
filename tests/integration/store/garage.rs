//! Garage, the real thing: one node or three, on the loopback.

use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::common::PATIENCE;
use crate::common::tool;

const TOKEN: &str = "unmistakable-admin-token";
const BUCKET: &str = "farm";

/// One process of it.
struct Node {
    process: Option<Child>,
    rpc: u16,
    s3: u16,
    admin: u16,
}

/// A cluster with one bucket and a key for it. Gone when dropped.
pub(super) struct Garage {
    program: PathBuf,
    dir: TempDir,
    nodes: Vec<Node>,
    key: (String, String),
}

impl Garage {
    /// `None` if there is no garage here.
    pub(super) fn start(nodes: usize) -> Option<Self> {
        let mut garage = Self {
            program: tool("FARMGATE_GARAGE", "garage/bin/garage")?,
            dir: tempfile::tempdir().unwrap(),
            nodes: Vec::new(),
            key: Default::default(),
        };
        let free: Vec<_> =
            (0..3 * nodes).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<_> = free.iter().map(|door| door.local_addr().unwrap().port()).collect();
        drop(free);
        for ports in ports.chunks(3) {
            let node = Node { process: None, rpc: ports[0], s3: ports[1], admin: ports[2] };
            garage.nodes.push(node);
            garage.configure(garage.nodes.len() - 1, nodes);
            garage.resume(garage.nodes.len() - 1);
        }
        if nodes > 1 {
            garage.connect();
        }
        garage.wait_until_healthy();
        let bucket = garage.ask("CreateBucket", json!({ "globalAlias": BUCKET }));
        let key = garage.ask("CreateKey", json!({ "name": "hosts" }));
        let text = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
        garage.key = (text(&key, "accessKeyId"), text(&key, "secretAccessKey"));
        let permissions = json!({ "read": true, "write": true, "owner": false });
        garage.ask(
            "AllowBucketKey",
            json!({
                "bucketId": bucket["id"], "accessKeyId": garage.key.0, "permissions": permissions
            }),
        );
        Some(garage)
    }

    fn configure(&self, node: usize, of: usize) {
        let home = self.home(node);
        std::fs::create_dir(&home).unwrap();
        let (Node { rpc, s3, admin, .. }, path) = (&self.nodes[node], home.display());
        let config = format!(
            "metadata_dir = \"{path}/meta\"\ndata_dir = \"{path}/data\"\n\
             db_engine = \"lmdb\"\nlmdb_map_size = \"1G\"\nreplication_factor = {of}\n\
             rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\n\
             rpc_secret = \"{}\"\n\
             [s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"127.0.0.1:{s3}\"\n\
             [admin]\napi_bind_addr = \"127.0.0.1:{admin}\"\nadmin_token = \"{TOKEN}\"\n",
            "5a".repeat(32)
        );
        write_private(&home.join("garage.toml"), &config);
    }

    /// Starts a node, or starts it again with its data.
    pub(super) fn resume(&mut self, node: usize) {
        let home = self.home(node);
        let log = std::fs::File::create(home.join("log")).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(home.join("garage.toml")).arg("server");
        if self.nodes.len() == 1 && self.single() {
            command.arg("--single-node");
        }
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.nodes[node].process = Some(command.spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while http(self.nodes[node].admin, "GET", "/health", None).is_none() {
            assert!(Instant::now() < deadline, "garage does not start: {}", self.log(node));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn single(&self) -> bool {
        let config = std::fs::read_to_string(self.home(0).join("garage.toml")).unwrap();
        config.contains("replication_factor = 1")
    }

    /// Kills a node, as a power failure would.
    pub(super) fn kill(&mut self, node: usize) {
        if let Some(mut process) = self.nodes[node].process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn connect(&self) {
        let id = |node: usize| {
            let output = Command::new(&self.program)
                .arg("-c")
                .arg(self.home(node).join("garage.toml"))
                .args(["node", "id", "-q"])
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let ids: Vec<_> = (0..self.nodes.len()).map(id).collect();
        self.ask("ConnectClusterNodes", json!(ids));
        let role = |(n, id): (usize, &String)| {
            let id = id.split('@').next();
            json!({ "id": id, "zone": format!("z{n}"), "capacity": 1_000_000_000u64, "tags": [] })
        };
        let roles: Vec<_> = ids.iter().enumerate().map(role).collect();
        self.ask("UpdateClusterLayout", json!({ "roles": roles }));
        self.ask("ApplyClusterLayout", json!({ "version": 1 }));
    }

    pub(super) fn wait_until_healthy(&self) {
        let deadline = Instant::now() + PATIENCE;
        let status = |node: &Node| http(node.admin, "GET", "/health", None).map(|(s, _)| s);
        while !self.nodes.iter().all(|node| status(node) == Some(200)) {
            assert!(Instant::now() < deadline, "garage is not healthy: {}", self.log(0));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn log(&self, node: usize) -> String {
        std::fs::read_to_string(self.home(node).join("log")).unwrap_or_default()
    }

    /// Asks the admin API of the first node.
    #[track_caller]
    pub(super) fn ask(&self, call: &str, body: Value) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = http(self.nodes[0].admin, "POST", &format!("/v2/{call}"), Some(&body));
            match answer {
                Some((200..300, answer)) => return answer,
                // Right after the layout is applied there is no quorum yet.
                answer if Instant::now() > deadline => panic!("{call}: {answer:?}"),
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    pub(super) fn key_id(&self) -> &str {
        &self.key.0
    }

    /// `[store]` for a host that asks this node.
    pub(super) fn store_config(&self, node: usize) -> String {
        let file = self.dir.path().join("store.key");
        let (id, secret) = &self.key;
        write_private(
            &file,
            &format!("access-key-id = \"{id}\"\nsecret-access-key = \"{secret}\"\n"),
        );
        format!(
            "url = \"s3://{BUCKET}/hosts\"\nendpoint = \"http://127.0.0.1:{}\"\n\
             region = \"garage\"\ninterval = \"1s\"\ntimeout = \"5s\"\ncredentials = {file:?}",
            self.nodes[node].s3
        )
    }

    fn home(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("node-{node}"))
    }
}

impl Drop for Garage {
    fn drop(&mut self) {
        for node in 0..self.nodes.len() {
            self.kill(node);
        }
    }
}

fn write_private(path: &Path, text: &str) {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn http(port: u16, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let body = body.map_or_else(String::new, Value::to_string);
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: garage\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}
