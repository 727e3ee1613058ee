//! Images of a registry that this test plays, of layouts and of archives.

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

/// What becomes of a body on its way, by the request's path.
type Damage = Box<dyn Fn(&str, &mut Vec<u8>) + Send>;

#[test]
fn a_tag_becomes_a_digest_and_nothing_is_fetched_twice() {
    let mut content = Content::default();
    let ours = content.image("amd64", &[&layer(1), &layer(2)]);
    let theirs = content.image("arm64", &[&layer(9)]);
    let mut variants = [theirs, ours.clone()];
    for (variant, architecture) in variants.iter_mut().zip(["arm64", "amd64"]) {
        variant["platform"] = json!({"os": "linux", "architecture": architecture});
    }
    let index = json!({"schemaVersion": 2, "mediaType": DOCKER_INDEX, "manifests": variants});
    let index = content.manifest(DOCKER_INDEX, &index);
    content.tag("v12", &index);
    let next = content.image("amd64", &[&layer(1), &layer(3)]);
    content.tag("v13", &next);
    let registry = Fake::start(move |request| content.answer(request));
    let (dir, blobs) = store();
    let (images, files) = (registry.images(None), folder(dir.path()));

    let v12 = images.resolve(&registry.reference(":v12"), &files).unwrap();
    assert_eq!(v12.digest.to_string(), ours["digest"]);
    // Resolving fetches no layer.
    assert_eq!(registry.asked().len(), 3);
    assert_eq!(v12.missing(&blobs), v12.size());
    let came = std::cell::Cell::new(0);
    images.hold(&v12, &files, &blobs, &|bytes| came.set(came.get() + bytes)).unwrap();
    assert_eq!(came.get(), 200_000);
    assert_eq!(registry.asked().len(), 2);
    assert_eq!(v12.missing(&blobs), 0);
    images.hold(&v12, &files, &blobs, &quiet).unwrap();
    assert!(registry.asked().is_empty());

    // By the digest of the index, and by that of the manifest.
    for digest in [&index["digest"], &ours["digest"]] {
        let reference = registry.reference(&format!(":v12@{}", digest.as_str().unwrap()));
        assert_eq!(images.resolve(&reference, &files).unwrap().digest, v12.digest);
    }
    registry.asked();
    let v13 = images.resolve(&registry.reference(":v13"), &files).unwrap();
    images.hold(&v13, &files, &blobs, &quiet).unwrap();
    let layers = registry.asked();
    assert_eq!(layers.last().unwrap(), &format!("blobs/{}", Digest::of(&layer(3))));
    assert_eq!(layers.len(), 3, "manifest, configuration and one layer: {layers:?}");

    let files = store_layout(&[v13.clone(), v12.clone()], &blobs).unwrap();
    assert_eq!(files, layout(&[v12.clone(), v13.clone()]).unwrap());
    assert_eq!(files.len(), 2 + 2 + 2 + 3, "{files:?}");
    assert!(files.keys().all(|path| is_image_file(path)));
    for (path, asset) in &files {
        blobs.verify(asset).unwrap();
        if let Some(name) = path.strip_prefix("oci/blobs/sha256/") {
            assert_eq!(name, asset.sha256.to_string());
        }
    }
    let read = |asset: &Asset| blobs.read(asset).ok();
    let held = held(&files, &read);
    assert_eq!(held, [HeldImage::from(&v12), HeldImage::from(&v13)]);
    let change = changes(&held[..1], &held[1..]);
    let size = v13.size();
    assert_eq!(change[0].new, Some(size - 100_000));
    let line = change[0].to_string();
    let host = registry.host.replace(':', "_");
    assert!(
        line.starts_with(&format!("image {host}/farm/gateway changed from v12 (sha256:")),
        "{line}"
    );
    assert!(line.ends_with(" of 201 kB new"), "{line}");
    assert_eq!(changes(&held, &held), []);
    assert!(changes(&[], &held[..1])[0].to_string().contains("v12 added (sha256:"));
    assert!(changes(&held[..1], &[])[0].to_string().ends_with("v12 removed"));
}

