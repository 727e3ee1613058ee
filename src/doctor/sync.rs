//! The git repository that describes the fleet: could the server bring it in, and did it? It stops no
//! boot. Runs git, and asks the remote with the service's own credentials.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use nix::unistd::Uid;
use nix::unistd::User;
use nix::unistd::geteuid;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::finding::Findings;
use crate::config::Sync;
use crate::config::Transport;
use crate::store::State;
use crate::store::files;
use crate::store::layout;
use crate::sync::Outcome;
use crate::sync::Source;
use crate::sync::Status;
use crate::sync::git::Probe;
use crate::sync::git::Settings;
use crate::sync::moment;
use crate::sync::short;
use crate::sync::webhook;

const CHECK: &str = "sync";

/// A look of the server may take longer, but an operator should get an answer.
const LIMIT: Duration = Duration::from_secs(20);

/// Looks may be late by this much: the host was off, or git took its time.
const LATE: Duration = Duration::from_secs(60 * 60);

const GO_ON: &str =
    "gateways boot on with what is in force; docs/sync.md, \"When something is wrong\"";

pub(super) async fn examine(
    state: &State,
    systemd: Option<&Path>,
    now: OffsetDateTime,
    findings: &mut Findings,
) {
    let config = &state.config().sync;
    if config.remote.is_none() {
        return;
    }
    let owner = owner(state);
    if owner.is_stranger {
        return findings.unseen(CHECK, "only root and the service's user can look");
    }
    named_files(config, systemd, &owner, findings);
    let good = last_look(state, now, findings);
    let ask = Ask {
        config: Sync { timeout: config.timeout.min(LIMIT), ..config.clone() },
        dir: state.dir().join(layout::SYNC),
        systemd: systemd.map(Path::to_path_buf),
        stop: CancellationToken::new(),
    };
    let stop = ask.stop.clone();
    let mut asking = tokio::task::spawn_blocking(move || ask.run());
    let answer = tokio::select! {
        answer = &mut asking => Some(answer),
        _ = tokio::signal::ctrl_c() => None,
    };
    match answer {
        Some(Ok(answer)) => tell(config, systemd, answer, good.as_ref(), findings),
        Some(Err(error)) => findings.skipped(CHECK, error.to_string()),
        None => {
            // git has a process group of its own, which a terminal does not interrupt.
            stop.cancel();
            let _ = asking.await;
            findings.skipped(CHECK, "interrupted");
        }
    }
}

/// The state's owner, which is the service's user.
struct Owner {
    name: String,
    /// This program is run by another user, and not by root.
    is_stranger: bool,
}

fn owner(state: &State) -> Owner {
    let me = geteuid();
    let uid = fs::metadata(state.dir()).map_or(me, |facts| Uid::from_raw(facts.uid()));
    let known = User::from_uid(uid).ok().flatten();
    let name = known.map_or_else(|| uid.to_string(), |user| user.name);
    Owner { name, is_stranger: !me.is_root() && uid != me }
}

/// Checks the files that the configuration names, with the rights of the state's owner.
fn named_files(config: &Sync, systemd: Option<&Path>, owner: &Owner, findings: &mut Findings) {
    let secrets = [
        ("credentials", &config.credentials),
        ("ssh-key", &config.ssh_key),
        ("webhook-secret", &config.webhook_secret),
    ];
    let public = [
        ("allowed-signers", &config.allowed_signers),
        ("known-hosts", &config.known_hosts),
        ("ca", &config.ca),
    ];
    let secrets = secrets.into_iter().map(|(key, path)| (key, path, true));
    for (key, path, secret) in secrets.chain(public.into_iter().map(|(k, p)| (k, p, false))) {
        let Some(path) = path else { continue };
        let named = path.display();
        let mode = match files::open(path).and_then(|file| file.metadata()) {
            Ok(facts) => facts.mode(),
            Err(error) => {
                let way_out = match error.kind() {
                    io::ErrorKind::NotFound => "make it, or leave the key out".to_owned(),
                    _ => format!("{0} must be able to read it: chown {0}: {named}", owner.name),
                };
                let what = format!("cannot read {named} ([sync] {key}): {error}");
                findings.warning(CHECK, what, way_out);
                continue;
            }
        };
        if secret && mode & 0o077 != 0 {
            findings.warning(
                CHECK,
                format!("others may read {named} ([sync] {key}), and may have done so"),
                format!("chmod 600 {named}, and replace what is in it, there and at the forge"),
            );
        } else if !secret && mode & 0o022 != 0 {
            findings.warning(
                CHECK,
                format!(
                    "others may change {named} ([sync] {key}), and with it whom farmgate trusts"
                ),
                format!("chmod go-w {named}"),
            );
        }
    }
    let secret = files::read_secret(config.webhook_secret.as_deref(), systemd, webhook::CREDENTIAL);
    // What cannot be read is told above.
    if let Ok(Some((path, secret))) = secret
        && secret.trim().len() < webhook::SHORTEST_SECRET
    {
        findings.warning(
            CHECK,
            format!(
                "{} is shorter than {} characters, so no forge is heard",
                path.display(),
                webhook::SHORTEST_SECRET
            ),
            format!("openssl rand -hex 32 > {}, and the same at the forge", path.display()),
        );
    }
}

