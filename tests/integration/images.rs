//! Container images of generations: fetched from a real registry, and pulled from the boot host by
//! a real client.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use farmgate::images;
use farmgate::images::Images;
use farmgate::images::Pinned;
use farmgate::store::blobs::Access;
use farmgate::store::blobs::Blobs;
use serde_json::Value;

use crate::clock::shifted;
use crate::common::PATIENCE;
use crate::common::Reply;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::edit;
use crate::common::kernel;
use crate::common::request;
use crate::common::setting_path;
use crate::fleet_folder::Fleet;
use crate::gc::age;
use crate::json::hold as hold_documented;
use crate::nginx_logs::Nginx;
use crate::registry::Registry;
use crate::registry::USER;
use crate::registry::layer;
use crate::registry::skopeo;
use crate::registry::write_layout;

const MOST: u64 = 1_000_000_000;

fn here() -> Dir {
    Dir::open_ambient_dir("/", ambient_authority()).unwrap()
}

/// Images of a registry with this CA and user.
fn with(registry: &Registry, ca: &Path, user: Option<&str>) -> Images {
    let credentials = user.map(|user| user.parse().unwrap());
    let settings = images::Registry { ca: Some(fs::read(ca).unwrap()), credentials };
    Images::new([(registry.host(), settings)].into(), MOST).unwrap()
}

fn resolve(images: &Images, reference: &str) -> Result<Pinned, String> {
    let reference = reference.parse().unwrap();
    images.resolve(&reference, &here()).map_err(|error| error.to_string())
}

/// Holds images in a store of their own; returns the bytes of layers that came.
fn hold(images: &Images, pinned: &[Pinned], blobs: &Blobs) -> u64 {
    let came = std::cell::Cell::new(0);
    for image in pinned {
        images.hold(image, &here(), blobs, &|bytes| came.set(came.get() + bytes)).unwrap();
    }
    came.get()
}

fn store(dir: &Path) -> Blobs {
    fs::create_dir_all(dir.join("blobs")).unwrap();
    Blobs::new(dir, Access::Public)
}

/// A folder with a script, the boot's token as its only secret, and these images.
fn publish(state: &TestState, gateway: &str, pinned: &[Pinned], blobs: &Blobs) {
    let folder = state.folder(
        &format!("folder-{gateway}"),
        &[("boot.ipxe", b"#!ipxe\nboot\n"), ("secrets", b"${boot_token}")],
    );
    let _ = fs::remove_dir_all(folder.join("oci"));
    for (path, asset) in images::store_layout(pinned, blobs).unwrap() {
        let to = folder.join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(blobs.path(&asset.sha256), to).unwrap();
    }
    state.ok(&["publish", "--force", gateway, folder.to_str().unwrap()]);
}

/// Boots a gateway as far as its secrets; returns the boot's token.
fn boot(state: &TestState, server: &TestServer, gateway: &str) -> String {
    assert_eq!(server.get_as(state, gateway, "/boot/ipxe").status, 302);
    let script = server.get_as(state, gateway, "/files/boot.ipxe").text();
    let token = server.get_unix(&setting_path(&script, "secrets_url").unwrap(), "").text();
    assert!(token.starts_with(gateway), "{token}");
    token
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn basic(token: &str) -> String {
    format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(format!("anybody:{token}")))
}

fn ask(server: &TestServer, method: &str, path: &str, headers: &str) -> Reply {
    let stream = UnixStream::connect(&server.unix).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    request(stream, method, path, headers).unwrap()
}

fn code(reply: &Reply) -> String {
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    body["errors"][0]["code"].as_str().unwrap().to_owned()
}

/// A state with a gateway and an image of two layers, from a layout.
struct Published {
    state: TestState,
    image: Pinned,
    blobs: Blobs,
    _dir: tempfile::TempDir,
}

const NAME: &str = "oci/tmp/image";

fn fleet() -> Published {
    fleet_at(Vec::new())
}

