//! `make bench`: farmgate beside what a user would put in its place, and the figures that only it
//! has. docs/performance.md says what each of them means.
//!
//! Servers run on CPU 0, this client on CPU 1. Everything is under target/bench, and the files for
//! other servers in the system's directory for temporary files; connections go over the loopback.

// Figures are what it is for.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod boot;
mod bytes;
mod client;
mod compare;
mod drive;
mod farmgate;
mod flat;
mod fleet;
mod generation;
mod large;
mod machine;
mod memory;
mod options;
mod peers;
mod process;
mod results;
mod servers;
mod state;
mod syscalls;
mod table;
mod targets;
mod window;
mod wire;

use std::fs;
use std::fs::File;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use serde_json::json;

use crate::farmgate::Farmgate;
use crate::fleet::Fleet;
use crate::options::Options;
use crate::peers::Site;
use crate::results::Results;
use crate::servers::free_port;
use crate::targets::OWN_TLS;

/// Prefix of the names of directories for one run.
const RUN: &str = "run-";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let options = Options::from_environment()?;
    fs::create_dir_all(&options.dir)?;
    let _alone = alone(&options.dir)?;
    let machine = machine::json(&options);
    let run = tempfile::Builder::new().prefix(RUN).tempdir_in(&options.dir)?;
    let mut results = Results::default();
    // What is kept for later runs is made before, on both CPUs.
    if options.compares() || options.wants("syscalls") {
        fleet::kept(&options)?;
    }
    process::pin_client(options.realtime)?;
    if options.compares() || options.wants("syscalls") {
        with_peers(&options, run.path(), &mut results)?;
    }
    if options.wants("flat") {
        flat::run(&options, run.path(), &mut results)?;
    }
    if options.wants("memory") {
        memory::run(&options, run.path(), &mut results)?;
    }
    let targets = targets::targets(&results);
    let path = options.dir.join("results.json");
    let document = json!({
        "machine": machine,
        "rounds": options.rounds,
        "sample_ms": options.sample.as_millis() as u64,
        "results": results.json(),
        "targets": targets.iter().map(targets::Target::json).collect::<Vec<_>>(),
    });
    fs::write(&path, serde_json::to_vec_pretty(&document)?)?;
    print!("{}", table::table(&results, &targets));
    say(&format!("all samples, the machine and the versions: {}", path.display()));
    Ok(())
}

/// Two benches at once would measure each other. Whoever is alone removes what killed ones left.
fn alone(dir: &Path) -> Result<File> {
    let lock = File::create(dir.join("lock"))?;
    lock.try_lock().context("another bench is running")?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(RUN) {
            process::end_all_of(&entry.path())?;
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(lock)
}

/// Everything that is measured on the fleet with real keys.
fn with_peers(options: &Options, run: &Path, results: &mut Results) -> Result<()> {
    let fleet = Fleet::prepare(options, run)?;
    let farmgate = Farmgate::start(&fleet.state, &options.farmgate, OWN_TLS)?;
    // Apache's workers give up root, and must be able to read it.
    let files = tempfile::Builder::new().prefix("farmgate-bench-").tempdir()?;
    fs::set_permissions(files.path(), Permissions::from_mode(0o755))?;
    let script = bytes::fetch(&farmgate, &fleet, files.path())?;
    if options.wants("syscalls") {
        syscalls::run(&farmgate.own_tls, fleet.full(0), run, results)?;
    }
    if !options.compares() {
        return Ok(());
    }
    let site = Site { dir: run, files: files.path(), pki: &fleet.state.dir.join("pki") };
    let mut servers = site.start_all(&script)?;
    if peers::nginx().is_some() {
        let port = free_port()?;
        let blocks = farmgate.nginx_config(&fleet.state, port)?;
        servers.insert(0, farmgate.behind(port, site.nginx("nginx-farmgate", &blocks, &[])?));
    }
    for server in &servers {
        bytes::compare(server, &fleet, &script)?;
    }
    servers.insert(0, farmgate.own_tls);
    compare::run(options, &servers, &fleet, results)
}

/// Tells whoever waits.
fn say(text: &str) {
    eprintln!("bench: {text}");
}
