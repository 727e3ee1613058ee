//! farmgate itself: with own TLS, and behind nginx with what `farmgate nginx-config` prints.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;

use crate::fleet::PLAIN;
use crate::process::Process;
use crate::servers::Server;
use crate::servers::free_port;
use crate::state::State;
use crate::targets::BEHIND;

/// One server, with both doors open.
pub(crate) struct Farmgate {
    pub(crate) own_tls: Server,
    socket: PathBuf,
}

impl Farmgate {
    pub(crate) fn start(state: &State, program: &Path, name: &'static str) -> Result<Self> {
        let port = free_port()?;
        let beside = |suffix: &str| state.dir.with_extension(suffix);
        let (socket, log) = (beside("sock"), beside("log"));
        let mut command = Command::new(program);
        command.arg("--state").arg(&state.dir).arg("serve");
        command.arg("--tls").arg(format!("127.0.0.1:{port}")).arg("--unix").arg(&socket);
        let process = Arc::new(Process::start(&command, &log)?);
        let own_tls = server(name, port, vec![process], log);
        Ok(Self { own_tls, socket })
    }

    /// The server block for an nginx that listens on `port`.
    ///
    /// All gateways of the bench have one address, which may ask for 20 tokens a second: that
    /// limit is raised. Connections to farmgate are kept, also where the configuration does not.
    pub(crate) fn nginx_config(&self, state: &State, port: u16) -> Result<String> {
        let listen = format!("127.0.0.1:{port}");
        let socket = self.socket.to_str().context("a path that is not UTF-8")?;
        let text = state.run(&["nginx-config", "--listen", &listen, "--unix", socket])?;
        let text = text.replace("rate=20r/s", "rate=100000r/s");
        if text.lines().any(|line| line.trim_start().starts_with("keepalive ")) {
            return Ok(text);
        }
        Ok(text.replacen("max_fails=0;", "max_fails=0;\n    keepalive 16;", 1))
    }

    /// The same server through that nginx.
    pub(crate) fn behind(&self, port: u16, nginx: Arc<Process>) -> Server {
        let processes = vec![self.own_tls.processes[0].clone(), nginx];
        server(BEHIND, port, processes, self.own_tls.log.clone())
    }
}

fn server(name: &'static str, port: u16, processes: Vec<Arc<Process>>, log: PathBuf) -> Server {
    let script = format!("{PLAIN}/boot.ipxe");
    let asset = Some(format!("{PLAIN}/vmlinuz"));
    Server { name, port, script, asset, boots: true, processes, log }
}
