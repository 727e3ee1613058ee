use std::path::PathBuf;
use std::sync::Arc;
use std::sync::RwLock;

use farmgate::fleet::Kind;
use proptest::prelude::*;
use proptest::test_runner::Config;
use proptest::test_runner::TestRunner;

use super::Host;
use super::directory;
use super::fake::Answer;
use super::fake::Fake;
use super::records::wait_for;
use super::settle;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Files below `dir`, relative to it.
fn files(dir: &std::path::Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found
}

#[test]
fn what_one_host_publishes_another_serves_with_its_files() {
    let remote = tempfile::tempdir().unwrap();
    let a = Host::first(&directory(remote.path()));
    let b = a.another();
    let kernel = a.test.publish("lab-1", 20_000_000);
    runtime().block_on(async {
        let report = a.pass().await;
        assert_eq!((report.pushed, report.pulled), (2, 0));
        let report = b.pass().await;
        assert_eq!((report.pushed, report.pulled, report.held_back), (0, 2, 0));
        settle(&[&a, &b]).await;
    });
    assert_eq!(a.history(), b.history());
    let history = b.history();
    let asset = history.current().unwrap().asset("vmlinuz").unwrap();
    let path = b.generations.blobs().path(&asset.sha256);
    assert_eq!(std::fs::read(path).unwrap(), kernel);
    // The same layout on both sides.
    let local = a.test.dir().join("store");
    for path in files(remote.path()) {
        let path = path.strip_prefix(remote.path()).unwrap().to_owned();
        assert!(local.join(&path).exists(), "{}", path.display());
    }
}

/// One step of a history: who acts, and what.
#[derive(Clone, Copy, Debug)]
enum Step {
    Boot(bool),
    Acknowledge(bool),
    Activate(bool),
    Pass(bool),
    Restart(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0u8..9, any::<bool>()).prop_map(|(what, who)| match what {
        0..3 => Step::Boot(who),
        3 | 4 => Step::Acknowledge(who),
        5 => Step::Activate(who),
        6 | 7 => Step::Pass(who),
        _ => Step::Restart(who),
    });
    proptest::collection::vec(step, 1..60)
}

