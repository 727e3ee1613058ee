//! What somebody learns who is refused: the status, and nothing else.

use crate::common::Reply;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::request;

/// All of an answer but its date.
fn shown(reply: Reply) -> (u16, Vec<(String, String)>, String) {
    let text = reply.text();
    let headers = reply.headers.into_iter().filter(|(name, _)| name != "date").collect();
    (reply.status, headers, text)
}

#[test]
fn they_tell_a_stranger_nothing_about_the_fleet() {
    let state = TestState::quick();
    for name in ["lab-2", "lab-3", "lab-4"] {
        state.ok(&["gateway", "add", name]);
    }
    for name in ["lab-1", "lab-3", "lab-4"] {
        state.publish(name, 10);
    }
    let kept = state.folder("kept", &[("x", b"")]);
    let credentials = |name: &str| {
        let (certificate, key) = state.credentials(name);
        let copy = |from: std::path::PathBuf, to: &str| {
            let to = kept.join(format!("{name}.{to}"));
            std::fs::copy(from, &to).unwrap();
            to
        };
        (copy(certificate, "crt"), copy(key, "key"))
    };
    let (live, empty) = (credentials("lab-1"), credentials("lab-2"));
    let (revoked, removed) = (credentials("lab-3"), credentials("lab-4"));
    state.ok(&["gateway", "revoke", "lab-3"]);
    state.ok(&["gateway", "remove", "lab-4"]);
    let server = TestServer::start(&state);
    let ask = |path: &str, who: Option<&(_, _)>| {
        let stream = server.tls(&state, who.cloned());
        shown(request(stream, "GET", path, "").unwrap())
    };

    let refused = ask("/boot/ipxe", None);
    assert_eq!((refused.0, &*refused.2), (403, "403 Forbidden\n"));
    for path in ["/boot/ipxe", "/g/1/boot.ipxe", "/g/7/x", "/files/boot.ipxe", "/files/x"] {
        for who in [None, Some(&revoked), Some(&removed)] {
            assert_eq!(ask(path, who), refused, "{path}");
        }
    }
    // A gateway is told what concerns itself.
    assert_eq!(ask("/boot/ipxe", Some(&live)).0, 302);
    let nothing = ask("/boot/ipxe", Some(&empty));
    assert_eq!((nothing.0, &*nothing.2), (404, "404 Not Found\n"));

    // Whether a token names a gateway that is there makes no difference.
    let record = std::fs::read(state.dir().join("gateways/lab-1/gateway.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let id = record["id"].as_str().unwrap();
    let boot = "0192a8c0-0000-7000-8000-000000000007";
    let digits = "0".repeat(32);
    let unknown = ask("/boot/ack/x", None);
    assert_eq!(unknown.0, 404);
    for path in [
        format!("/boot/ack/{id}.{boot}.{digits}"),
        format!("/boot/ack/{id}.{boot}.0000000000000000.{digits}"),
        format!("/boot/ack/lab-9-00000000.{boot}.0000000000000000.{digits}"),
        format!("/secrets/{}", "A".repeat(43)),
        "/secrets/x".to_owned(),
        "/nothing/here".to_owned(),
    ] {
        assert_eq!(ask(&path, None), unknown, "{path}");
    }
}
