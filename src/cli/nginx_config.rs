use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;

use super::Context;
use crate::store::State;

#[derive(clap::Args)]
pub(super) struct NginxConfig {
    /// Where nginx listens, if not on the URL's port of all addresses
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Socket of `farmgate serve`, if not listen.unix of the configuration
    #[arg(long, value_name = "PATH")]
    unix: Option<PathBuf>,
}

impl NginxConfig {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let text = self.render(&state)?;
        Ok(std::io::stdout().write_all(text.as_bytes())?)
    }

    fn render(&self, state: &State) -> Result<String> {
        let config = state.config();
        let socket = self.unix.as_ref().or(config.listen.unix.as_ref()).context(
            "no socket to pass requests to: set unix in [listen] of the configuration, \
             or give --unix PATH",
        )?;
        let listen = match self.listen {
            Some(address) => format!("    listen {address} ssl;\n"),
            None => {
                let port = config.url.port();
                format!("    listen {port} ssl;\n    listen [::]:{port} ssl;\n")
            }
        };
        let state_dir = std::path::absolute(state.dir()).context("cannot tell where we are")?;
        let pki = |name: &str| quoted(&state_dir.join("pki").join(name));
        let blobs = match &config.listen.accel {
            None => String::new(),
            Some(accel) => format!(
                r#"
    # Assets, where farmgate sends nginx (X-Accel-Redirect). The entity tag is
    # farmgate's: the SHA-256 of the file.
    location {accel}/ {{
        internal;
        alias {blobs};
        sendfile on;
        tcp_nopush on;
        max_ranges 1;
        etag off;
        if_modified_since off;
        add_header ETag $upstream_http_etag;
        access_log off;
    }}
"#,
                accel = accel.as_str(),
                blobs = quoted(&state_dir.join("store/blobs/"))?,
            ),
        };
        Ok(format!(
            r#"# Made by `farmgate nginx-config`; belongs into nginx's http block.
server {{
{listen}    server_name {host};

    ssl_certificate {certificate};
    ssl_certificate_key {key};
    # iPXE speaks TLS 1.2 and no later version.
    ssl_protocols TLSv1.2 TLSv1.3;

    # Optional, because some routes need no certificate: farmgate decides, and
    # verifies once more. Revocation works at once without this CRL; it is the
    # second lock on the door.
    ssl_verify_client optional;
    ssl_verify_depth 1;
    ssl_client_certificate {ca};
    ssl_crl {crl};

    # A request of iPXE has no body.
    client_max_body_size 64k;

    # Overwrites whatever the client sent under these names. A location that sets
    # any header of its own must set all of these again.
    proxy_http_version 1.1;
    proxy_set_header Host $host;
    proxy_set_header Connection "";
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-SSL-Client-Verify $ssl_client_verify;
    proxy_set_header X-SSL-Client-Cert $ssl_client_escaped_cert;
    # No copies of assets on nginx's disk.
    proxy_max_temp_file_size 0;

    location / {{
        proxy_pass http://unix:{socket};
    }}
    # Tokens in these addresses are as good as passwords: not for the log.
    location /secrets/ {{
        access_log off;
        log_not_found off;
        proxy_pass http://unix:{socket};
    }}
    location /boot/ack/ {{
        access_log off;
        log_not_found off;
        proxy_pass http://unix:{socket};
    }}
{blobs}}}
"#,
            host = config.url.host(),
            certificate = pki("server.crt")?,
            key = pki("server.key")?,
            ca = pki("ca.crt")?,
            crl = pki("crl.pem")?,
            socket = plain(socket)?,
        ))
    }
}

/// A path as nginx's configuration takes it. Nothing can keep nginx from reading
/// a variable after `$`.
fn quoted(path: &Path) -> Result<String> {
    let text = path.to_str().filter(|text| !text.contains(['$', '"', '\\', '\n']));
    let text = text.with_context(|| {
        format!("{} has a character that nginx cannot read in a path", path.display())
    })?;
    Ok(format!("\"{text}\""))
}

/// A socket's path within `http://unix:PATH`.
fn plain(path: &Path) -> Result<String> {
    let path = std::path::absolute(path).context("cannot tell where we are")?;
    let text = path.to_string_lossy().into_owned();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    ensure!(
        text.chars().all(allowed),
        "{text} cannot be a socket behind nginx: use letters, digits, '.', '-' and '_' only"
    );
    Ok(text)
}
