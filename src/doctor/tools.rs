//! Other programs and files that farmgate needs on this machine. Runs nginx.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;

use super::finding::Findings;
use super::finding::Verdict;
use crate::iso::sources::Ipxe;
use crate::iso::sources::Syslinux;
use crate::iso::sources::on_nixos;
use crate::store::State;
use crate::store::layout;

const CHECK: &str = "tools";

pub(super) fn examine(state: &State, findings: &mut Findings) {
    // Media are made on the host with the CA's key.
    if state.pki_file("ca.key").exists() {
        let way_out = "needed for `farmgate iso make` alone, not by the server";
        let given = |variable| std::env::var_os(variable).map(PathBuf::from);
        if let Err(error) = Ipxe::find(given("FARMGATE_IPXE").as_deref()) {
            findings.warning(CHECK, format!("{error:#}"), way_out);
        }
        if let Err(error) = Syslinux::find(given("FARMGATE_SYSLINUX").as_deref()) {
            findings.warning(CHECK, format!("{error:#}"), way_out);
        }
    }
    // If a request gets through, nginx is configured, wherever it keeps its files.
    let socket = state.config().listen.unix.as_ref();
    if let Some(socket) = socket.filter(|_| !findings.has("url", Verdict::Ok)) {
        nginx(state, &socket.display().to_string(), findings);
    }
    if !findings.has(CHECK, Verdict::Warning) {
        findings.ok(CHECK, "all that is needed is here");
    }
}

/// Checks that nginx can read its configuration, and that it leads to `socket`.
fn nginx(state: &State, socket: &str, findings: &mut Findings) {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut dump = Command::new("nginx");
    // A normal user's PATH on Debian lacks the latter.
    dump.env("PATH", format!("{path}:/usr/sbin")).args(["-T", "-q"]);
    let way_out = "`farmgate nginx-config >/etc/nginx/conf.d/farmgate.conf`, then reload nginx";
    match dump.output() {
        // NixOS has it in no PATH, and services.farmgate generates its configuration.
        Err(error) if error.kind() == ErrorKind::NotFound && on_nixos() => {
            findings.skipped(CHECK, "NixOS makes nginx's configuration");
        }
        Err(error) => findings.warning(
            CHECK,
            format!("[listen] unix is for nginx, which cannot be run: {error}"),
            "install nginx, or set [listen] tls in place of unix",
        ),
        Ok(said) if !said.status.success() => {
            let said = String::from_utf8_lossy(&said.stderr).into_owned();
            // Only root can read the keys that it names.
            let what =
                said.lines().find(|line| line.contains("[emerg]")).unwrap_or("it says no more");
            if what.contains("Permission denied") {
                findings.skipped(CHECK, "only root can ask nginx for its configuration");
            } else {
                findings.warning(
                    CHECK,
                    format!("nginx cannot use its configuration: {what}"),
                    way_out,
                );
            }
        }
        Ok(said) => {
            let text = String::from_utf8_lossy(&said.stdout);
            if !text.contains(&format!("unix:{socket}")) {
                let what = format!("nothing in nginx's configuration leads to {socket}");
                findings.warning(CHECK, what, way_out);
            }
            let mark = state.dir().join(layout::PROXY_MARK);
            if state.config().listen.proxy_mark
                && mark.exists()
                && !text.contains("$farmgate_proxy_secret")
            {
                let what = format!("nginx does not send the secret of {}", mark.display());
                findings.warning(CHECK, what, way_out);
            }
        }
    }
}
