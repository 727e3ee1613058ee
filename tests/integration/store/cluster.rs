//! `make test-cluster`: three nodes, two boot hosts, and one of each is killed.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use farmgate::identity::pki::KeyType;
use farmgate::identity::pki::Validity;
use farmgate::publish;
use farmgate::store::State;
use farmgate::store::gateways::Record;
use farmgate::store::generations::Generations;
use rustix::process::Signal;
use time::OffsetDateTime;

use super::Host;
use super::real::ack_path;
use crate::common::PATIENCE;
use crate::common::Reply;
use crate::common::TestServer;
use crate::common::edit;
use crate::common::nginx_headers;
use crate::common::request;
use crate::garage::Garage;

const GATEWAYS: usize = 200;
/// So many boot at the same time.
const AT_ONCE: usize = 20;
/// So many have booted when one host and one node are killed.
const BEFORE: usize = 60;

/// A gateway: its record, and what nginx says of its certificate.
struct Gateway {
    record: Record,
    headers: String,
}

/// Makes gateways without a process for each.
fn add_gateways(host: &Host) -> Vec<Gateway> {
    let state = State::open(&host.test.dir(), None).unwrap();
    let authority = state.authority().unwrap();
    let now = OffsetDateTime::now_utc();
    let validity = Validity {
        not_before: now - time::Duration::DAY,
        not_after: now + time::Duration::days(30),
    };
    let files = [("boot.ipxe", &b"#!ipxe\nboot\n"[..]), ("vmlinuz", &[7; 100_000])];
    let folder = host.test.folder("all", &files);
    let pem = host.test.dir().join("gateway.pem");
    let add = |number: usize| {
        let name = format!("gateway-{number}").parse().unwrap();
        let issued = authority.issue_client(&name, KeyType::P256, validity).unwrap();
        let record = state.gateways().add(&name, &issued.certificate_pem, None, now).unwrap();
        publish::publish(&state, &record, &folder, false, now, &|_| {}).unwrap();
        std::fs::write(&pem, issued.certificate_pem).unwrap();
        Gateway { record, headers: nginx_headers(&pem) }
    };
    (0..GATEWAYS).map(add).collect()
}

fn ask(door: &PathBuf, path: &str, headers: &str) -> io::Result<Reply> {
    let stream = UnixStream::connect(door)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let reply = request(stream, "GET", path, headers)?;
    if reply.status >= 400 {
        return Err(io::Error::other(format!("{path}: {} {}", reply.status, reply.text())));
    }
    Ok(reply)
}

/// What a medium does: begins anew with the next boot host when one does not answer.
fn boot(doors: &[PathBuf; 2], first: usize, gateway: &Gateway) {
    let deadline = Instant::now() + PATIENCE;
    let script = (first..).find_map(|turn| {
        let door = &doors[turn % 2];
        let script = || -> io::Result<Reply> {
            let reply = ask(door, "/boot/ipxe", &gateway.headers)?;
            let location = reply.header("location").unwrap().to_owned();
            let script = ask(door, &location, &gateway.headers)?;
            let kernel = location.replace("boot.ipxe", "vmlinuz");
            assert_eq!(ask(door, &kernel, &gateway.headers)?.body.len(), 100_000);
            Ok(script)
        };
        assert!(Instant::now() < deadline, "{} does not boot", gateway.record.name);
        script().inspect_err(|_| std::thread::sleep(Duration::from_millis(100))).ok()
    });
    let path = ack_path(&script.unwrap());
    let acknowledged = (first..).any(|turn| {
        assert!(Instant::now() < deadline, "{} cannot acknowledge", gateway.record.name);
        ask(&doors[turn % 2], &path, "").is_ok()
    });
    assert!(acknowledged);
}

/// What a log says of other things than boots.
fn only_store(log: &str) -> String {
    let lines = log.lines().filter(|line| !line.contains("boot{") && !line.contains("request{"));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
#[ignore = "three nodes and 200 gateways: make test-cluster"]
fn a_host_and_a_node_die_while_a_fleet_boots() {
    let Some(mut garage) = Garage::with_store(3) else { return };
    let a = Host::first(&garage.store_config(0));
    let b = a.another();
    edit(&b.test.dir().join("farmgate.toml"), |text| {
        let (before, _) = text.split_once("[store]").unwrap();
        format!("{before}[store]\n{}\n", garage.store_config(1))
    });
    let gateways = add_gateways(&a);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let began = Instant::now();
    let histories = |host: &Host| -> Vec<_> {
        let state = State::open(&host.test.dir(), None).unwrap();
        let all = Generations::new(&state);
        gateways.iter().map(|gateway| all.history(&gateway.record.id).unwrap()).collect()
    };
    runtime.block_on(async {
        a.pass().await;
        b.pass().await;
    });
    assert!(histories(&a) == histories(&b), "the hosts do not agree before they begin");
    println!("{GATEWAYS} gateways on both hosts: {:?}", began.elapsed());

    let (mut one, two) = (TestServer::start(&a.test), TestServer::start(&b.test));
    let doors = [a.test.dir().join("http.sock"), b.test.dir().join("http.sock")];
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let Some(gateway) = gateways.get(number) else { break };
                    boot(&doors, number, gateway);
                    done.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        while done.load(Ordering::SeqCst) < BEFORE {
            std::thread::sleep(Duration::from_millis(5));
        }
        one.signal(Signal::KILL);
        one.wait();
        garage.kill(2);
        let booted = done.load(Ordering::SeqCst);
        assert!(booted < GATEWAYS, "they were too quick to be disturbed");
        println!("host 1 and node 3 killed after {booted} boots");
    });
    assert_eq!(done.load(Ordering::SeqCst), GATEWAYS);
    println!("{GATEWAYS} boots complete: {:?}", began.elapsed());

    // The killed host comes back, the node does not.
    let one = TestServer::start(&a.test);
    let began = Instant::now();
    loop {
        let (here, there) = (histories(&a), histories(&b));
        let agree = here == there;
        let acknowledged = |history: &farmgate::store::history::History| {
            history.boots().values().filter(|boot| boot.acknowledged).count()
        };
        if agree && here.iter().all(|history| acknowledged(history) == 1) {
            break;
        }
        let missing = here.iter().filter(|history| acknowledged(history) != 1).count();
        assert!(
            began.elapsed() < 2 * PATIENCE,
            "after a long time the hosts agree: {agree}, and {missing} acknowledgements are missing\n\
             {}\n{}",
            only_store(&one.log_so_far()),
            only_store(&two.log_so_far())
        );
        std::thread::sleep(Duration::from_millis(500));
    }
    println!("both hosts agree, with every acknowledgement once: {:?}", began.elapsed());
}