/// The same by the clock of this environment.
fn fleet_at(env: Vec<(OsString, OsString)>) -> Published {
    let mut state = TestState::quick();
    state.env = env;
    let dir = tempfile::tempdir().unwrap();
    write_layout(&dir.path().join("image"), "amd64", &[&layer(1, 50_000), &layer(2, 70_000)]);
    let blobs = store(dir.path());
    let image = from_layout(&dir.path().join("image"), &blobs);
    publish(&state, "lab-1", std::slice::from_ref(&image), &blobs);
    Published { state, image, blobs, _dir: dir }
}

fn from_layout(layout: &Path, blobs: &Blobs) -> Pinned {
    let images = Images::new(BTreeMap::new(), MOST).unwrap();
    let parent = Dir::open_ambient_dir(layout.parent().unwrap(), ambient_authority()).unwrap();
    let name = layout.file_name().unwrap().to_str().unwrap();
    let mut image = images.resolve(&format!("oci:{name}:image").parse().unwrap(), &parent).unwrap();
    images.hold(&image, &parent, blobs, &|_| ()).unwrap();
    image.reference = "oci:tmp/image:v12".parse().unwrap();
    image
}

#[test]
fn a_real_registry_and_a_real_client_are_understood() {
    let Some(mut registry) = Registry::start() else { return };
    let (one, two, three) = (layer(1, 300_000), layer(2, 500_000), layer(3, 200_000));
    let v12 = registry.push("farm/gateway:v12", "amd64", &[&one, &two]);
    let v13 = registry.push("farm/gateway:v13", "amd64", &[&one, &three]);
    let arm = registry.push("farm/gateway:arm", "arm64", &[&one]);

    let images = with(&registry, &registry.ca(), Some(USER));
    let dir = tempfile::tempdir().unwrap();
    let blobs = store(dir.path());
    let pinned = [resolve(&images, &v12).unwrap(), resolve(&images, &v13).unwrap()];
    let first = hold(&images, &pinned[..1], &blobs);
    assert!(first > 800_000, "{first}");
    let second = hold(&images, &pinned[1..], &blobs);
    assert!((200_000..300_000).contains(&second), "a layer travelled again: {second}");
    assert!(resolve(&images, &arm).unwrap_err().contains("for linux/arm64"));

    // What it refuses is told apart.
    let other = TestState::with_init(&["--key-type", "p256"]);
    for (ca, user, part) in [
        (other.dir().join("pki/ca.crt"), Some(USER), "certificate that is not trusted"),
        (registry.ca(), None, "wants to know who asks"),
        (registry.ca(), Some("farm:wrong-password"), "does not accept the credentials"),
    ] {
        let error = resolve(&with(&registry, &ca, user), &v12).unwrap_err();
        assert!(error.contains(part) && !error.contains("password"), "{error}");
    }
    let missing = resolve(&images, &v12.replace("v12", "v99")).unwrap_err();
    assert!(missing.contains("has no manifests/v99 of farm/gateway"), "{missing}");
    registry.stop();

    // From here on, nothing upstream is needed.
    let state = TestState::quick();
    publish(&state, "lab-1", &pinned, &blobs);
    let server = TestServer::start(&state);
    let token = boot(&state, &server, "lab-1");
    let ca = state.dir().join("pki/ca.crt");
    let name = v12.replace("127.0.0.1:", "127.0.0.1_");
    let at = format!("docker://127.0.0.1:{}/{name}", server.tls_port);
    let to = dir.path().join("pulled");
    let credentials = format!("anybody:{token}");
    let pull = |credentials: &str| {
        let to = format!("oci:{}:v12", to.display());
        skopeo(&ca, &["copy", "--src-creds", credentials, &at, &to])
    };
    let output = pull(&credentials);
    assert!(output.status.success(), "{output:?}");
    let index = fs::read_to_string(to.join("index.json")).unwrap();
    assert!(index.contains(&pinned[0].digest.to_string()), "{index}");
    let inspected = skopeo(&ca, &["inspect", "--creds", &credentials, &at]);
    assert!(inspected.status.success(), "{inspected:?}");
    let inspected: Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert_eq!(inspected["RepoTags"], serde_json::json!(["v12", "v13"]));
    assert!(!pull("anybody:x").status.success());
    assert!(!server.log_so_far().contains(&token), "the log holds the token");

    // The same through nginx, which sends the layers itself.
    drop(server);
    state.set_listen("accel = \"/farmgate-blobs\"\nproxy-mark = true");
    let server = TestServer::start(&state);
    let nginx = Nginx::for_many(&state);
    let at = format!("docker://127.0.0.1:{}/{name}", nginx.port);
    let to = format!("oci:{}:v12", dir.path().join("through-nginx").display());
    let output = skopeo(&ca, &["copy", "--src-creds", &credentials, &at, &to]);
    assert!(output.status.success(), "{output:?}");
    for (path, text) in nginx.written() {
        assert!(!text.contains(&token), "{}", path.display());
    }
    let status = state.json(&["status", "lab-1"]);
    let stages = status["boots"][0]["stages"].to_string();
    assert!(stages.contains("oci/blobs/sha256/") && stages.contains("nginx"), "{stages}");
    drop(server);
}