#[test]
fn two_hosts_agree_whatever_the_order() {
    let runtime = runtime();
    let mut runner = TestRunner::new(Config { cases: 12, ..Config::default() });
    let result = runner.run(&steps(), |steps| {
        let remote = tempfile::tempdir().unwrap();
        let a = Host::first(&directory(remote.path()));
        let b = a.another();
        a.test.publish("lab-1", 10);
        a.test.publish("lab-1", 20);
        runtime.block_on(settle(&[&a, &b]));
        let mut hosts = [Some(a), Some(b)];
        let mut acknowledged = Vec::new();
        for step in steps {
            let host = |who: bool| usize::from(who);
            match step {
                Step::Boot(who) => {
                    let host = hosts[host(who)].as_ref().unwrap();
                    host.append(Kind::Booted { generation: host.current(), certificate: None });
                }
                Step::Acknowledge(who) => {
                    let host = hosts[host(who)].as_ref().unwrap();
                    let last = host.history().boots().keys().next_back().copied();
                    if let Some(boot) = last {
                        host.append(Kind::Acknowledged { boot });
                        acknowledged.push(boot);
                    }
                }
                Step::Activate(who) => {
                    let host = hosts[host(who)].as_ref().unwrap();
                    let generation = host.history().generations().next().unwrap().id;
                    host.append(Kind::Activated { generation });
                }
                Step::Pass(who) => {
                    runtime.block_on(hosts[host(who)].as_ref().unwrap().pass());
                }
                Step::Restart(who) => {
                    let slot = &mut hosts[host(who)];
                    *slot = slot.take().map(Host::restarted);
                }
            }
        }
        let [Some(a), Some(b)] = &hosts else { unreachable!("both are put back") };
        runtime.block_on(settle(&[a, b]));
        prop_assert_eq!(a.history(), b.history());
        for boot in acknowledged {
            prop_assert!(a.history().boots()[&boot].acknowledged, "an acknowledgement was lost");
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn an_emptied_store_takes_nothing_and_gets_everything_back() {
    let remote = tempfile::tempdir().unwrap();
    let a = Host::first(&directory(remote.path()));
    let b = a.another();
    a.test.publish("lab-1", 1000);
    let runtime = runtime();
    runtime.block_on(settle(&[&a, &b]));
    let before = a.history();
    for name in ["gateways", "blobs"] {
        std::fs::remove_dir_all(remote.path().join(name)).unwrap();
    }
    let (a, b) = (a.restarted(), b.restarted());
    runtime.block_on(settle(&[&a, &b]));
    assert_eq!((&a.history(), &b.history()), (&before, &before));
    let c = a.another();
    runtime.block_on(settle(&[&c]));
    assert_eq!(c.history(), before);
}

#[test]
fn many_events_are_packed_also_by_two_hosts_at_once() {
    let remote = tempfile::tempdir().unwrap();
    let a = Host::first(&directory(remote.path()));
    let b = a.another();
    a.test.publish("lab-1", 1000);
    let runtime = runtime();
    runtime.block_on(settle(&[&a, &b]));
    let current = a.current();
    // Each pass brings fewer than would go as one pack.
    for round in 0..12 {
        for _ in 0..15 {
            let host = if round % 2 == 0 { &a } else { &b };
            let boot = host.append(Kind::Booted { generation: current, certificate: None });
            host.append(Kind::Acknowledged { boot });
        }
        runtime.block_on(async {
            let (first, second) = tokio::join!(a.replica.pass(), b.replica.pass());
            first.unwrap();
            second.unwrap();
        });
    }
    runtime.block_on(settle(&[&a, &b]));
    assert_eq!(a.history(), b.history());
    let there = files(&remote.path().join("gateways")).len();
    assert!(there <= 400, "{there} objects are in the store");
    assert!(a.objects() <= 257 && b.objects() <= 257, "{} {}", a.objects(), b.objects());
    let last = a.history().boots().values().next_back().unwrap().clone();
    assert!(last.acknowledged);
    // Somebody new finds the same.
    let c = a.another();
    runtime.block_on(settle(&[&c]));
    assert_eq!(c.history(), a.history());
}

/// What was written while the store was away goes in few pieces.
#[test]
fn a_long_absence_is_made_good() {
    let remote = tempfile::tempdir().unwrap();
    let a = Host::first(&directory(remote.path()));
    a.test.publish("lab-1", 1000);
    let current = a.current();
    for _ in 0..100 {
        let boot = a.append(Kind::Booted { generation: current, certificate: None });
        a.append(Kind::Acknowledged { boot });
    }
    let b = a.another();
    runtime().block_on(async {
        assert!(a.pass().await.pushed <= 2);
        settle(&[&a, &b]).await;
    });
    assert_eq!(a.history(), b.history());
    assert!(b.history().boots().values().all(|boot| boot.acknowledged));
}

/// After a restart a host knows no more what it has delivered. What is in a pack by now, or decides
/// nothing any more, is not delivered again.
#[test]
fn a_restarted_host_delivers_nothing_twice() {
    let remote = tempfile::tempdir().unwrap();
    let a = Host::first(&directory(remote.path()));
    let b = a.another();
    a.test.publish("lab-1", 1000);
    let runtime = runtime();
    runtime.block_on(settle(&[&a, &b]));
    for _ in 0..10 {
        for host in [&a, &b] {
            for _ in 0..6 {
                let boot =
                    host.append(Kind::Booted { generation: host.current(), certificate: None });
                host.append(Kind::Acknowledged { boot });
            }
            runtime.block_on(host.pass());
        }
    }
    runtime.block_on(settle(&[&a, &b]));
    let there = files(&remote.path().join("gateways")).len();
    assert!(there <= 80, "{there} objects are in the store");
    let before = a.history();
    let (a, b) = (a.restarted(), b.restarted());
    for host in [&a, &b] {
        assert_eq!(runtime.block_on(host.pass()).pushed, 0);
        assert_eq!(host.history(), before);
    }
    // What is new still goes.
    a.append(Kind::Booted { generation: a.current(), certificate: None });
    assert_eq!(runtime.block_on(a.pass()).pushed, 1);
    runtime.block_on(settle(&[&a, &b]));
    assert_eq!(a.history(), b.history());
}

/// What is written here while a pass runs is delivered by the next one.
#[test]
fn what_happens_during_a_pass_is_not_forgotten() {
    let gate = Arc::new(RwLock::new(()));
    let closed = gate.write().unwrap();
    let store = gate.clone();
    let fake = Fake::start(move |request| {
        if request.starts_with("PUT /farm/hosts/gateways/") {
            drop(store.read());
        }
        Answer::well(request)
    });
    let host = Host::first(&fake.store_config());
    host.test.publish("lab-1", 1000);
    let runtime = runtime();
    let replica = host.replica.clone();
    let pass = runtime.spawn(async move { replica.pass().await });
    wait_for("the first event", || fake.asked_for("PUT /farm/hosts/gateways/") > 0);
    let boot = host.append(Kind::Booted { generation: host.current(), certificate: None });
    drop(closed);
    runtime.block_on(pass).unwrap().unwrap();
    assert_eq!(runtime.block_on(host.pass()).pushed, 1);
    let path = format!("PUT /farm/hosts/gateways/{}/{boot}.json", host.id);
    assert_eq!(fake.asked_for(&path), 1);
}