/// Tells how the last look of this host ended, and returns the commit that is in force.
fn last_look(state: &State, now: OffsetDateTime, findings: &mut Findings) -> Option<Source> {
    let status = match Status::read(state) {
        Ok(Some(status)) => status,
        Ok(None) => {
            let way_out =
                "`farmgate sync` does it at once; the server does it once it was reloaded";
            findings.warning(CHECK, "nothing was brought in yet", way_out);
            return None;
        }
        Err(error) => {
            findings.warning(CHECK, format!("{error:#}"), "the next look writes it anew");
            return None;
        }
    };
    let interval = state.config().sync.interval;
    if status.result == Outcome::Failed {
        let since = status.last_success.map_or_else(
            || "no look ever went well".to_owned(),
            |at| format!("no look went well since {}", moment(at)),
        );
        findings.warning(CHECK, format!("{}; {since}", status.line()), GO_ON);
    } else if now - status.at > interval.saturating_mul(2).saturating_add(LATE) {
        findings.warning(
            CHECK,
            format!("nobody has looked at the repository since {}", moment(status.at)),
            "the server does so by itself once it knows of [sync]: `systemctl reload farmgate`",
        );
    }
    status.good.map(|good| good.source)
}

/// The questions to git and the remote, which may take a while.
struct Ask {
    config: Sync,
    dir: PathBuf,
    systemd: Option<PathBuf>,
    stop: CancellationToken,
}

/// The answers, where the programs are there.
struct Answer {
    /// The version of git.
    version: String,
    /// Whether the key for ssh opens without a passphrase.
    key: Option<Result<bool>>,
    /// The branch's tip.
    tip: Result<Option<String>>,
}

impl Ask {
    fn run(&self) -> Result<Answer> {
        let Self { config, dir, systemd, stop } = self;
        let remote = config.remote.as_ref().context("no remote")?;
        let settings = Settings { config, remote, dir, systemd: systemd.as_deref(), stop };
        let probe = Probe::new(&settings)?;
        let version = probe.programs()?;
        let is_ssh = remote.transport() == Transport::Ssh;
        // A key that cannot be read is told of by itself.
        let key = config.ssh_key.as_ref().filter(|key| is_ssh && files::open(key).is_ok());
        let key = key.map(|key| probe.opens(key));
        Ok(Answer { version, key, tip: probe.tip() })
    }
}

fn tell(
    config: &Sync,
    systemd: Option<&Path>,
    answer: Result<Answer>,
    good: Option<&Source>,
    findings: &mut Findings,
) {
    let Some(remote) = &config.remote else { return };
    let Answer { version, key, tip } = match answer {
        Ok(answer) => answer,
        Err(error) => return findings.warning(CHECK, format!("{error:#}"), GO_ON),
    };
    findings.ok(CHECK, format!("git {version}"));
    match key {
        None | Some(Ok(true)) => {}
        Some(Ok(false)) => findings.warning(
            CHECK,
            "the key that [sync] ssh-key names has a passphrase, and nobody is there to type it",
            "a deploy key needs none (docs/sync.md): ssh-keygen -p -N '' -f FILE takes it away",
        ),
        Some(Err(error)) => {
            findings.warning(
                CHECK,
                format!("[sync] ssh-key names no usable key: {error:#}"),
                GO_ON,
            );
        }
    }
    let branch = &config.branch;
    match tip {
        Ok(Some(tip)) => {
            let force = match good {
                Some(good) if good.commit == tip => "which is in force".to_owned(),
                Some(good) => format!("and {} is in force", good.short()),
                None => "and none is in force yet".to_owned(),
            };
            let tip = short(&tip);
            findings.ok(CHECK, format!("{remote} answers: {branch} is at {tip}, {force}"));
        }
        Ok(None) => {
            let what = format!("{remote} answers, and has no branch {branch}");
            findings.warning(CHECK, what, "see [sync] branch");
        }
        Err(error) => {
            let error = format!("{error:#}");
            // As with LoadCredential= of systemd.
            let elsewhere = systemd.is_none()
                && match remote.transport() {
                    Transport::Https | Transport::Http => config.credentials.is_none(),
                    Transport::Ssh => config.ssh_key.is_none(),
                    Transport::File => false,
                };
            let asks = error.contains("asks for a password") || error.contains("take the key");
            if elsewhere && asks {
                let what = format!("{remote}: only the service has the credentials");
                return findings.skipped(CHECK, what);
            }
            findings.warning(CHECK, format!("{remote}: {error}"), GO_ON);
        }
    }
}
