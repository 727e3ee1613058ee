//! Files of generations that are not on disk what they were.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use farmgate::store::State;
use farmgate::store::blobs::Access;
use farmgate::store::generations::Generations;

use crate::common::TestServer;
use crate::common::TestState;
use crate::common::nginx_headers;
use crate::common::setting_path;

/// A boot host with an admin door and nginx's way to blobs.
fn host() -> TestState {
    let state = TestState::quick();
    let admin = state.dir().join("admin.sock");
    state.set_listen(&format!("accel = \"/blobs\"\nadmin = \"{}\"", admin.display()));
    state
}

/// Where a file of the current generation lies.
fn blob(state: &TestState, gateway: &str, path: &str) -> PathBuf {
    let state = State::open(&state.dir(), None).unwrap();
    let record = state.gateways().load(&gateway.parse().unwrap()).unwrap();
    let generations = Generations::new(&state);
    let history = generations.history(&record.id).unwrap();
    let id = history.current().unwrap().files()[path].sha256;
    generations.blobs_of(Access::to(path)).path(&id)
}

fn publish(state: &TestState, gateway: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let all = [&[("boot.ipxe", &b"#!ipxe\nboot\n"[..])], files].concat();
    let folder = state.folder(&format!("of-{gateway}"), &all);
    state.ok(&["publish", gateway, folder.to_str().unwrap()]);
    folder
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A blob that was cut short used to be served as 200 with its entity tag and what was left of
/// it, for ever: to publish the same folder again changed nothing, and nobody said anything.
#[test]
fn a_file_that_was_cut_short_is_not_served_and_to_publish_it_again_mends_it() {
    let state = host();
    let kernel = [7; 90_000];
    let folder = publish(&state, "lab-1", &[("vmlinuz", &kernel)]);
    let server = TestServer::start(&state);
    let headers = nginx_headers(&state.credentials("lab-1").0);
    let behind_nginx = || server.get_unix("/files/vmlinuz", &headers);
    assert!(behind_nginx().header("x-accel-redirect").is_some());
    assert_eq!(server.get(&state, "/files/vmlinuz").body, kernel);
    assert_eq!(state.admin("/readyz").status, 200);

    let path = blob(&state, "lab-1", "vmlinuz");
    let name = path.file_name().unwrap().to_str().unwrap();
    let damages: [(&dyn Fn(), String); 3] = [
        (&|| fs::write(&path, &kernel[..45_000]).unwrap(), "has 45000 of 90000 bytes".to_owned()),
        (&|| fs::write(&path, [7; 90_001]).unwrap(), "has 90001 of 90000 bytes".to_owned()),
        (&|| fs::remove_file(&path).unwrap(), "is missing".to_owned()),
    ];
    for (args, (damage, said)) in [vec![], vec!["--if-changed"], vec![]].iter().zip(damages) {
        damage();
        for reply in [server.get(&state, "/files/vmlinuz"), behind_nginx()] {
            assert_eq!(reply.status, 500, "{said}");
            assert_eq!(reply.header("x-accel-redirect"), None);
            assert_eq!(reply.header("etag"), None);
            assert!(!reply.text().contains(name), "{}", reply.text());
            let line = server.wait_for_log(&said);
            assert!(line.contains(name) && line.contains("publish"), "{line}");
        }
        let ready = state.admin("/readyz");
        assert_eq!(ready.status, 503);
        let expected = format!("lab-1: vmlinuz of generation {}: blob {name}", {
            state.json(&["generations", "lab-1"])["current"].as_u64().unwrap()
        });
        assert!(ready.text().contains(&expected) && ready.text().contains(&said));
        let missing =
            |count| format!("farmgate_gateway_files_missing{{gateway=\"lab-1\"}} {count}\n");
        assert!(state.admin("/metrics").text().contains(&missing(1)));

        let publish = ["publish", "lab-1", folder.to_str().unwrap()];
        state.ok(&[&publish[..], args].concat());
        assert_eq!(server.get(&state, "/files/vmlinuz").body, kernel);
        assert!(behind_nginx().header("x-accel-redirect").is_some());
        assert!(state.admin("/metrics").text().contains(&missing(0)));
        assert_eq!((state.admin("/readyz").status, fs::read(&path).unwrap()), (200, kernel.into()));
    }
}

/// What is small is read anyway: other bytes than those that were published are not handed out.
#[test]
fn a_script_and_secrets_that_rotted_are_not_handed_out() {
    let state = host();
    let folder = publish(&state, "lab-1", &[("secrets", b"TOKEN=1\n")]);
    let server = TestServer::start(&state);
    server.get(&state, "/boot/ipxe");
    let script = || server.get(&state, "/g/1/boot.ipxe");
    let secrets = || setting_path(&script().text(), "secrets_url").unwrap();
    assert_eq!(server.get(&state, &secrets()).body, b"TOKEN=1\n");

    let path = blob(&state, "lab-1", "secrets");
    let lease = secrets();
    fs::write(&path, "TOKEN=2\n").unwrap();
    assert_eq!(server.get(&state, &lease).status, 500);
    fs::write(&path, "TOK").unwrap();
    assert_eq!(script().status, 500, "a boot begins without its secrets");
    fs::write(blob(&state, "lab-1", "boot.ipxe"), "#!ipxe\nbooT\n").unwrap();
    assert_eq!(script().status, 500);

    state.ok(&["publish", "lab-1", folder.to_str().unwrap()]);
    assert_eq!(server.get(&state, &secrets()).body, b"TOKEN=1\n");
}

/// Who goes back gets what was published then, or is told that it is gone.
#[test]
fn nobody_goes_back_to_what_is_damaged() {
    let state = host();
    publish(&state, "lab-1", &[("vmlinuz", b"first")]);
    let first = blob(&state, "lab-1", "vmlinuz");
    publish(&state, "lab-1", &[("vmlinuz", b"other")]);
    fs::write(&first, "tsrif").unwrap();
    let error = state.fails(&["rollback", "lab-1", "1"]);
    assert!(error.contains("vmlinuz") && error.contains("damaged"), "{error}");
    fs::write(&first, "first").unwrap();
    state.ok(&["rollback", "lab-1", "1"]);
}

/// They used to share a blob: who came first decided whether nginx could send the file, or
/// everybody could read the secret.
#[test]
fn a_file_with_the_bytes_of_somebodys_secrets_is_another_one() {
    for secret_first in [true, false] {
        let state = host();
        state.ok(&["gateway", "add", "lab-2"]);
        let secret = || publish(&state, "lab-1", &[("secrets", b"TOKEN=1\n")]);
        let file = || publish(&state, "lab-2", &[("vmlinuz", b"TOKEN=1\n")]);
        if secret_first {
            (secret(), file())
        } else {
            (file(), secret())
        };

        let server = TestServer::start(&state);
        let as_nginx = nginx_headers(&state.credentials("lab-2").0);
        let reply = server.get_unix("/files/vmlinuz", &as_nginx);
        let location = reply.header("x-accel-redirect").unwrap();
        let sent = state.dir().join("store/blobs").join(location.strip_prefix("/blobs/").unwrap());
        assert_eq!((fs::read(&sent).unwrap(), mode(&sent)), (b"TOKEN=1\n".into(), 0o644));

        let kept = blob(&state, "lab-1", "secrets");
        assert!(kept.starts_with(state.dir().join("store/private")));
        assert_eq!(mode(&kept), 0o600);
        server.get(&state, "/boot/ipxe");
        let script = server.get(&state, "/g/1/boot.ipxe").text();
        let path = setting_path(&script, "secrets_url").unwrap();
        assert_eq!(server.get(&state, &path).body, b"TOKEN=1\n");
        fs::remove_file(&kept).unwrap();
        assert_eq!(server.get_as(&state, "lab-2", "/files/vmlinuz").body, b"TOKEN=1\n");
    }
}

/// A state of a version that had one tree: both sides of what went wrong there.
#[test]
fn a_state_with_one_tree_of_blobs_goes_on_working() {
    let state = host();
    state.ok(&["gateway", "add", "lab-2"]);
    publish(&state, "lab-1", &[("secrets", b"TOKEN=1\n")]);
    let folder = publish(&state, "lab-2", &[("vmlinuz", b"TOKEN=1\n")]);
    let store = state.dir().join("store");
    let shared = blob(&state, "lab-2", "vmlinuz");
    fs::remove_dir_all(store.join("private")).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o600)).unwrap();

    let server = TestServer::start(&state);
    server.get(&state, "/boot/ipxe");
    let script = server.get(&state, "/g/1/boot.ipxe").text();
    let path = setting_path(&script, "secrets_url").unwrap();
    assert_eq!(server.get(&state, &path).body, b"TOKEN=1\n");
    // nginx could not read it.
    let headers = nginx_headers(&state.credentials("lab-2").0);
    let ask = || server.get_unix("/files/vmlinuz", &headers);
    let reply = ask();
    assert_eq!((reply.status, reply.body), (200, b"TOKEN=1\n".into()));
    // What is written is written anew.
    state.ok(&["publish", "lab-2", folder.to_str().unwrap()]);
    assert_eq!(mode(&shared), 0o644);
    assert!(ask().header("x-accel-redirect").is_some());
    publish(&state, "lab-1", &[("secrets", b"TOKEN=1\n")]);
    assert!(blob(&state, "lab-1", "secrets").starts_with(store.join("private")));
}
