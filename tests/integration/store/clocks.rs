//! Boot hosts whose clocks are twenty minutes apart.

use super::Host;
use super::real::ack_path;
use super::records::wait_for;
use super::settle;
use crate::clock;
use crate::common::TestServer;
use crate::common::TestState;
use crate::garage::Garage;

/// One boot of `lab-1` that begins on one host and is acknowledged on the same or another.
/// The number of its generation.
fn boot(begin: &TestServer, acknowledge: &TestServer, keys: &TestState) -> u64 {
    let reply = begin.get(keys, "/boot/ipxe");
    assert_eq!(reply.status, 302, "{}", reply.text());
    let location = reply.header("location").unwrap().to_owned();
    let script = begin.get(keys, &location);
    assert_eq!(begin.get(keys, &location.replace("boot.ipxe", "vmlinuz")).status, 200);
    assert_eq!(acknowledge.get_unix(&ack_path(&script), "").status, 200);
    location.split('/').nth(2).unwrap().parse().unwrap()
}

fn current(host: &Host) -> Option<u64> {
    host.history().current().map(|generation| generation.number)
}

#[test]
fn hosts_whose_clocks_differ_agree_and_lose_nothing() {
    let (Some(ahead), Some(behind)) = (clock::shifted("+10m"), clock::shifted("-10m")) else {
        return;
    };
    let Some(garage) = Garage::with_store(1) else { return };
    let mut a = Host::first(&garage.store_config(0));
    a.test.env = ahead;
    // Signed in what is the future of the other host.
    a.test.ok(&["gateway", "renew", "lab-1"]);
    let mut b = a.another();
    b.test.env = behind;
    let (mut one, mut two) = (TestServer::start(&a.test), TestServer::start(&b.test));

    let mut boots = 0;
    for (command, host, number) in [
        ("publish", &a, 1),
        ("publish", &b, 2),
        ("rollback", &a, 1),
        ("rollback", &b, 2),
        ("publish", &a, 3),
        ("rollback", &b, 2),
    ] {
        if command == "publish" {
            host.test.publish("lab-1", 1000);
        } else {
            host.test.ok(&[command, "lab-1"]);
        }
        assert_eq!(current(host), Some(number));
        wait_for("the change on the other host", || {
            current(&a) == Some(number) && current(&b) == Some(number)
        });
        for (begin, acknowledge) in [(&one, &two), (&two, &one), (&one, &one), (&two, &two)] {
            assert_eq!(boot(begin, acknowledge, &a.test), number);
            boots += 1;
        }
    }
    wait_for("the same on both hosts", || {
        let (here, there) = (a.history(), b.history());
        let acknowledged = here.boots().values().filter(|boot| boot.acknowledged).count();
        here == there && (here.boots().len(), acknowledged) == (boots, boots)
    });
    for host in [&a, &b] {
        assert_eq!(host.test.json(&["generations", "lab-1"])["current"], 2);
    }
    // So does one whose clock is right, and which hears of all at once.
    let c = b.another();
    tokio::runtime::Runtime::new().unwrap().block_on(settle(&[&c]));
    assert_eq!(c.history(), a.history());

    // The clocks did differ.
    let history = a.history();
    let times = || history.boots().values().map(|boot| boot.at);
    let apart = times().max().unwrap() - times().min().unwrap();
    assert!(apart >= time::Duration::minutes(20), "only {apart}");

    // Killed, they would leave memory behind that faketime lets programs share.
    for server in [&mut one, &mut two] {
        server.terminate();
        assert!(server.wait().success());
    }
}