#[test]
fn half_an_answer_is_continued_and_verified_as_a_whole() {
    for knows_ranges in [true, false] {
        let (content, _) = simple();
        let registry = Fake::start(move |request| {
            let mut reply = content.answer(request);
            if !request.path.contains("/blobs/") || reply.body.len() != 100_000 {
                return reply;
            }
            let from =
                request.header("range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-'));
            match from.and_then(|from| from.parse::<usize>().ok()) {
                None => reply.sent = 60_000,
                Some(from) if knows_ranges => {
                    let range = format!("bytes {from}-99999/100000");
                    let rest = reply.body[from..].to_vec();
                    return Reply::new("206 Partial Content", rest).with("Content-Range", range);
                }
                // Now it has time.
                Some(_) => {}
            }
            reply
        });
        let (dir, blobs) = store();
        let (images, files) = (registry.images(None), folder(dir.path()));
        let image = images.resolve(&registry.reference(":v12"), &files).unwrap();
        images.hold(&image, &files, &blobs, &quiet).unwrap();
        assert_eq!(image.missing(&blobs), 0);
    }
}

#[test]
fn other_bytes_than_promised_never_become_blobs() {
    let (content, digest) = simple();
    let bad_layer = Digest::of(&layer(2));
    let damages: [(&str, Damage); 5] = [
        (
            "configuration does not have",
            Box::new(move |path, body| {
                if path.contains("/blobs/") && body.len() != 100_000 {
                    body[0] ^= 1;
                }
            }),
        ),
        (
            "layer does not have",
            Box::new(move |path, body| {
                if path.ends_with(&bad_layer.to_string()) {
                    body[50_000] ^= 1;
                }
            }),
        ),
        (
            "more than the 100000 bytes",
            Box::new(move |path, body| {
                if path.ends_with(&bad_layer.to_string()) {
                    body.push(0);
                }
            }),
        ),
        (
            "manifest cannot be read",
            Box::new(|path, body| {
                if path.contains("/manifests/") {
                    *body = b"<html>".to_vec();
                }
            }),
        ),
        (
            "manifest has more than",
            Box::new(|path, body| {
                if path.contains("/manifests/") {
                    *body = vec![b' '; 5 << 20];
                }
            }),
        ),
    ];
    for (part, damage) in damages {
        let content = content.clone();
        let registry = Fake::start(move |request| {
            let mut reply = content.answer(request);
            damage(&request.path, &mut reply.body);
            reply.sent = reply.body.len();
            reply
        });
        let (dir, blobs) = store();
        let (images, files) = (registry.images(None), folder(dir.path()));
        let held = images
            .resolve(&registry.reference(":v12"), &files)
            .and_then(|image| images.hold(&image, &files, &blobs, &quiet));
        let error = held.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        assert!(
            error.starts_with(&format!("image {}/farm/gateway:v12: ", registry.host)),
            "{error}"
        );
        assert!(blobs.list().unwrap().iter().all(|(id, _)| id.to_string() != bad_layer.hex()));
    }
    // A reference by digest is not satisfied by another manifest.
    let mut changed = content.clone();
    let other = changed.image("amd64", &[&layer(7)]);
    changed.tag(&digest, &other);
    let registry = Fake::start(move |request| changed.answer(request));
    let (dir, _) = store();
    let wanted = registry.reference(&format!("@{digest}"));
    let error = registry.images(None).resolve(&wanted, &folder(dir.path())).unwrap_err();
    assert!(matches!(error.why, Why::Damaged(_)), "{error}");
}

#[test]
fn an_image_for_other_machines_or_too_large_is_refused() {
    let mut content = Content::default();
    let arm = content.image("arm64", &[&layer(1)]);
    content.tag("arm", &arm);
    let mut variant = arm;
    variant["platform"] = json!({"os": "linux", "architecture": "arm64"});
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [variant]});
    let index = content.manifest(OCI_INDEX, &index);
    content.tag("list", &index);
    let fine = content.image("amd64", &[&layer(1)]);
    content.tag("fine", &fine);
    let registry = Fake::start(move |request| content.answer(request));
    let (dir, _) = store();
    let files = folder(dir.path());
    let refused = |max, tag: &str| {
        let images = Images::new(BTreeMap::new(), max).unwrap();
        images.resolve(&registry.reference(tag), &files).map_err(|error| error.to_string())
    };
    assert!(refused(MOST, ":arm").unwrap_err().contains("but for linux/arm64"));
    assert!(refused(MOST, ":list").unwrap_err().contains("no variant for linux/amd64"));
    assert!(refused(1000, ":fine").unwrap_err().contains("1000 is the limit"));
    assert!(refused(MOST, ":fine").is_ok());
    let missing = refused(MOST, ":v99").unwrap_err();
    assert!(missing.contains("has no manifests/v99 of farm/gateway"), "{missing}");
}

