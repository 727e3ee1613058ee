use std::os::unix::net::UnixStream;

use crate::common::TestServer;
use crate::common::TestState;
use crate::common::nginx_headers;
use crate::common::request;

#[test]
fn a_boot_leads_through_the_script_to_the_assets_of_one_generation() {
    let state = TestState::with_gateway();
    let kernel = state.publish("lab-1", 1_000_000);
    let server = TestServer::start(&state);
    let boot = server.get(&state, "/boot/ipxe?mac=52:54:00:12:34:56&platform=efi&version=2.0.0");
    assert_eq!((boot.status, boot.header("location")), (302, Some("/g/1/boot.ipxe")));
    let line = server.wait_for_log("boot gateway=lab-1 generation=1");
    assert!(line.contains("52:54:00:12:34:56") && line.contains("2.0.0"), "{line}");

    let script = server.get(&state, "/g/1/boot.ipxe").text();
    let (prelude, operators) = script.split_at(script.len() - "#!ipxe\nboot\n".len());
    assert_eq!(operators, "#!ipxe\nboot\n");
    let fingerprint = state.json(&["gateway", "show", "lab-1"])["certificates"][0]["fingerprint"]
        .as_str()
        .unwrap()
        .to_owned();
    for line in [
        "#!ipxe",
        "set gateway:string lab-1 ||",
        "set gateway_name lab-1 ||",
        &format!("set fingerprint {fingerprint} ||"),
        &format!("set client_cert_fingerprint {fingerprint} ||"),
        "set generation 1 ||",
    ] {
        assert!(prelude.lines().any(|found| found == line), "{line} is not in {prelude}");
    }
    assert_eq!(server.get(&state, "/g/1/vmlinuz").body, kernel);

    // A boot that has begun stays with its generation.
    state.publish("lab-1", 10);
    assert_eq!(server.get(&state, "/g/1/vmlinuz").body, kernel);
    assert_eq!(server.get(&state, "/files/vmlinuz").body.len(), 10);
    assert_eq!(server.get(&state, "/boot/ipxe").header("location"), Some("/g/2/boot.ipxe"));
}

#[test]
fn both_doors_give_the_same_answers() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 1000);
    let server = TestServer::start(&state);
    let (certificate, _) = state.credentials("lab-1");
    let nginx = nginx_headers(&certificate);
    for (path, headers) in [
        ("/boot/ipxe", ""),
        ("/g/1/boot.ipxe", ""),
        ("/g/1/vmlinuz", ""),
        ("/g/1/vmlinuz", "Range: bytes=990-\r\n"),
        ("/g/1/vmlinuz", "Range: bytes=1000-\r\n"),
        ("/g/1/vmlinuz", "Range: bytes=0-1,4-5\r\n"),
        ("/g/2/vmlinuz", ""),
        ("/g/1/nothing", ""),
        ("/nothing", ""),
    ] {
        let mut tls = server.get_with(&state, path, headers);
        let mut unix = server.get_unix(path, &format!("{headers}{nginx}"));
        tls.headers.retain(|(name, _)| name != "date");
        unix.headers.retain(|(name, _)| name != "date");
        assert_eq!((tls.status, &tls.headers), (unix.status, &unix.headers), "{path} {headers}");
        assert_eq!(tls.body, unix.body, "{path} {headers}");
    }
}

#[test]
fn ranges_tags_and_head() {
    let state = TestState::with_gateway();
    let kernel = state.publish("lab-1", 300_000);
    let server = TestServer::start(&state);
    let path = "/g/1/vmlinuz";
    let whole = server.get(&state, path);
    let tag = whole.header("etag").unwrap().to_owned();
    assert_eq!((whole.status, whole.header("content-length")), (200, Some("300000")));

    let part = server.get_with(&state, path, "Range: bytes=131071-200000\r\n");
    assert_eq!((part.status, &part.body[..]), (206, &kernel[131_071..=200_000]));
    assert_eq!(part.header("content-range"), Some("bytes 131071-200000/300000"));
    assert_eq!(part.header("content-length"), Some("68930"));

    let resumed = format!("Range: bytes=299999-\r\nIf-Range: {tag}\r\n");
    assert_eq!(server.get_with(&state, path, &resumed).body, kernel[299_999..]);
    let stale = "Range: bytes=299999-\r\nIf-Range: \"old\"\r\n";
    assert_eq!(server.get_with(&state, path, stale).body, kernel);

    let known = server.get_with(&state, path, &format!("If-None-Match: {tag}\r\n"));
    assert_eq!((known.status, known.body.len()), (304, 0));
    assert_eq!(known.header("etag"), Some(&*tag));

    let beyond = server.get_with(&state, path, "Range: bytes=300000-\r\n");
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */300000")));

    let stream = server.tls(&state, Some(state.credentials("lab-1")));
    let head = request(stream, "HEAD", path, "").unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some("300000"));
    assert_eq!(head.header("etag"), Some(&*tag));

    let stream = server.tls(&state, Some(state.credentials("lab-1")));
    assert_eq!(request(stream, "POST", path, "").unwrap().status, 405);
}

