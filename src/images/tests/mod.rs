//! Images of a registry that this test plays, of layouts and of archives.

mod folders;
mod registries;

use std::collections::BTreeMap;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::fleet::Asset;
use crate::profile::oci::DOCKER_INDEX;
use crate::profile::oci::OCI_CONFIG;
use crate::profile::oci::OCI_INDEX;
use crate::profile::oci::OCI_LAYER;
use crate::profile::oci::OCI_LAYER_GZIP;
use crate::profile::oci::OCI_MANIFEST;
use crate::store::blobs::Access;

const MOST: u64 = 1 << 30;

/// A request that came.
struct Request {
    path: String,
    headers: BTreeMap<String, String>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

#[derive(Clone)]
struct Reply {
    status: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// The bytes of the body that are sent before the connection ends.
    sent: usize,
}

impl Reply {
    fn new(status: &'static str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { status, headers: Vec::new(), sent: body.len(), body }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A registry: it has blobs and manifests, and does what a test wants to requests.
struct Fake {
    host: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn start(answer: impl Fn(&Request) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if let Some(request) = read(&stream) {
                    noted.lock().unwrap().push(request.path.clone());
                    let _ = send(stream, &answer(&request));
                }
            }
        });
        Self { host, asked }
    }

    /// The requests since the last look, without their common beginning.
    fn asked(&self) -> Vec<String> {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.iter().map(|path| path.replace("/v2/farm/gateway/", "")).collect()
    }

    fn reference(&self, rest: &str) -> Reference {
        format!("{}/farm/gateway{rest}", self.host).parse().unwrap()
    }

    fn images(&self, credentials: Option<&str>) -> Images {
        let credentials = credentials.map(|text| text.parse().unwrap());
        let registry = Registry { ca: None, credentials };
        Images::new([(self.host.clone(), registry)].into(), MOST).unwrap()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers = lines.take_while(|line| !line.is_empty());
    let headers = headers.filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_ascii_lowercase(), value.to_owned()))
    });
    Some(Request { path, headers: headers.collect() })
}

fn send(mut stream: TcpStream, reply: &Reply) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {}\r\nConnection: close\r\n", reply.status);
    head += &format!("Content-Length: {}\r\n", reply.body.len());
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(&reply.body[..reply.sent])
}

/// The content of a registry: by path below `/v2/farm/gateway/`, content type and bytes.
#[derive(Clone, Default)]
struct Content(BTreeMap<String, (String, Vec<u8>)>);

impl Content {
    fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        self.0.insert(format!("blobs/{digest}"), ("application/octet-stream".into(), bytes.into()));
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    fn manifest(&mut self, media_type: &str, value: &Value) -> Value {
        let bytes = value.to_string().into_bytes();
        let digest = Digest::of(&bytes);
        let size = bytes.len();
        self.0.insert(format!("manifests/{digest}"), (media_type.to_owned(), bytes));
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    fn image(&mut self, architecture: &str, layers: &[&[u8]]) -> Value {
        let diffs: Vec<_> = layers.iter().map(|layer| Digest::of(layer)).collect();
        let config = json!({
            "architecture": architecture, "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": diffs},
        });
        let config = self.blob(OCI_CONFIG, config.to_string().as_bytes());
        let layers: Vec<_> = layers.iter().map(|layer| self.blob(OCI_LAYER_GZIP, layer)).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers,
        });
        self.manifest(OCI_MANIFEST, &manifest)
    }

    fn tag(&mut self, tag: &str, descriptor: &Value) {
        let digest = descriptor["digest"].as_str().unwrap();
        let found = self.0[&format!("manifests/{digest}")].clone();
        self.0.insert(format!("manifests/{tag}"), found);
    }

    fn answer(&self, request: &Request) -> Reply {
        let path = request.path.strip_prefix("/v2/farm/gateway/").unwrap_or("");
        match self.0.get(path) {
            Some((media_type, bytes)) => {
                Reply::new("200 OK", bytes.clone()).with("Content-Type", media_type)
            }
            None => Reply::new("404 Not Found", "{}"),
        }
    }
}

fn layer(seed: u8) -> Vec<u8> {
    (0..100_000u32).map(|i| (i / 7) as u8 ^ seed).collect()
}

/// One image with two layers, tagged `v12`, and the digest of its manifest.
fn simple() -> (Content, String) {
    let mut content = Content::default();
    let image = content.image("amd64", &[&layer(1), &layer(2)]);
    content.tag("v12", &image);
    (content, image["digest"].as_str().unwrap().to_owned())
}

fn store() -> (TempDir, Blobs) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("blobs")).unwrap();
    let blobs = Blobs::new(dir.path(), Access::Public);
    (dir, blobs)
}

fn folder(path: &Path) -> Dir {
    Dir::open_ambient_dir(path, ambient_authority()).unwrap()
}

/// Nothing is left of what was not finished.
fn is_clean(blobs: &Blobs, whole: usize) -> bool {
    blobs.list().unwrap().len() == whole
}

fn quiet(_: u64) {}