#[test]
fn a_registry_gets_the_password_or_a_token_that_it_asks_for() {
    for bearer in [true, false] {
        let (content, _) = simple();
        let registry = Fake::start(move |request| {
            let basic = "Basic ZmFybTp1bm1pc3Rha2FibGU=";
            let authorization = request.header("authorization");
            let realm = format!("http://{}/token", request.header("host").unwrap());
            let challenge = match bearer {
                true => format!("Bearer realm=\"{realm}\",service=\"fake\""),
                false => "Basic realm=\"fake\"".to_owned(),
            };
            if request.path.starts_with("/token?") {
                let scope = request.path.contains("scope=repository%3Afarm%2Fgateway%3Apull");
                return match authorization == Some(basic) && scope {
                    true => Reply::new("200 OK", r#"{"token": "opaque"}"#),
                    false => Reply::new("401 Unauthorized", ""),
                };
            }
            let wanted = if bearer { "Bearer opaque" } else { basic };
            match authorization == Some(wanted) {
                true => content.answer(request),
                false => Reply::new("401 Unauthorized", "").with("WWW-Authenticate", challenge),
            }
        });
        let (dir, blobs) = store();
        let (files, v12) = (folder(dir.path()), registry.reference(":v12"));
        let images = registry.images(Some("farm:unmistakable"));
        let image = images.resolve(&v12, &files).unwrap();
        registry.asked();
        images.hold(&image, &files, &blobs, &quiet).unwrap();
        // It is not asked again who it is.
        assert_eq!(registry.asked().len(), 2);

        let error = registry.images(None).resolve(&v12, &files).unwrap_err();
        assert!(matches!(error.why, Why::NoCredentials { .. }), "{error}");
        let error = registry.images(Some("farm:wrong-one")).resolve(&v12, &files).unwrap_err();
        assert!(matches!(error.why, Why::Unauthorized { .. }), "{error}");
        assert!(!error.to_string().contains("wrong-one") && !error.is_out_of_reach());
    }
}

#[test]
fn a_busy_registry_is_asked_again_unless_it_wants_a_long_rest() {
    for (rest, patient) in [("0", true), ("3600", false)] {
        let (content, _) = simple();
        let turned_away = Mutex::new(0);
        let registry = Fake::start(move |request| {
            let mut turned_away = turned_away.lock().unwrap();
            *turned_away += 1;
            match *turned_away {
                1 => Reply::new("429 Too Many Requests", "").with("Retry-After", rest),
                2 => Reply::new("502 Bad Gateway", ""),
                _ => content.answer(request),
            }
        });
        let (dir, _) = store();
        let found = registry.images(None).resolve(&registry.reference(":v12"), &folder(dir.path()));
        assert_eq!(found.is_ok(), patient);
        if let Err(error) = found {
            assert!(error.is_out_of_reach() && error.to_string().ends_with("try again in 3600 s"));
        }
    }
}

#[test]
fn credentials_go_to_no_other_server() {
    let (content, _) = simple();
    let seen: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let (noted, stored) = (seen.clone(), content.clone());
    let elsewhere = Fake::start(move |request| {
        noted.lock().unwrap().push(request.header("authorization").map(str::to_owned));
        stored.answer(request)
    });
    let target = elsewhere.host.clone();
    let registry = Fake::start(move |request| {
        if request.header("authorization").is_none() {
            return Reply::new("401 Unauthorized", "").with("WWW-Authenticate", "Basic realm=x");
        }
        match request.path.contains("/blobs/") {
            false => content.answer(request),
            true => {
                let location = format!("http://{target}{}", request.path);
                Reply::new("307 Temporary Redirect", "").with("Location", location)
            }
        }
    });
    let (dir, blobs) = store();
    let (images, files) = (registry.images(Some("farm:secret")), folder(dir.path()));
    let image = images.resolve(&registry.reference(":v12"), &files).unwrap();
    images.hold(&image, &files, &blobs, &quiet).unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.len() == 3 && seen.iter().all(Option::is_none), "{seen:?}");
}

/// Writes an image layout and returns the digest of its only image.
fn write_layout(dir: &Path, name: &str) -> String {
    let (content, digest) = simple();
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    for (path, (_, bytes)) in &content.0 {
        if let Some((_, hex)) = path.split_once("sha256:") {
            fs::write(blobs.join(hex), bytes).unwrap();
        }
    }
    let size = content.0["manifests/v12"].1.len();
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": OCI_MANIFEST, "digest": digest, "size": size, "annotations": {
            "org.opencontainers.image.ref.name": "v12", "io.containerd.image.name": name,
        }
    }]});
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    digest
}

