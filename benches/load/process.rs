//! Programs that are measured: started on CPU 0, ended when dropped. Their CPU time and memory are
//! read from /proc.

use std::fs;
use std::fs::File;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;

const SERVER_CPU: &str = "0";
const CLIENT_CPU: &str = "1";

/// `sysconf(_SC_CLK_TCK)`: 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

pub(crate) struct Process(Child);

impl Process {
    /// Starts a server. What it prints goes to `log`.
    pub(crate) fn start(command: &Command, log: &Path) -> Result<Self> {
        let out = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        // Both become the program that they start. It ends also when the bench is killed.
        let mut pinned = Command::new("setpriv");
        pinned.args(["--pdeathsig", "TERM", "taskset", "-c", SERVER_CPU]);
        pinned.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                pinned.env(name, value);
            }
        }
        if let Some(dir) = command.get_current_dir() {
            pinned.current_dir(dir);
        }
        pinned.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = pinned.spawn().context("cannot start setpriv (package util-linux)")?;
        Ok(Self(child))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// CPU time of the process and its workers since they started.
    pub(crate) fn cpu_time(&self) -> Duration {
        family(self.id()).into_iter().map(cpu_time).sum()
    }

    /// A line of `/proc/PID/status` in MB (10^6 bytes), such as `VmRSS`.
    pub(crate) fn memory(&self, line: &str) -> Option<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = status.lines().find(|text| text.starts_with(line))?;
        Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? * 1024.0 / 1e6)
    }

    /// A process that has ended has no program any more.
    pub(crate) fn is_running(&self) -> bool {
        fs::read_link(format!("/proc/{}/exe", self.id())).is_ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        for _ in 0..40 {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU time of this program.
pub(crate) fn own_cpu_time() -> Duration {
    cpu_time(std::process::id())
}

/// Moves this thread, and those that it starts, to the CPU of the client. With `realtime`, they
/// and the servers come before all other work of the machine.
pub(crate) fn pin_client(realtime: bool) -> Result<()> {
    let own = std::process::id().to_string();
    util_linux("taskset", &["-p", "-c", CLIENT_CPU, &own]).context("the bench needs two CPUs")?;
    if realtime {
        util_linux("chrt", &["--rr", "-p", "1", &own]).context("REALTIME=1 needs root")?;
    }
    Ok(())
}

fn util_linux(program: &str, args: &[&str]) -> Result<()> {
    let output = Command::new(program).args(args).output();
    let output = output.with_context(|| format!("cannot start {program} (util-linux)"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {}", error.trim());
    Ok(())
}

/// The process and its children: nginx and gunicorn work in children.
fn family(parent: u32) -> Vec<u32> {
    let children = format!("/proc/{parent}/task/{parent}/children");
    let children = fs::read_to_string(children).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    std::iter::once(parent).chain(children).collect()
}

fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in parentheses, may hold anything; utime and stime are the 12th and 13th after it.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let times = after_name.split_whitespace().skip(11).take(2);
    let ticks: f64 = times.filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    Duration::from_secs_f64(ticks / TICKS_PER_SECOND)
}
