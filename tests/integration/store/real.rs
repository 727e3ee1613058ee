//! The same with a real store.

use farmgate::fleet::History;
use farmgate::fleet::Kind;

use super::Host;
use super::fleet::Gateway;
use super::fleet::KERNEL;
use super::fleet::acknowledged;
use super::fleet::add_gateways;
use super::fleet::histories;
use super::records::wait_for;
use super::settle;
use crate::common::Reply;
use crate::common::TestServer;
use crate::common::nginx_headers;
use crate::common::setting_path;
use crate::garage::Garage;

/// A whole boot, from the first request to the acknowledgement.
fn boot(server: &TestServer, gateway: &Gateway) {
    let reply = server.get_unix("/boot/ipxe", &gateway.headers);
    assert_eq!(reply.status, 302, "{}", reply.text());
    let script = reply.header("location").unwrap().to_owned();
    let reply = server.get_unix(&script, &gateway.headers);
    assert_eq!(reply.status, 200);
    let kernel = server.get_unix(&script.replace("boot.ipxe", "vmlinuz"), &gateway.headers);
    assert_eq!((kernel.status, kernel.body.len()), (200, KERNEL));
    assert_eq!(server.get_unix(&ack_path(&reply), "").status, 200);
}

/// Where the prelude of a boot script says that the system acknowledges.
pub(super) fn ack_path(script: &Reply) -> String {
    setting_path(&script.text(), "ack_url").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hosts_agree_over_garage() {
    let Some(garage) = Garage::with_store(1) else { return };
    let a = Host::first(&garage.store_config(0));
    let b = a.another();
    // Large enough to go in parts.
    let kernel = a.test.publish("lab-1", 20_000_000);
    settle(&[&a, &b]).await;
    assert_eq!(a.history(), b.history());
    let asset = b.history().current().unwrap().asset("vmlinuz").unwrap().clone();
    let path = b.generations.blobs().path(&asset.sha256);
    assert_eq!(std::fs::read(path).unwrap(), kernel);

    // Both write, pass and pack at the same time.
    let current = a.current();
    for round in 0..12 {
        for _ in 0..15 {
            let host = if round % 2 == 0 { &a } else { &b };
            let boot = host.append(Kind::Booted { generation: current, certificate: None });
            host.append(Kind::Acknowledged { boot });
        }
        let (first, second) = tokio::join!(a.replica.pass(), b.replica.pass());
        first.unwrap();
        second.unwrap();
    }
    settle(&[&a, &b]).await;
    assert_eq!(a.history(), b.history());
    let c = a.another();
    settle(&[&c]).await;
    assert_eq!(c.history(), a.history());
    assert!(c.objects() <= 257, "{} objects", c.objects());

    // The key is taken away, and given again.
    garage.delete_store_key();
    a.append(Kind::Booted { generation: current, certificate: None });
    let error = format!("{:#}", a.replica.pass().await.unwrap_err());
    assert!(error.contains("[store] credentials"), "{error}");
}

/// The store is away for as long as a fleet boots, and its boot host restarts twice meanwhile:
/// nobody notices, and nothing is lost.
#[test]
fn gateways_boot_while_the_store_is_away() {
    let Some(mut garage) = Garage::with_store(1) else { return };
    let a = Host::first(&garage.store_config(0));
    let b = a.another();
    let gateways = add_gateways(&a, 25);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(settle(&[&a, &b]));
    garage.kill(0);
    let (before, after) = gateways.split_at(12);
    let server = TestServer::start(&a.test);
    for gateway in before {
        boot(&server, gateway);
    }
    server.wait_for_log("cannot be reached");
    // Killed: what it has not delivered is on its disk only.
    drop(server);
    let server = TestServer::start(&a.test);
    for gateway in after {
        boot(&server, gateway);
    }
    server.wait_for_log("cannot be reached");
    let booted = |history: &History| (history.boots().len(), acknowledged(history));
    assert!(histories(&a, &gateways).iter().all(|history| booted(history) == (1, 1)));
    assert!(histories(&b, &gateways).iter().all(|history| booted(history) == (0, 0)));

    garage.resume(0);
    server.wait_for_log("is back");
    wait_for("what happened meanwhile", || {
        runtime.block_on(b.replica.pass()).is_ok()
            && histories(&a, &gateways) == histories(&b, &gateways)
    });
    for (gateway, history) in gateways.iter().zip(histories(&b, &gateways)) {
        assert_eq!(booted(&history), (1, 1), "{}", gateway.record.name);
    }
}

/// The boot begins on one host and is acknowledged on another, before that has heard of it.
#[test]
fn an_acknowledgement_may_come_to_another_host() {
    let Some(garage) = Garage::with_store(1) else { return };
    let a = Host::first(&garage.store_config(0));
    let b = a.another();
    a.test.publish("lab-1", 1000);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(settle(&[&a, &b]));
    let headers = nginx_headers(&a.test.credentials("lab-1").0);
    let ack = {
        let server = TestServer::start(&a.test);
        let reply = server.get_unix("/boot/ipxe", &headers);
        ack_path(&server.get_unix(reply.header("location").unwrap(), &headers))
    };
    let server = TestServer::start(&b.test);
    for _ in 0..3 {
        assert_eq!(server.get_unix(&ack, "").status, 200);
    }
    // It would deliver behind the back of `settle`, which then ends before the other host has it.
    drop(server);
    runtime.block_on(settle(&[&a, &b]));
    for host in [&a, &b] {
        assert!(host.history().boots().values().next().unwrap().acknowledged);
    }
}
