//! System calls of a script request on a kept connection. Noise cannot move this number.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;

use crate::client::Connection;
use crate::client::Gateway;
use crate::results::Results;
use crate::say;
use crate::servers::Server;
use crate::servers::program;

const FEW: u32 = 200;
const MANY: u32 = 1200;

/// Calls of all kinds, and those to `futex`.
struct Calls {
    total: f64,
    futex: f64,
}

pub(crate) fn run(
    server: &Server,
    gateway: &Gateway,
    dir: &Path,
    results: &mut Results,
) -> Result<()> {
    let Some(strace) = program("FARMGATE_STRACE", "strace") else {
        say("SKIPPED: system calls are not counted without strace (apt-get install strace)");
        return Ok(());
    };
    say("counting system calls");
    let mut connection = Connection::open(gateway, server.port)?;
    for _ in 0..FEW {
        connection.fetch(&server.script)?;
    }
    let out = dir.join("strace");
    let mut count = |requests: u32| -> Result<Calls> {
        let tracer = attach(&strace, server, &out)?;
        for _ in 0..requests {
            connection.fetch(&server.script)?;
        }
        detach(tracer)?;
        let table = fs::read_to_string(&out).context("strace wrote nothing")?;
        read(&table).with_context(|| format!("cannot read what strace counted:\n{table}"))
    };
    // Of two counts the difference: neither attaching nor what goes on beside is in it.
    let (few, many) = match count(FEW).and_then(|few| Ok((few, count(MANY)?))) {
        Ok(counts) => counts,
        Err(error) => {
            say(&format!("SKIPPED: system calls cannot be counted (root may): {error:#}"));
            return Ok(());
        }
    };
    let each = |few: f64, many: f64| (many - few) / f64::from(MANY - FEW);
    for (kind, few, many) in [("total", few.total, many.total), ("futex", few.futex, many.futex)] {
        results.single.push((
            format!("syscalls {kind}, {}", server.name),
            each(few, many),
            "calls",
        ));
    }
    Ok(())
}

fn attach(strace: &Path, server: &Server, out: &Path) -> Result<Child> {
    let mut command = Command::new(strace);
    command.args(["-f", "-c", "-o"]).arg(out);
    for process in &server.processes {
        command.arg("-p").arg(process.id().to_string());
    }
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let began = Instant::now();
    while !server.processes.iter().all(|process| is_traced(process.id())) {
        ensure!(child.try_wait()?.is_none(), "strace cannot attach");
        ensure!(began.elapsed() < Duration::from_secs(10), "strace does not attach");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(child)
}

/// True if all threads of the process have a tracer.
fn is_traced(pid: u32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    tasks.flatten().all(|task| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        tracer.is_some_and(|pid| pid.trim() != "0")
    })
}

fn detach(mut tracer: Child) -> Result<()> {
    kill_process(Pid::from_child(&tracer), Signal::INT)?;
    tracer.wait()?;
    Ok(())
}

/// Columns: % time, seconds, usecs/call, calls, errors (perhaps), syscall.
fn read(table: &str) -> Option<Calls> {
    let calls = |name: &str| {
        let line = table.lines().find(|line| line.split_whitespace().last() == Some(name))?;
        line.split_whitespace().nth(3)?.parse().ok()
    };
    Some(Calls { total: calls("total")?, futex: calls("futex").unwrap_or(0.0) })
}
