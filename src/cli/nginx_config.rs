//! `farmgate nginx-config`: one nginx configuration for every distribution.

mod template;

use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use self::template::Certificate;
use self::template::Logs;
use self::template::Server;
use super::context::Context;
use super::context::print;
use super::init::SOCKET;
use crate::config::Config;
use crate::identity::pki::KeyType;
use crate::identity::pki::ServerName;
use crate::store::layout;
use crate::store::read_config;

#[derive(clap::Args)]
pub(super) struct NginxConfig {
    /// Address for nginx to listen on [default: the URL's port of all addresses]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Socket of `farmgate serve`, if not listen.unix of the configuration
    #[arg(long, value_name = "PATH")]
    unix: Option<PathBuf>,
    /// Where nginx finds ca.crt, crl.pem, server.crt, server.key and proxy-mark.conf, if it is
    /// never root and has copies
    #[arg(long, value_name = "DIR")]
    pki: Option<PathBuf>,
    /// Where nginx finds proxy-mark.conf, the secret by which farmgate knows it, if not in DIR of
    /// --pki or, without that, in STATE
    #[arg(long, value_name = "FILE")]
    proxy_mark: Option<PathBuf>,
    /// Log these servers' requests and errors to DIR/access.log and DIR/error.log instead of
    /// nginx's own logs. Then no request is logged before it is known to hold no token
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
    /// Certificate of the host in public-url, from a public authority
    #[arg(long, value_name = "FILE", requires = "public_key")]
    public_certificate: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "public_certificate")]
    public_key: Option<PathBuf>,
    /// Also listen here with RSA key exchange, for media whose iPXE is older than 2024 and has no
    /// forward secrecy
    #[arg(long, value_name = "ADDRESS:PORT")]
    legacy_listen: Option<SocketAddr>,
}

impl NginxConfig {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        // With --config no state is needed: it may be on another machine, or not exist yet.
        let config = match &context.config {
            Some(file) => read_config(file)?,
            None => context.state()?.config().clone(),
        };
        // States of earlier versions have none yet.
        if context.state.join(layout::FORMAT).exists() {
            context.state()?.ensure_proxy_mark()?;
        }
        let text = self.render(&config, &context.state)?;
        print(text.as_bytes())
    }

    fn render(&self, config: &Config, state: &Path) -> Result<String> {
        let socket = self.unix.as_deref().or(config.listen.unix.as_deref());
        let state = std::path::absolute(state).context("cannot find the current directory")?;
        let beside = self.pki.as_ref().unwrap_or(&state).join(layout::PROXY_MARK);
        let mark = quoted(self.proxy_mark.as_ref().unwrap_or(&beside))?;
        let pki = self.pki.clone().unwrap_or_else(|| state.join(layout::PKI));
        let pki = |name: &str| quoted(&pki.join(name));
        let logs = match &self.log_dir {
            None => Logs::Inherited,
            Some(dir) => {
                let file = |name: &str| quoted(&dir.join(name));
                Logs::Own { access: file("access.log")?, error: file("error.log")? }
            }
        };
        let server = Server {
            host: config.url.host().to_string(),
            own: Certificate { file: pki("server.crt")?, key: pki("server.key")? },
            ca: pki("ca.crt")?,
            crl: pki("crl.pem")?,
            socket: plain(socket.unwrap_or(Path::new(SOCKET)))?,
            accel: config.listen.accel.as_ref().map(|accel| accel.as_str().to_owned()),
            mark,
            logs,
            blobs: quoted(&state.join("store/blobs/"))?,
        };
        let mut text = template::top(&server);
        // A client that asks for an IP address sends no name (RFC 6066, 3), and gets the default
        // server of the port. That is another site, if nginx has read its configuration first.
        let default = match config.url.host() {
            ServerName::Ip(_) => " default_server",
            ServerName::Dns(_) => "",
        };
        text += &template::gateways(&server, &self.listen(config.url.port(), default));
        if let Some(address) = self.legacy_listen {
            ensure!(
                config.key_type == KeyType::Rsa2048,
                "--legacy-listen is for RSA key exchange, and the keys here are {}",
                config.key_type
            );
            text += &template::legacy(&server, &format!("    listen {address} ssl;\n"));
        }
        match (&config.public_url, &self.public_certificate, &self.public_key) {
            (Some(url), Some(file), Some(key)) => {
                ensure!(
                    url.host() != config.url.host(),
                    "public-url needs a host name of its own: {} is where gateways are told \
                     apart by the fleet's own certificates",
                    url.host()
                );
                let certificate = Certificate { file: quoted(file)?, key: quoted(key)? };
                let (host, listen) = (url.host().to_string(), self.listen(url.port(), ""));
                text += &template::public(&server, &host, &listen, &certificate);
            }
            (None, None, None) => {}
            (Some(url), ..) => bail!(
                "public-url is {url}: give its certificate with --public-certificate \
                 and --public-key"
            ),
            (None, ..) => bail!(
                "--public-certificate is for the host in public-url, which the configuration \
                 does not have"
            ),
        }
        Ok(text)
    }

    fn listen(&self, port: u16, default: &str) -> String {
        match self.listen {
            Some(address) => format!("    listen {address} ssl{default};\n"),
            None => {
                format!("    listen {port} ssl{default};\n    listen [::]:{port} ssl{default};\n")
            }
        }
    }
}

/// Quotes a path for nginx's configuration. Nothing can keep nginx from reading a variable after
/// `$`.
fn quoted(path: &Path) -> Result<String> {
    let text = path.to_str().filter(|text| !text.contains(['$', '"', '\\', '\n']));
    let text = text.with_context(|| {
        format!("{} has a character that nginx cannot read in a path", path.display())
    })?;
    Ok(format!("\"{text}\""))
}

/// A socket's path within `http://unix:PATH`.
fn plain(path: &Path) -> Result<String> {
    let path = std::path::absolute(path).context("cannot find the current directory")?;
    let text = path.to_string_lossy().into_owned();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    ensure!(
        text.chars().all(allowed),
        "{text} cannot be a socket behind nginx: use letters, digits, '.', '-' and '_' only"
    );
    Ok(text)
}
