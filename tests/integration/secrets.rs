use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::common::Reply;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::request;
use crate::common::setting_path;

const TEMPLATE: &[u8] = b"NAME=${gateway}\nGEN=$generation\nPRICE=$$5 ${unknown}\n";

fn publish(state: &TestState, template: Option<&[u8]>) {
    let mut files = vec![("boot.ipxe", &b"#!ipxe\nboot\n"[..])];
    files.extend(template.map(|template| ("secrets", template)));
    let folder = state.folder("published", &files);
    state.ok(&["publish", "lab-1", folder.to_str().unwrap()]);
}

/// The path of a new lease.
fn lease(server: &TestServer, state: &TestState) -> Option<String> {
    let script = server.get(state, "/files/boot.ipxe").text();
    setting_path(&script, "secrets_url")
}

fn ask(server: &TestServer, method: &str, path: &str) -> Reply {
    let stream = UnixStream::connect(&server.unix).unwrap();
    request(stream, method, path, "").unwrap()
}

/// Whether any file below `dir` holds `needle`.
fn is_on_disk(dir: &Path, needle: &str) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return is_on_disk(&path, needle);
        }
        path.to_str().unwrap().contains(needle)
            || std::fs::read(&path).is_ok_and(|bytes| {
                bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
            })
    })
}