#[test]
fn a_boot_gets_its_own_images_and_no_others() {
    let Published { state, image, blobs, _dir: dir } = fleet();
    state.ok(&["gateway", "add", "lab-2"]);
    let layout = dir.path().join("other");
    write_layout(&layout, "amd64", &[&layer(1, 50_000), &layer(9, 10_000)]);
    let other = from_layout(&layout, &blobs);
    publish(&state, "lab-2", std::slice::from_ref(&other), &blobs);
    let server = TestServer::start(&state);
    let (mine, theirs) = (boot(&state, &server, "lab-1"), boot(&state, &server, "lab-2"));
    let get = |path: &str, headers: &str| ask(&server, "GET", path, headers);

    let manifest = format!("/v2/{NAME}/manifests/v12");
    for headers in [bearer(&mine), basic(&mine)] {
        assert_eq!(get("/v2/", &headers).status, 200);
        let found = get(&manifest, &headers);
        assert_eq!((found.status, &found.body), (200, &image.bytes));
        let digest = image.digest.to_string();
        assert_eq!(found.header("docker-content-digest"), Some(&*digest));
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        assert_eq!(found.header("content-type"), Some(media_type));
        let by_digest = get(&format!("/v2/{NAME}/manifests/{digest}"), &headers);
        assert_eq!(by_digest.body, image.bytes);
        let head = ask(&server, "HEAD", &manifest, &headers);
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), Some(&*image.bytes.len().to_string()));
    }

    let last = image.manifest.layers[1].digest;
    let blob = format!("/v2/{NAME}/blobs/{last}");
    let whole = get(&blob, &bearer(&mine));
    assert_eq!((whole.status, whole.body.len() as u64), (200, image.manifest.layers[1].size));
    let part = get(&blob, &format!("{}Range: bytes=1000-\r\n", bearer(&mine)));
    assert_eq!((part.status, &part.body[..]), (206, &whole.body[1000..]));
    let known = format!("{}If-None-Match: \"{}\"\r\n", bearer(&mine), last.hex());
    assert_eq!(get(&blob, &known).status, 304);

    // Nothing without a token, and nothing that tells strangers more.
    let nothing = get(&manifest, "");
    assert_eq!((nothing.status, code(&nothing)), (401, "UNAUTHORIZED".to_owned()));
    assert_eq!(nothing.header("www-authenticate"), Some("Basic realm=\"farmgate\""));
    let elsewhere = fleet();
    let foreign = {
        let server = TestServer::start(&elsewhere.state);
        boot(&elsewhere.state, &server, "lab-1")
    };
    for token in [&foreign, &mine.replace("lab-1", "lab-2"), "", "x"] {
        for path in ["/v2/", &manifest, &blob] {
            for headers in [bearer(token), basic(token)] {
                let refused = get(path, &headers);
                assert_eq!(refused.status, 401, "{path} {headers}");
                assert_eq!(refused.body, nothing.body);
            }
        }
    }
    // Another gateway's token is good for that gateway's images alone.
    for (path, unknown) in [(&blob, "BLOB_UNKNOWN"), (&format!("{manifest}x"), "MANIFEST_UNKNOWN")]
    {
        let refused = get(path, &bearer(&theirs));
        assert_eq!((refused.status, &*code(&refused)), (404, unknown));
    }
    assert_eq!(get(&manifest, &bearer(&theirs)).body, other.bytes);
    // What the two share, both get.
    let shared = format!("/v2/{NAME}/blobs/{}", image.manifest.layers[0].digest);
    assert_eq!(get(&shared, &bearer(&theirs)).body, get(&shared, &bearer(&mine)).body);
    let name = get("/v2/another/manifests/v12", &bearer(&mine));
    assert_eq!((name.status, &*code(&name)), (404, "NAME_UNKNOWN"));
    for path in ["/v2/_catalog", "/v2/../secrets", &format!("/v2/{NAME}/blobs/..%2f..%2fsecrets")] {
        assert_eq!(get(path, &bearer(&mine)).status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let refused = ask(&server, method, &manifest, &bearer(&mine));
        assert_eq!(refused.status, 405, "{method}");
    }

    // A boot keeps the images that it began with.
    publish(&state, "lab-1", std::slice::from_ref(&other), &blobs);
    assert_eq!(get(&manifest, &bearer(&mine)).body, image.bytes);
    let next = boot(&state, &server, "lab-1");
    assert_eq!(get(&manifest, &bearer(&next)).body, other.bytes);

    state.ok(&["gateway", "revoke", "lab-1"]);
    let refused = get(&manifest, &bearer(&mine));
    assert_eq!((refused.status, &*code(&refused)), (403, "DENIED"));
    assert_eq!(get(&manifest, &bearer(&theirs)).status, 200);
    state.ok(&["gateway", "remove", "lab-1", "--yes"]);
    assert_eq!(get(&manifest, &bearer(&mine)).status, 401);
}

