use std::process::Command;

use crate::common::TestState;

#[test]
fn nginx_takes_it() {
    let state = TestState::new();
    state.set_listen("unix = \"/run/farmgate.sock\"\naccel = \"/farmgate-blobs\"");
    let server_block = state.ok(&["nginx-config", "--listen", "127.0.0.1:8443"]);
    for line in [
        "proxy_set_header X-SSL-Client-Verify $ssl_client_verify;",
        "proxy_set_header X-SSL-Client-Cert $ssl_client_escaped_cert;",
        "ssl_verify_client optional;",
        "location /farmgate-blobs/ {",
        "internal;",
    ] {
        assert!(server_block.contains(line), "{line} is missing in {server_block}");
    }
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("nginx.conf");
    let prefix = dir.path().display();
    let text = format!(
        "pid {prefix}/pid; error_log stderr; events {{}}\n\
         http {{ access_log off; client_body_temp_path {prefix}/a; proxy_temp_path {prefix}/b;\n\
         fastcgi_temp_path {prefix}/c; uwsgi_temp_path {prefix}/d; scgi_temp_path {prefix}/e;\n\
         {server_block} }}\n"
    );
    std::fs::write(&config, text).unwrap();
    let nginx =
        Command::new("nginx").arg("-t").arg("-p").arg(dir.path()).arg("-c").arg(&config).output();
    let output = nginx.expect("nginx is needed for this test: scripts/install-packages brings it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_socket_that_nginx_cannot_name_is_refused() {
    let state = TestState::new();
    assert!(state.ok(&["nginx-config"]).contains("server unix:/run/farmgate.sock "));
    let copies = state.ok(&["nginx-config", "--pki", "/run/copies"]);
    assert!(copies.contains("ssl_crl \"/run/copies/crl.pem\";") && !copies.contains("/pki/"));
    assert!(copies.contains("include \"/run/copies/proxy-mark.conf\";"), "{copies}");
    let mark = state.ok(&["nginx-config", "--pki", "/run/copies", "--proxy-mark", "/run/m"]);
    assert!(mark.contains("include \"/run/m\";") && !mark.contains("proxy-mark.conf"), "{mark}");
    let error = state.fails(&["nginx-config", "--unix", "/run/a b;"]);
    assert!(error.contains("cannot be a socket"), "{error}");
}

/// A client that asks for an address sends no server name. NixOS puts other sites before ours, and one
/// of these used to answer.
#[test]
fn a_boot_host_that_is_an_address_is_the_default_server() {
    let state = TestState::new();
    for (url, expected) in [
        ("https://192.0.2.7", true),
        ("https://[2001:db8::7]:8443", true),
        ("https://boot.example.org", false),
    ] {
        let config = state.dir().join("other.toml");
        std::fs::write(&config, format!("url = \"{url}\"\n")).unwrap();
        let text = state.ok(&["--config", config.to_str().unwrap(), "nginx-config"]);
        let listen: Vec<_> =
            text.lines().filter(|line| line.trim().starts_with("listen")).collect();
        assert_eq!(listen.len(), 2, "{text}");
        assert!(
            listen.iter().all(|line| line.contains("default_server") == expected),
            "{url}: {listen:?}"
        );
    }
}