#[test]
fn a_layout_of_the_folder_is_an_image_and_no_link_leads_out_of_it() {
    let (dir, blobs) = store();
    let digest = write_layout(&dir.path().join("folder/image"), "docker.io/farm/gateway:v12");
    let files = folder(&dir.path().join("folder"));
    let images = Images::new(BTreeMap::new(), MOST).unwrap();
    for reference in ["oci:image", "oci:image:v12"] {
        let image = images.resolve(&reference.parse().unwrap(), &files).unwrap();
        assert_eq!(image.digest.to_string(), digest);
        images.hold(&image, &files, &blobs, &quiet).unwrap();
        assert_eq!(image.missing(&blobs), 0);
    }
    assert!(is_clean(&blobs, 4));
    let refused = |reference: &str| {
        let held = images
            .resolve(&reference.parse().unwrap(), &files)
            .and_then(|image| images.hold(&image, &files, &store().1, &quiet));
        held.unwrap_err().to_string()
    };
    assert!(
        refused("oci:image:v13").contains("has no image v13; there is"),
        "{}",
        refused("oci:image:v13")
    );
    assert!(refused("oci:elsewhere").contains("cannot read elsewhere/index.json"));
    // The same bytes, but from outside.
    let part = dir.path().join("folder/image/blobs/sha256").join(Digest::of(&layer(2)).hex());
    let outside = dir.path().join("outside");
    fs::rename(&part, &outside).unwrap();
    std::os::unix::fs::symlink(&outside, &part).unwrap();
    assert!(refused("oci:image").contains("cannot read image/blobs/sha256/"));
    fs::remove_file(&part).unwrap();
    fs::write(&part, layer(3)).unwrap();
    assert!(refused("oci:image").contains("does not have the bytes"));
}

fn archive(path: &Path, members: &[(&str, &[u8])], links: &[(&str, &str)]) {
    let mut tar = tar::Builder::new(File::create(path).unwrap());
    for (name, bytes) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    for (name, target) in links {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, name, target).unwrap();
    }
    tar.finish().unwrap();
}

#[test]
fn both_kinds_of_saved_archives_are_images() {
    let (dir, blobs) = store();
    let at = dir.path().join("folder");
    let digest = write_layout(&at.join("image"), "docker.io/farm/gateway:v12");
    let mut members = Vec::new();
    for path in ["oci-layout", "index.json"] {
        members.push((path.to_owned(), fs::read(at.join("image").join(path)).unwrap()));
    }
    for entry in fs::read_dir(at.join("image/blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("blobs/sha256/{}", path.file_name().unwrap().to_str().unwrap());
        members.push((name, fs::read(path).unwrap()));
    }
    let members: Vec<(&str, &[u8])> =
        members.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    archive(&at.join("new.tar"), &members, &[]);

    // Two layers with the same bytes: docker links the second one.
    let (one, two) = (layer(1), layer(2));
    let diffs = [Digest::of(&one), Digest::of(&two), Digest::of(&one)];
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": diffs}});
    let config = config.to_string();
    let saved = json!([{
        "Config": "c.json", "RepoTags": ["farm/gateway:v12"],
        "Layers": ["1/layer.tar", "2/layer.tar", "3/layer.tar"],
    }]);
    let saved = saved.to_string();
    let old: [(&str, &[u8]); 4] = [
        ("c.json", config.as_bytes()),
        ("1/layer.tar", &one),
        ("2/layer.tar", &two),
        ("manifest.json", saved.as_bytes()),
    ];
    archive(&at.join("old.tar"), &old, &[("3/layer.tar", "../1/layer.tar")]);

    let files = folder(&at);
    let images = Images::new(BTreeMap::new(), MOST).unwrap();
    let resolve = |reference: &str| images.resolve(&reference.parse().unwrap(), &files);
    for reference in ["docker-archive:new.tar", "docker-archive:new.tar:farm/gateway:v12"] {
        assert_eq!(resolve(reference).unwrap().digest.to_string(), digest);
    }
    let image = resolve("docker-archive:old.tar:farm/gateway:v12").unwrap();
    assert_eq!(image.digest, resolve("docker-archive:old.tar").unwrap().digest);
    let media_types: Vec<_> = image.manifest.layers.iter().map(|l| l.media_type.as_str()).collect();
    assert_eq!(media_types, [OCI_LAYER; 3]);
    let layers: Vec<_> = image.manifest.layers.iter().map(|l| l.digest).collect();
    assert_eq!(layers, diffs);
    images.hold(&image, &files, &blobs, &quiet).unwrap();
    assert_eq!(image.missing(&blobs), 0);

    archive(&at.join("out.tar"), &old, &[("3/layer.tar", "../../../../etc/passwd")]);
    archive(&at.join("loop.tar"), &old, &[("3/layer.tar", "../3/layer.tar")]);
    archive(&at.join("other.tar"), &[("a", b"b")], &[]);
    fs::write(at.join("no.tar"), vec![1; 2000]).unwrap();
    for (reference, part) in [
        ("docker-archive:out.tar", "cannot read 3/layer.tar of out.tar"),
        ("docker-archive:loop.tar", "cannot read 3/layer.tar of loop.tar"),
        ("docker-archive:other.tar", "neither manifest.json nor index.json"),
        ("docker-archive:no.tar", "no tar archive"),
        ("docker-archive:missing.tar", "cannot read missing.tar"),
        ("docker-archive:old.tar:farm/gateway:v13", "there is farm/gateway:v12"),
        ("docker-archive:new.tar:farm/gateway", "there is"),
    ] {
        let error = resolve(reference).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}