#[test]
fn a_token_is_good_for_a_day() {
    let Some(env) = shifted("-25h") else { return };
    let Published { mut state, _dir, .. } = fleet_at(env);
    let manifest = format!("/v2/{NAME}/manifests/v12");
    let old = {
        let server = TestServer::start(&state);
        let old = boot(&state, &server, "lab-1");
        // By its own clock it is good.
        assert_eq!(ask(&server, "GET", &manifest, &bearer(&old)).status, 200);
        old
    };
    state.env.clear();
    let server = TestServer::start(&state);
    assert_eq!(ask(&server, "GET", &manifest, &bearer(&old)).status, 401);
    let token = boot(&state, &server, "lab-1");
    assert_eq!(ask(&server, "GET", &manifest, &bearer(&token)).status, 200);
}

/// True if the blob of a layer is on a host's disk.
fn has(state: &TestState, image: &Pinned, layer: usize) -> bool {
    let sha256 = image.manifest.layers[layer].digest.hex();
    state.dir().join("store/blobs").join(&sha256[..2]).join(sha256).exists()
}

#[test]
fn gateways_share_layers_and_the_last_one_takes_them_along() {
    let Published { state, image, blobs, _dir: dir } = fleet();
    state.ok(&["gateway", "add", "lab-2"]);
    let layout = dir.path().join("other");
    write_layout(&layout, "amd64", &[&layer(1, 50_000), &layer(9, 10_000)]);
    let other = from_layout(&layout, &blobs);
    publish(&state, "lab-2", std::slice::from_ref(&other), &blobs);
    assert_eq!(image.manifest.layers[0], other.manifest.layers[0]);
    age(&state);
    state.ok(&["gc"]);
    assert!(has(&state, &image, 0) && has(&state, &image, 1) && has(&state, &other, 1));

    // What differs is told in images, not in files with digests for names.
    publish(&state, "lab-1", std::slice::from_ref(&other), &blobs);
    let folder = state.folder("folder-lab-1", &[]);
    let again = ["publish", "--force", "--set", "site=x", "lab-1", folder.to_str().unwrap()];
    state.ok(&again);
    let diff = state.ok(&["diff", "lab-1", "1"]);
    assert!(diff.contains("image oci/tmp/image changed from v12 (sha256:"), "{diff}");
    assert!(diff.contains(" kB new") && !diff.contains("oci/blobs"), "{diff}");
    let json = state.json(&["diff", "lab-1", "1"]);
    hold_documented("diff", std::slice::from_ref(&json));
    let change = &json["images"][0];
    assert_eq!(change["before"]["digest"], image.digest.to_string());
    let shared = image.manifest.layers[0].size;
    let (new, size) = (change["new"].as_u64().unwrap(), change["size"].as_u64().unwrap());
    assert_eq!(size - new, shared, "{change}");

    state.ok(&["gateway", "remove", "lab-1", "--yes"]);
    age(&state);
    state.ok(&["gc"]);
    assert!(has(&state, &image, 0) && !has(&state, &image, 1) && has(&state, &other, 1));
    state.ok(&["gateway", "remove", "lab-2", "--yes"]);
    age(&state);
    state.ok(&["gc"]);
    assert!(!has(&state, &image, 0) && !has(&state, &other, 1));
}

