//! Garage, the real thing: one node or three, on the loopback.

use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::api::http;
use crate::common::PATIENCE;
use crate::common::TestState;
use crate::common::free_port;
use crate::common::tool;
use crate::common::write_private;

const TOKEN: &str = "unmistakable-admin-token";
/// The bucket that boot hosts share.
const BUCKET: &str = "farm";

/// One process of it.
struct Node {
    process: Option<Child>,
    rpc: u16,
    s3: u16,
    admin: u16,
}

/// A cluster. Gone when dropped.
pub(crate) struct Garage {
    program: PathBuf,
    dir: TempDir,
    nodes: Vec<Node>,
    /// Opens [`BUCKET`].
    key: (String, String),
}

impl Garage {
    /// So many nodes, and nothing in them; `None` if there is no garage here.
    pub(crate) fn start(nodes: usize) -> Option<Self> {
        let program = tool("FARMGATE_GARAGE", "garage/bin/garage")?;
        let node =
            |_| Node { process: None, rpc: free_port(), s3: free_port(), admin: free_port() };
        let mut garage = Self {
            program,
            dir: tempfile::tempdir().unwrap(),
            nodes: (0..nodes).map(node).collect(),
            key: Default::default(),
        };
        for node in 0..nodes {
            garage.write_config(node);
            garage.resume(node);
        }
        if nodes > 1 {
            garage.connect();
        }
        Some(garage)
    }

    /// The same with a bucket that boot hosts can share, and a key for it.
    pub(crate) fn with_store(nodes: usize) -> Option<Self> {
        let mut garage = Self::start(nodes)?;
        let bucket = garage.ask("CreateBucket", Some(json!({ "globalAlias": BUCKET })));
        let key = garage.ask("CreateKey", Some(json!({ "name": "hosts" })));
        let text = |name: &str| key[name].as_str().unwrap().to_owned();
        garage.key = (text("accessKeyId"), text("secretAccessKey"));
        let permissions = json!({ "read": true, "write": true, "owner": false });
        let allowed = json!({
            "bucketId": bucket["id"], "accessKeyId": garage.key.0, "permissions": permissions
        });
        garage.ask("AllowBucketKey", Some(allowed));
        Some(garage)
    }

    fn write_config(&self, node: usize) {
        let (home, copies) = (self.home(node), self.nodes.len());
        fs::create_dir(&home).unwrap();
        let (Node { rpc, s3, admin, .. }, path) = (&self.nodes[node], home.display());
        let config = format!(
            "metadata_dir = \"{path}/meta\"\ndata_dir = \"{path}/data\"\n\
             db_engine = \"lmdb\"\nlmdb_map_size = \"1G\"\nreplication_factor = {copies}\n\
             rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\n\
             rpc_secret = \"{}\"\n\
             [s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"127.0.0.1:{s3}\"\n\
             [admin]\napi_bind_addr = \"127.0.0.1:{admin}\"\nadmin_token = \"{TOKEN}\"\n",
            "5a".repeat(32)
        );
        write_private(&home.join("garage.toml"), &config);
    }

    /// Starts a node, or starts it again with its data.
    pub(crate) fn resume(&mut self, node: usize) {
        let log = fs::File::create(self.home(node).join("log")).unwrap();
        let mut command = self.command(node);
        command.arg("server").stdout(log.try_clone().unwrap()).stderr(log);
        let alone = self.nodes.len() == 1;
        if alone {
            command.arg("--single-node");
        }
        self.nodes[node].process = Some(command.spawn().unwrap());
        // One of several is not well before it knows the others.
        self.wait_for(node, |status| status == 200 || !alone);
    }

