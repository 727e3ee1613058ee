//! `make bench-store`: what a shared store costs a boot.
//!
//! Two boot hosts serve the same generation from their disks: one is alone, the other shares it
//! through Garage. Boots of one gateway, from the first request to the acknowledgement, go to
//! one and the other in turns, so that whatever else the machine does hits both.

// Figures are what it is for.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::print_stderr)]
// Of what the tests share, it needs a part.
#![allow(dead_code, unreachable_pub)]

#[path = "../tests/integration/api.rs"]
mod api;
#[path = "../tests/integration/common.rs"]
mod common;
#[path = "../tests/integration/garage.rs"]
mod garage;

use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use common::Reply;
use common::TestServer;
use common::TestState;
use common::edit;
use common::nginx_headers;
use common::request;
use garage::Garage;

const ROUNDS: usize = 9;
const BOOTS: usize = 60;
const KERNEL: usize = 4_000_000;

/// The least that the shared store may give of what the local one does.
const GOAL: f64 = 0.95;

fn main() -> ExitCode {
    let Some(garage) = Garage::with_store(1) else { return ExitCode::SUCCESS };
    let alone = host(None);
    let shared = host(Some(&garage));
    let (one, two) = (TestServer::start(&alone), TestServer::start(&shared));
    let servers = [&one, &two];
    let headers = [&alone, &shared].map(|host| nginx_headers(&host.credentials("lab-1").0));
    let mut ratios = Vec::new();
    println!("{BOOTS} boots, kernel of {KERNEL} bytes: boots per second");
    for round in 0..=ROUNDS {
        let mut times = [Duration::ZERO; 2];
        for boots in 0..BOOTS {
            // Who comes first takes turns too.
            for turn in [boots % 2, (boots + 1) % 2] {
                times[turn] += boot(servers[turn], &headers[turn]);
            }
        }
        let [alone, shared] = times.map(|time| BOOTS as f64 / time.as_secs_f64());
        for server in servers {
            // Nobody reads the log otherwise.
            drop(server.log_so_far());
        }
        // The first one warms up.
        if round > 0 {
            println!("  alone {alone:7.1}   shared {shared:7.1}   ratio {:.3}", shared / alone);
            ratios.push(shared / alone);
        }
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    println!("median ratio {median:.3} (goal: {GOAL} or better)");
    if median >= GOAL { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn host(garage: Option<&Garage>) -> TestState {
    let state = TestState::with_init(&["--key-type", "p256"]);
    if let Some(garage) = garage {
        let store = garage.store_config(0).replace("interval = \"1s\"\n", "");
        edit(&state.dir().join("farmgate.toml"), |text| format!("{text}\n[store]\n{store}\n"));
    }
    state.ok(&["gateway", "add", "lab-1", "--days", "30"]);
    state.publish("lab-1", KERNEL);
    if garage.is_some() {
        state.ok(&["store", "sync"]);
    }
    state
}

/// One boot, and how long it took.
fn boot(server: &TestServer, headers: &str) -> Duration {
    let began = Instant::now();
    let reply = ask(server, "/boot/ipxe", headers);
    let location = reply.header("location").unwrap().to_owned();
    let script = ask(server, &location, headers).text();
    let kernel = ask(server, &location.replace("boot.ipxe", "vmlinuz"), headers);
    assert_eq!(kernel.body.len(), KERNEL);
    let line = script.lines().find(|line| line.starts_with("set ack_url ")).unwrap();
    let (_, token) = line.rsplit_once('/').unwrap();
    ask(server, &format!("/boot/ack/{}", token.trim_end_matches(" ||")), "");
    began.elapsed()
}

fn ask(server: &TestServer, path: &str, headers: &str) -> Reply {
    let stream = UnixStream::connect(&server.unix).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let reply = request(stream, "GET", path, headers).unwrap();
    assert!(reply.status < 400, "{path}: {}", reply.status);
    reply
}