#[test]
fn another_host_of_the_same_store_has_the_images_too() {
    let Published { state, image, .. } = fleet();
    let shared = tempfile::tempdir().unwrap();
    let url = format!("\n[store]\nurl = \"file://{}\"\n", shared.path().display());
    edit(&state.dir().join("farmgate.toml"), |text| text + &url);
    state.ok(&["store", "sync"]);
    let second = state.new_host();
    second.ok(&["store", "sync"]);
    let server = TestServer::start(&second);
    let credentials = Some(state.credentials("lab-1"));
    let get = |path: &str| {
        let stream = server.tls(&second, credentials.clone());
        request(stream, "GET", path, "").unwrap()
    };
    assert_eq!(get("/boot/ipxe").status, 302);
    let script = get("/files/boot.ipxe").text();
    let token = server.get_unix(&setting_path(&script, "secrets_url").unwrap(), "").text();
    for (path, size) in [
        (format!("manifests/{}", image.digest), image.bytes.len() as u64),
        (format!("blobs/{}", image.manifest.layers[1].digest), image.manifest.layers[1].size),
    ] {
        // It may be on its way; clients are told to ask again.
        let deadline = Instant::now() + PATIENCE;
        let found = loop {
            let found = ask(&server, "GET", &format!("/v2/{NAME}/{path}"), &bearer(&token));
            assert!(Instant::now() < deadline, "{found:?}");
            if found.status != 503 {
                break found;
            }
            assert!(found.header("retry-after").is_some(), "{found:?}");
            std::thread::sleep(Duration::from_millis(100));
        };
        assert_eq!((found.status, found.body.len() as u64), (200, size), "{path}");
    }
}

/// The files of a folder whose gateway runs the image `name` of a registry.
fn description(registry: &Registry, name: &str) -> Vec<(String, Vec<u8>)> {
    let host = registry.host();
    let text = format!(
        "[kernel]\ncmdline = \"console=ttyS0\"\n[registry.\"{host}\"]\nca = \"registry-ca.crt\"\n\
         credentials = \"secret:registry\"\n[[container]]\nimage = \"{host}/{name}\"\n"
    );
    vec![
        ("gateway.toml".to_owned(), text.into_bytes()),
        ("secrets".to_owned(), format!("registry={USER}\n").into_bytes()),
        ("registry-ca.crt".to_owned(), fs::read(registry.ca()).unwrap()),
        ("vmlinuz".to_owned(), kernel()),
        ("agent.cpio.zst".to_owned(), b"070701 and more".to_vec()),
    ]
}