    /// Kills a node, as a power failure would.
    pub(crate) fn kill(&mut self, node: usize) {
        if let Some(mut process) = self.nodes[node].process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Makes one cluster of the nodes.
    fn connect(&self) {
        let id = |node: usize| {
            let output = self.command(node).args(["node", "id", "-q"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let ids: Vec<_> = (0..self.nodes.len()).map(id).collect();
        self.ask("ConnectClusterNodes", Some(json!(ids)));
        let role = |(n, id): (usize, &String)| {
            let id = id.split('@').next();
            json!({ "id": id, "zone": format!("z{n}"), "capacity": 1_000_000_000u64, "tags": [] })
        };
        let roles: Vec<_> = ids.iter().enumerate().map(role).collect();
        self.ask("UpdateClusterLayout", Some(json!({ "roles": roles })));
        self.ask("ApplyClusterLayout", Some(json!({ "version": 1 })));
        for node in 0..self.nodes.len() {
            self.wait_for(node, |status| status == 200);
        }
    }

    /// Waits until a node says that it is well enough.
    fn wait_for(&self, node: usize, enough: impl Fn(u16) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let health = || http(self.nodes[node].admin, "GET", "/health", "", None);
        while !health().is_some_and(|(status, _)| enough(status)) {
            let log = || fs::read_to_string(self.home(node).join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "garage does not start: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Asks the admin API of the first node.
    #[track_caller]
    pub(crate) fn ask(&self, call: &str, body: Option<Value>) -> Value {
        let method = if body.is_some() { "POST" } else { "GET" };
        let (path, header) = (format!("/v2/{call}"), format!("Authorization: Bearer {TOKEN}\r\n"));
        let deadline = Instant::now() + PATIENCE;
        loop {
            match http(self.nodes[0].admin, method, &path, &header, body.as_ref()) {
                Some((200..300, answer)) => return answer,
                // Right after the layout is applied there is no quorum yet.
                Some((500.., _)) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                answer => panic!("{call}: {answer:?}"),
            }
        }
    }

    /// Names of all keys, in order.
    pub(crate) fn keys(&self) -> Vec<String> {
        let keys = self.ask("ListKeys", None);
        let name = |key: &Value| key["name"].as_str().unwrap().to_owned();
        let mut names: Vec<_> = keys.as_array().unwrap().iter().map(name).collect();
        names.sort();
        names
    }

    /// Tells `state` to get its gateways' buckets here.
    pub(crate) fn configure(&self, state: &TestState, more: &str) {
        let file = self.dir.path().join("credentials");
        write_private(&file, &format!("admin-token = \"{TOKEN}\"\n"));
        let Node { admin, s3, .. } = self.nodes[0];
        state.set_listen(&format!(
            "admin = \"{}\"\n[buckets]\nprovider = \"s3\"\napi-url = \"http://127.0.0.1:{admin}\"\n\
             s3-endpoint = \"http://127.0.0.1:{s3}\"\ns3-region = \"garage\"\n\
             credentials = {file:?}\n{more}",
            state.dir().join("admin.sock").display()
        ));
    }

    /// `[store]` for a host that asks this node.
    pub(crate) fn store_config(&self, node: usize) -> String {
        let file = self.dir.path().join("store.key");
        let (id, secret) = &self.key;
        let key = format!("access-key-id = \"{id}\"\nsecret-access-key = \"{secret}\"\n");
        write_private(&file, &key);
        format!(
            "url = \"s3://{BUCKET}/hosts\"\nendpoint = \"http://127.0.0.1:{}\"\n\
             region = \"garage\"\ninterval = \"1s\"\ntimeout = \"5s\"\ncredentials = {file:?}",
            self.nodes[node].s3
        )
    }

    /// Takes away the key that boot hosts have.
    pub(crate) fn delete_store_key(&self) {
        self.ask(&format!("DeleteKey?id={}", self.key.0), Some(json!({})));
    }

    /// Leaves that key the right to read, or gives it that to write again.
    pub(crate) fn let_store_key_write(&self, may: bool) {
        let bucket = self.ask(&format!("GetBucketInfo?globalAlias={BUCKET}"), None);
        let permissions = json!({ "read": false, "write": true, "owner": false });
        let what = json!({
            "bucketId": bucket["id"], "accessKeyId": self.key.0, "permissions": permissions
        });
        self.ask(if may { "AllowBucketKey" } else { "DenyBucketKey" }, Some(what));
    }

    /// Lets that key expire now.
    pub(crate) fn expire_store_key(&self) {
        let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap();
        let what = json!({ "expiration": now });
        self.ask(&format!("UpdateKey?id={}", self.key.0), Some(what));
    }

    fn command(&self, node: usize) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.home(node).join("garage.toml"));
        command
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
