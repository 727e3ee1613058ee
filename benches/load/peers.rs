//! nginx, Caddy, Apache, and a Flask application behind nginx, with the configurations in
//! benches/peers. Whichever is not installed is left out, and said to be.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;

use crate::fleet::PLAIN;
use crate::process::Process;
use crate::say;
use crate::servers::Server;
use crate::servers::free_port;
use crate::servers::program;

pub(crate) const NGINX_ALONE: &str = "nginx alone";

/// The values for the templates of configurations.
pub(crate) struct Site<'a> {
    /// For configurations, logs and process ids.
    pub(crate) dir: &'a Path,
    /// The files that are sent.
    pub(crate) files: &'a Path,
    /// The fleet's certificates.
    pub(crate) pki: &'a Path,
}

impl Site<'_> {
    /// Fills in a configuration of benches/peers, and writes it as `name`.
    fn write(&self, name: &str, text: &str, more: &[(&str, &str)]) -> Result<PathBuf> {
        let path = self.dir.join(name);
        let mut text = text.to_owned();
        for (place, value) in more {
            text = text.replace(&format!("@{place}@"), value);
        }
        let dirs = [("DIR", self.dir), ("FILES", self.files), ("PKI", self.pki)];
        for (place, value) in dirs {
            text = text.replace(&format!("@{place}@"), &value.display().to_string());
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn start(&self, name: &str, command: Command) -> Result<Arc<Process>> {
        Ok(Arc::new(Process::start(&command, &self.log(name))?))
    }

    /// The file for the messages of a server.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }

    /// An nginx with these server blocks.
    pub(crate) fn nginx(
        &self,
        name: &str,
        blocks: &str,
        more: &[(&str, &str)],
    ) -> Result<Arc<Process>> {
        let nginx = nginx().context("nginx is not installed")?;
        let user = if is_root() { "user root;" } else { "" };
        let frame = include_str!("../peers/nginx.conf").replace("@SERVERS@", blocks);
        let tls = include_str!("../peers/nginx-tls.conf");
        let more = [&[("TLS", tls), ("NAME", name), ("USER", user)], more].concat();
        let config = self.write(&format!("{name}.conf"), &frame, &more)?;
        let mut command = Command::new(nginx);
        command.arg("-p").arg(self.dir).arg("-c").arg(config);
        self.start(name, command)
    }

    pub(crate) fn nginx_alone(&self) -> Result<Server> {
        let port = free_port()?;
        let blocks = include_str!("../peers/nginx-alone.conf");
        let process = self.nginx("nginx-alone", blocks, &[("PORT", &port.to_string())])?;
        let files = self.files_server(NGINX_ALONE, port, vec![process], "nginx-alone");
        Ok(Server { boots: true, ..files })
    }

    pub(crate) fn caddy(&self) -> Result<Server> {
        let port = free_port()?;
        let text = include_str!("../peers/Caddyfile");
        let config = self.write("Caddyfile", text, &[("PORT", &port.to_string())])?;
        let mut command = Command::new(program("FARMGATE_CADDY", "caddy").context("no caddy")?);
        command.env("HOME", self.dir).args(["run", "--adapter", "caddyfile", "--config"]);
        command.arg(config);
        let process = self.start("caddy", command)?;
        Ok(self.files_server("Caddy", port, vec![process], "caddy"))
    }

    pub(crate) fn apache(&self) -> Result<Server> {
        let port = free_port()?;
        let user = if is_root() { "User nobody\nGroup nogroup" } else { "" };
        let more = [("PORT", &*port.to_string()), ("USER", user)];
        let config = self.write("apache.conf", include_str!("../peers/apache.conf"), &more)?;
        let mut command =
            Command::new(program("FARMGATE_APACHE", "apache2").context("no apache2")?);
        command.arg("-X").arg("-f").arg(config);
        let process = self.start("apache", command)?;
        Ok(self.files_server("Apache", port, vec![process], "apache"))
    }

    /// The application renders `script`, and counts nothing.
    pub(crate) fn flask(&self, script: &[u8]) -> Result<Server> {
        let (port, inner) = (free_port()?, free_port()?.to_string());
        self.write("app.py", include_str!("../peers/app.py"), &[])?;
        fs::write(self.dir.join("script"), script)?;
        let mut command = Command::new(gunicorn().context("no gunicorn")?.0);
        command.args(["-w", "1", "-k", "sync", "-b", &format!("127.0.0.1:{inner}"), "app:app"]);
        command.current_dir(self.dir).env("SCRIPT", self.dir.join("script"));
        let application = self.start("gunicorn", command)?;
        let blocks = include_str!("../peers/nginx-flask.conf");
        let more = [("PORT", &*port.to_string()), ("INNER", &inner)];
        let nginx = self.nginx("nginx-flask", blocks, &more)?;
        Ok(Server {
            script: "/boot/ipxe".to_owned(),
            asset: None,
            ..self.files_server("Flask behind nginx", port, vec![application, nginx], "gunicorn")
        })
    }

    fn files_server(
        &self,
        name: &'static str,
        port: u16,
        processes: Vec<Arc<Process>>,
        log: &str,
    ) -> Server {
        let script = format!("{PLAIN}/boot.ipxe");
        let asset = Some(format!("{PLAIN}/vmlinuz"));
        Server { name, port, script, asset, boots: false, processes, log: self.log(log) }
    }

    /// All that are installed.
    pub(crate) fn start_all(&self, script: &[u8]) -> Result<Vec<Server>> {
        let mut servers = Vec::new();
        // Without nginx there is nothing to compare with.
        if installed("nginx", nginx(), "nginx") {
            servers.push(self.nginx_alone()?);
        }
        if installed("Caddy", program("FARMGATE_CADDY", "caddy"), "caddy") {
            servers.push(self.caddy()?);
        }
        if installed("Apache", program("FARMGATE_APACHE", "apache2"), "apache2-bin") {
            servers.push(self.apache()?);
        }
        if installed("Flask", nginx().filter(|_| has_flask()), "gunicorn python3-flask nginx") {
            servers.push(self.flask(script)?);
        }
        Ok(servers)
    }
}

pub(crate) fn nginx() -> Option<PathBuf> {
    program("FARMGATE_NGINX", "nginx")
}

/// The gunicorn that is installed, and the Python that runs it.
pub(crate) fn gunicorn() -> Option<(PathBuf, PathBuf)> {
    let gunicorn = program("FARMGATE_GUNICORN", "gunicorn")?;
    let text = fs::read_to_string(&gunicorn).ok()?;
    let python = text.lines().next()?.strip_prefix("#!")?.trim().into();
    Some((gunicorn, python))
}

fn has_flask() -> bool {
    let Some((_, python)) = gunicorn() else { return false };
    let imported = Command::new(python).args(["-c", "import flask"]).output();
    imported.is_ok_and(|output| output.status.success())
}

fn installed(name: &str, program: Option<PathBuf>, packages: &str) -> bool {
    if program.is_none() {
        say(&format!(
            "SKIPPED: {name} is not installed (apt-get install --no-install-recommends {packages})"
        ));
    }
    program.is_some()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