#[test]
fn no_path_leads_out_of_a_generation() {
    let state = TestState::with_gateway();
    state.ok(&["gateway", "add", "lab-2"]);
    let folder = state.folder(
        "f",
        &[("boot.ipxe", b"#!ipxe\nboot\n"), ("sub/a", b"A"), ("secrets", b"KEY=${s3_access_key}")],
    );
    state.ok(&["publish", "lab-1", folder.to_str().unwrap()]);
    state.publish("lab-2", 10);
    state.publish("lab-2", 10);
    let server = TestServer::start(&state);
    assert_eq!(server.get(&state, "/g/1/sub/a").body, b"A");
    for path in [
        "/g/1/../../farmgate.toml",
        "/g/1/%2e%2e/%2e%2e/farmgate.toml",
        "/g/1/sub/../boot.ipxe",
        "/g/1/sub%2f..%2fboot.ipxe",
        "/g/1//etc/passwd",
        "/g/1/%2fetc%2fpasswd",
        "/g/1/boot.ipxe%00",
        "/g/1/sub",
        "/g/1/sub/",
        "/g/1/",
        "/g/1/.",
        "/g/1/secrets",
        "/files/secrets",
        "/g/2/vmlinuz",
        "/g/-1/boot.ipxe",
        "/g/+1/boot.ipxe",
        "/g/18446744073709551616/boot.ipxe",
        "/g/%31%00/boot.ipxe",
        "/files/",
        "/files/..%5cboot.ipxe",
        "/",
    ] {
        let reply = server.get(&state, path);
        assert!([400, 404].contains(&reply.status), "{path}: {}", reply.status);
        assert!(reply.body.len() < 64, "{path}: {}", reply.text());
    }
}

#[test]
fn who_proves_nothing_gets_nothing() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 10);
    let server = TestServer::start(&state);
    let (certificate, _) = state.credentials("lab-1");
    let good = nginx_headers(&certificate);

    // Through own TLS, headers about certificates mean nothing.
    for headers in ["", &good] {
        let stream = server.tls(&state, None);
        assert_eq!(request(stream, "GET", "/boot/ipxe", headers).unwrap().status, 403);
    }
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);

    // Another CA's certificate does not get through the handshake.
    let other = TestState::with_gateway();
    let stream = server.tls(&state, Some(other.credentials("lab-1")));
    assert!(request(stream, "GET", "/boot/ipxe", "").is_err());
    server.wait_for_log("TLS handshake failed");
}

