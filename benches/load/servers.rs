//! Servers to measure: one, or two that work together, each with a port and the same bytes.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::client::Connection;
use crate::client::Gateway;
use crate::process::Process;

const START: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    /// Path of the boot script.
    pub(crate) script: String,
    /// Path of the kernel, where it sends files.
    pub(crate) asset: Option<String>,
    /// True if a gateway can boot from it, and not only ask for files.
    pub(crate) boots: bool,
    pub(crate) processes: Vec<Arc<Process>>,
    /// The file of its messages.
    pub(crate) log: PathBuf,
}

impl Server {
    pub(crate) fn cpu_time(&self) -> Duration {
        self.processes.iter().map(|process| process.cpu_time()).sum()
    }

    fn is_running(&self) -> bool {
        self.processes.iter().all(|process| process.is_running())
    }

    /// The boot script, as soon as the server answers.
    pub(crate) fn wait(&self, gateway: &Gateway) -> Result<Vec<u8>> {
        let began = Instant::now();
        loop {
            let answer =
                Connection::open(gateway, self.port).and_then(|mut c| c.fetch(&self.script));
            match answer {
                Ok(script) => return Ok(script),
                Err(error) if began.elapsed() > START || !self.is_running() => {
                    let log = fs::read_to_string(&self.log).unwrap_or_default();
                    bail!("{} does not answer: {error:#}\n{log}", self.name);
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

/// A program: the one that the variable names, or one in PATH or among the system's programs.
pub(crate) fn program(variable: &str, name: &str) -> Option<PathBuf> {
    if let Some(given) = std::env::var_os(variable).map(PathBuf::from) {
        return given.is_file().then_some(given);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/bin"].map(PathBuf::from);
    let dirs = std::env::split_paths(&path).chain(system);
    dirs.map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port is free")?;
    Ok(listener.local_addr()?.port())
}