/// The digest of the image in a generation's profile.
fn pinned(server: &TestServer, state: &TestState, generation: u64) -> String {
    let path = format!("/g/{generation}/agent.json");
    let profile: Value = serde_json::from_slice(&server.get(state, &path).body).unwrap();
    let image = &profile["containers"][0]["image"];
    assert_eq!(image["held"], true, "{profile}");
    image["digest"].as_str().unwrap().to_owned()
}

#[test]
fn a_description_brings_its_images_and_the_registry_is_not_needed_again() {
    let Some(mut registry) = Registry::start() else { return };
    let (one, two, three) = (layer(1, 300_000), layer(2, 50_000), layer(3, 20_000));
    registry.push("farm/gateway:v12", "amd64", &[&one, &two]);
    let state = TestState::quick();
    let files = description(&registry, "farm/gateway:v12");
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(path, bytes)| (path.as_str(), &bytes[..])).collect();
    let folder = state.folder("described", &files);
    let publish = ["publish", "lab-1", folder.to_str().unwrap()];
    state.ok(&publish);
    assert!(state.ok(&publish).contains("unchanged"));
    let server = TestServer::start(&state);
    let first = pinned(&server, &state, 1);

    // The tag moves: what comes is the new layer.
    registry.push("farm/gateway:v12", "amd64", &[&one, &three]);
    state.ok(&publish);
    let second = pinned(&server, &state, 2);
    assert_ne!(first, second);
    let change = &state.json(&["diff", "lab-1"])["images"][0];
    assert_eq!(change["before"]["digest"], first);
    assert_eq!(change["after"]["digest"], second);
    assert!(change["new"].as_u64().unwrap() < 100_000, "{change}");

    // A fleet folder with the same profile has the same content.
    let fleet = Fleet::new(&["lab-1"]);
    fs::remove_file(fleet.path("profiles/debian/boot.ipxe")).unwrap();
    fleet.write("fleet.toml", "");
    for (path, bytes) in &files {
        fs::write(fleet.path("profiles/debian").join(path), bytes).unwrap();
    }
    registry.push("farm/gateway:v12", "amd64", &[&one, &two, &three]);
    let plan = state.ok(&["plan", fleet.str()]);
    assert!(plan.contains("~ image ") && plan.contains("~ agent.json"), "{plan}");
    state.ok(&["apply", fleet.str()]);
    assert!(state.ok(&["plan", fleet.str()]).contains("nothing changes for 1 gateway"));
    let third = pinned(&server, &state, 3);
    assert!(third != first && third != second);
    registry.stop();

    let output = state.run(&["plan", fleet.str()]);
    let warned = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && warned.contains("image not resolved: image "), "{warned}");
    assert!(state.fails(&publish).contains("cannot be reached"));
    assert!(state.fails(&["apply", fleet.str()]).contains("cannot be reached"));

    // What was fetched is served for as long as it is wanted.
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
    let script = server.get(&state, "/files/boot.ipxe").text();
    let secrets = server.get_unix(&setting_path(&script, "secrets_url").unwrap(), "").text();
    let token = secrets.lines().find_map(|line| line.strip_prefix("FARMGATE_TOKEN=")).unwrap();
    let name = format!("{}/farm/gateway", registry.host().replace(':', "_"));
    let found = ask(&server, "GET", &format!("/v2/{name}/manifests/v12"), &bearer(token));
    assert_eq!(found.header("docker-content-digest"), Some(&*third));
    let manifest: Value = serde_json::from_slice(&found.body).unwrap();
    for layer in manifest["layers"].as_array().unwrap() {
        let path = format!("/v2/{name}/blobs/{}", layer["digest"].as_str().unwrap());
        let found = ask(&server, "GET", &path, &bearer(token));
        assert_eq!((found.status, found.body.len() as u64), (200, layer["size"].as_u64().unwrap()));
    }
}