#[test]
fn the_headers_of_nginx_are_verified_again() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 10);
    let server = TestServer::start(&state);
    let good = nginx_headers(&state.credentials("lab-1").0);
    let (verify, certificate) = good.split_once("\r\n").unwrap();
    assert_eq!(server.get_unix("/boot/ipxe", &good).status, 302);

    let other = TestState::with_gateway();
    let foreign = nginx_headers(&other.credentials("lab-1").0);
    let servers_own = nginx_headers(&state.dir().join("pki/server.crt"));
    let ca = nginx_headers(&state.dir().join("pki/ca.crt"));
    let huge = format!("{verify}\r\nX-SSL-Client-Cert: {}\r\n", "A".repeat(30_000));
    for (what, headers) in [
        ("nothing", String::new()),
        ("no verdict", certificate.to_owned()),
        ("no certificate", format!("{verify}\r\n")),
        ("failed", good.replace("SUCCESS", "FAILED:certificate has expired")),
        ("two verdicts", format!("{verify}\r\n{good}")),
        ("two certificates", format!("{good}{certificate}")),
        ("of another CA", foreign),
        ("the server's own", servers_own),
        ("the CA's", ca),
        ("rubbish", format!("{verify}\r\nX-SSL-Client-Cert: rubbish%\r\n")),
        ("escaped twice", good.replace('%', "%25")),
        ("a NUL at the end", good.replacen("\r\n", "%00\r\n", 2)),
        ("long", huge),
        ("a fingerprint", format!("{verify}\r\nX-SSL-Client-Fingerprint: {}\r\n", "a".repeat(40))),
    ] {
        let reply = server.get_unix("/boot/ipxe", &headers);
        assert_eq!((reply.status, &*reply.text()), (403, "403 Forbidden\n"), "{what}");
    }
    let megabyte = format!("{verify}\r\nX-SSL-Client-Cert: {}\r\n", "A".repeat(1024 * 1024));
    assert_eq!(server.get_unix("/boot/ipxe", &megabyte).status, 431);
    assert_eq!(server.get_unix("/boot/ipxe", &good).status, 302, "and it still serves");
}

#[test]
fn revocation_counts_from_the_next_request_on_an_open_connection() {
    use std::io::Read;
    use std::io::Write;
    let state = TestState::with_gateway();
    state.publish("lab-1", 10);
    let server = TestServer::start(&state);
    let mut stream = server.tls(&state, Some(state.credentials("lab-1")));
    let mut ask = || {
        stream.write_all(b"HEAD /files/vmlinuz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap()
    };
    assert!(ask().starts_with("HTTP/1.1 200"));
    state.ok(&["gateway", "revoke", "lab-1"]);
    assert!(ask().starts_with("HTTP/1.1 403"));
    server.wait_for_log("of gateway lab-1 is revoked");
}

#[test]
fn behind_nginx_assets_are_left_to_nginx_and_scripts_are_not() {
    let state = TestState::with_gateway();
    state.publish("lab-1", 1000);
    state.set_listen("accel = \"/farmgate-blobs\"");
    let server = TestServer::start(&state);
    let nginx = nginx_headers(&state.credentials("lab-1").0);
    let asset = server.get_unix("/g/1/vmlinuz", &nginx);
    let tag = asset.header("etag").unwrap().trim_matches('"');
    let location = format!("/farmgate-blobs/{}/{tag}", &tag[..2]);
    assert_eq!(asset.header("x-accel-redirect"), Some(&*location));
    assert!(asset.body.is_empty());
    let known = server.get_unix("/g/1/vmlinuz", &format!("{nginx}If-None-Match: \"{tag}\"\r\n"));
    assert_eq!((known.status, known.header("x-accel-redirect")), (304, None));
    assert!(server.get_unix("/g/1/boot.ipxe", &nginx).text().ends_with("boot\n"));
    // The other door sends everything itself.
    assert_eq!(server.get(&state, "/g/1/vmlinuz").body.len(), 1000);
}

#[test]
fn a_second_server_and_a_foreign_file_are_left_alone() {
    let state = TestState::with_gateway();
    let server = TestServer::start(&state);
    let socket = server.unix.to_str().unwrap().to_owned();
    let error = state.fails(&["serve", "--unix", &socket]);
    assert!(error.contains("another server is listening"), "{error}");
    UnixStream::connect(&socket).unwrap();
    drop(server);
    // What a killed server leaves behind does not stop the next one.
    let server = TestServer::start(&state);
    drop(server);
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "precious").unwrap();
    assert!(state.fails(&["serve", "--unix", &socket]).contains("not a socket"));
    assert_eq!(std::fs::read(&socket).unwrap(), b"precious");
}

#[test]
fn nowhere_to_listen_is_said() {
    let state = TestState::new();
    state.set_listen("");
    assert!(state.fails(&["serve"]).contains("nowhere to listen"));
}

#[test]
fn the_socket_is_for_owner_and_group() {
    use std::os::unix::fs::PermissionsExt;
    let state = TestState::new();
    let server = TestServer::start(&state);
    let mode = std::fs::metadata(&server.unix).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}