#[test]
fn they_are_read_once_by_get_alone() {
    let state = TestState::with_gateway();
    publish(&state, Some(TEMPLATE));
    let server = TestServer::start(&state);
    let path = lease(&server, &state).unwrap();
    let token = path.strip_prefix("/secrets/").unwrap();
    assert_eq!(token.len(), 43);
    assert!(!is_on_disk(&state.dir(), token));

    for method in ["HEAD", "POST", "PUT"] {
        assert_eq!(ask(&server, method, &path).status, 405, "{method}");
    }
    let reply = ask(&server, "GET", &path);
    assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-store")));
    assert_eq!(reply.text(), "NAME=lab-1\nGEN=1\nPRICE=$5 ${unknown}\n");
    let again = ask(&server, "GET", &path);
    let never = ask(&server, "GET", "/secrets/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!((again.status, &again.body), (404, &never.body));
    let log = server.wait_for_log("secrets read");
    assert!(log.contains("lab-1") && !log.contains(token), "{log}");
}

#[test]
fn they_outlast_a_restart_and_end_with_revocation() {
    let state = TestState::with_gateway();
    publish(&state, Some(TEMPLATE));
    let server = TestServer::start(&state);
    let (first, second) = (lease(&server, &state).unwrap(), lease(&server, &state).unwrap());
    drop(server);
    let server = TestServer::start(&state);
    assert_eq!(ask(&server, "GET", &first).status, 200);
    state.ok(&["gateway", "revoke", "lab-1"]);
    assert_eq!(ask(&server, "GET", &second).status, 404);
}

/// A booted system needs them to talk to its boot host on its own, and gets them only with its secrets.
#[test]
fn they_say_how_the_booted_system_reaches_its_boot_host() {
    let state = TestState::with_gateway();
    publish(&state, Some(b"URL=${boot_url}\nCA=$boot_ca\nTOKEN=${boot_token}\n"));
    let server = TestServer::start(&state);
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
    let script = server.get(&state, "/g/1/boot.ipxe").text();
    let path = setting_path(&script, "secrets_url").unwrap();
    let secrets = ask(&server, "GET", &path).text();
    let value = |name: &str| {
        let line = secrets.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.unwrap_or_else(|| panic!("no {name} in {secrets}")).to_owned()
    };
    // nginx' side of the house, where no port is named.
    assert_eq!(value("URL"), "https://127.0.0.1:8443");
    let pem = std::fs::read_to_string(state.dir().join("pki/ca.crt")).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    assert_eq!(value("CA"), body);
    // The token stands in no script, and acknowledges like the script's own.
    let token = value("TOKEN");
    assert!(token.starts_with("lab-1-") && !script.contains(&token), "{script}");
    assert!(!is_on_disk(&state.dir(), &token));
    assert_eq!(ask(&server, "POST", &format!("/boot/ack/{token}x")).status, 404);
    assert_eq!(state.json(&["generations", "lab-1"])["generations"][0]["good"], false);
    assert_eq!(ask(&server, "POST", &format!("/boot/ack/{token}")).status, 200);
    assert_eq!(state.json(&["generations", "lab-1"])["generations"][0]["good"], true);

    // By own TLS, the client says where it is.
    let script = server.get(&state, "/g/1/boot.ipxe").text();
    let path = setting_path(&script, "secrets_url").unwrap();
    let reply = request(server.tls(&state, None), "GET", &path, "").unwrap();
    assert!(reply.text().starts_with("URL=https://localhost\n"), "{}", reply.text());
    // `check` knows the names.
    let folder = state.dir().parent().unwrap().join("published");
    let checked = state.run(&["check", folder.to_str().unwrap()]);
    let said = [checked.stdout, checked.stderr].concat();
    assert!(!String::from_utf8_lossy(&said).contains("FG035"));
}

#[test]
fn the_terms_can_be_set() {
    let state = TestState::with_gateway();
    publish(&state, Some(TEMPLATE));
    let terms = |text: &str| state.set_listen(&format!("[secrets]\n{text}"));
    terms("max-reads = 2");
    let server = TestServer::start(&state);
    let path = lease(&server, &state).unwrap();
    let statuses = [(); 3].map(|()| ask(&server, "GET", &path).status);
    assert_eq!(statuses, [200, 200, 404]);
    drop(server);
    terms("ttl = \"0s\"");
    let server = TestServer::start(&state);
    let path = lease(&server, &state).unwrap();
    assert_eq!(ask(&server, "GET", &path).status, 404);
}

#[test]
fn a_template_can_stay_out_of_what_is_published() {
    let state = TestState::with_gateway();
    publish(&state, None);
    let server = TestServer::start(&state);
    assert_eq!(lease(&server, &state), None);
    drop(server);
    let dir = state.folder("templates", &[("lab-1", b"OUTSIDE=$gateway")]);
    state.set_listen(&format!("[secrets]\ndir = {dir:?}"));
    let server = TestServer::start(&state);
    let path = lease(&server, &state).unwrap();
    assert_eq!(ask(&server, "GET", &path).text(), "OUTSIDE=lab-1");
    assert!(!is_on_disk(&state.dir().join("store"), "OUTSIDE"));
}

#[test]
fn the_template_is_for_the_owner_alone() {
    let state = TestState::with_gateway();
    publish(&state, Some(b"unmistakable"));
    assert!(!is_on_disk(&state.dir().join("store/blobs"), "unmistakable"));
    let mut found = 0;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let private = state.dir().join("store/private");
    assert_eq!(mode(&private), 0o700);
    for entry in std::fs::read_dir(private).unwrap() {
        for blob in std::fs::read_dir(entry.unwrap().path()).unwrap() {
            let blob = blob.unwrap().path();
            assert_eq!(std::fs::read(&blob).unwrap(), b"unmistakable");
            assert_eq!(mode(&blob), 0o600);
            found += 1;
        }
    }
    assert_eq!(found, 1);
}

/// An empty line as a credential stands for a file that systemd did not find (`SetCredential=`). The service used
/// not to start at all without it; a system that is booted without its secrets would be as bad.
#[test]
fn a_credential_that_is_missing_stops_its_own_gateway_alone() {
    let state = TestState::with_gateway();
    publish(&state, None);
    state.ok(&["gateway", "add", "lab-2"]);
    let folder = state.folder("other", &[("boot.ipxe", b"#!ipxe\nboot\n")]);
    state.ok(&["publish", "lab-2", folder.to_str().unwrap()]);
    let credentials = state.folder("credentials", &[("secrets-lab-1", b"\n")]);
    let server = TestServer::start_in(&state, &[], &[("CREDENTIALS_DIRECTORY", &credentials)]);
    assert_eq!(server.get_as(&state, "lab-2", "/g/1/boot.ipxe").status, 200);
    assert_eq!(server.get_as(&state, "lab-1", "/g/1/boot.ipxe").status, 500);
    server.wait_for_log("secrets-lab-1 is empty");
    drop(server);

    std::fs::write(credentials.join("secrets-lab-1"), "THERE=$gateway").unwrap();
    let server = TestServer::start_in(&state, &[], &[("CREDENTIALS_DIRECTORY", &credentials)]);
    let path = lease(&server, &state).unwrap();
    assert_eq!(ask(&server, "GET", &path).text(), "THERE=lab-1");
}
