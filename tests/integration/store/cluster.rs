//! Three nodes, two boot hosts, and one of each is killed. `make test-cluster` runs just this,
//! and shows how long it all took.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;

use super::Host;
use super::fleet::Gateway;
use super::fleet::KERNEL;
use super::fleet::acknowledged;
use super::fleet::add_gateways;
use super::fleet::histories;
use super::real::ack_path;
use crate::common::PATIENCE;
use crate::common::Reply;
use crate::common::TestServer;
use crate::common::edit;
use crate::common::request;
use crate::garage::Garage;

const GATEWAYS: usize = 200;
/// So many boot at the same time.
const AT_ONCE: usize = 20;
/// So many have booted when one host and one node are killed.
const BEFORE: usize = 60;

fn ask(door: &PathBuf, path: &str, headers: &str) -> io::Result<Reply> {
    let stream = UnixStream::connect(door)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let reply = request(stream, "GET", path, headers)?;
    if reply.status >= 400 {
        return Err(io::Error::other(format!("{path}: {} {}", reply.status, reply.text())));
    }
    // The host was killed in the middle of its answer.
    let length = reply.header("content-length").and_then(|length| length.parse().ok());
    if length.is_some_and(|length: usize| length != reply.body.len()) {
        return Err(io::ErrorKind::UnexpectedEof.into());
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
            assert_eq!(ask(door, &kernel, &gateway.headers)?.body.len(), KERNEL);
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
fn a_host_and_a_node_die_while_a_fleet_boots() {
    let Some(mut garage) = Garage::with_store(3) else { return };
    let a = Host::first(&garage.store_config(0));
    let b = a.another();
    edit(&b.test.dir().join("farmgate.toml"), |text| {
        let (before, _) = text.split_once("[store]").unwrap();
        format!("{before}[store]\n{}\n", garage.store_config(1))
    });
    let gateways = add_gateways(&a, GATEWAYS);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let began = Instant::now();
    runtime.block_on(async {
        a.pass().await;
        b.pass().await;
    });
    assert!(
        histories(&a, &gateways) == histories(&b, &gateways),
        "the hosts do not agree before they begin"
    );
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
        let (here, there) = (histories(&a, &gateways), histories(&b, &gateways));
        let agree = here == there;
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
