//! `farmgate import valve-infra`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use clap::Args;
use serde::Serialize;

use super::source::Found;
use super::source::Places;
use super::source::Source;
use super::take_over::Taken;
use super::take_over::Terms;
use crate::cli::author::Why;
use crate::cli::context::Context;
use crate::cli::init::Init;
use crate::foreign::Foreign;
use crate::identity::ClientVerifier;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;
use crate::identity::survives_any_clock;
use crate::identity::usable_ca;
use crate::store::State;

#[derive(Args)]
pub(in crate::cli) struct ValveInfra {
    /// valve-infra's checkout, with files/, ca_cert/ and infra_isos/; or the data root alone
    dir: PathBuf,
    /// Data root of the server, if not DIR/files or DIR
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,
    /// Folder with ca.crt and ca.key, if not DIR/ca_cert
    #[arg(long, value_name = "DIR")]
    ca: Option<PathBuf>,
    /// Folder with the gateways' certificates and keys, if not DIR/infra_isos
    #[arg(long, value_name = "DIR")]
    certs: Option<PathBuf>,
    /// The old server's --server-name, with which the names of its buckets begin
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Name of the gateway whose certificate has this SHA-1, if not that of the certificate
    #[arg(long = "name", value_name = "SHA1=NAME")]
    names: Vec<Named>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    init: Init,
    #[command(flatten)]
    why: Why,
}

#[derive(Clone)]
struct Named {
    sha1: String,
    name: GatewayName,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (sha1, name) = text.split_once('=').ok_or("expected SHA1=NAME")?;
        let sha1: String = sha1.chars().filter(|c| *c != ':').collect();
        let valid = sha1.len() == 40 && sha1.bytes().all(|byte| byte.is_ascii_hexdigit());
        let name = name.parse().map_err(|error| format!("{error}"))?;
        match valid {
            true => Ok(Self { sha1: sha1.to_ascii_lowercase(), name }),
            false => Err("a SHA-1 has 40 hex digits".to_owned()),
        }
    }
}

impl ValveInfra {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        let places =
            Places::new(&self.dir, self.data_root.clone(), self.ca.clone(), self.certs.clone());
        let source = Source::read(&places)?;
        let ca = &source.ca_certificate;
        usable_ca(&ca.der).context("no gateway could have this CA as its root")?;
        let mut report = Report::new(self.dry_run, ca.fingerprint);
        if let Err(risk) = survives_any_clock(&ca.der) {
            report.notes.push(format!("the CA: {risk}"));
        }
        let state = self.state(cx, &source, &mut report)?;
        let verifier = ClientVerifier::new(&ca.der)?;
        let by = self.why.by();
        let terms = Terms {
            state: state.as_ref(),
            verifier: &verifier,
            dry_run: self.dry_run,
            by: &by,
            server_name: self.server_name.as_deref(),
            data: &places.data,
        };
        let (mut taken_names, progress) =
            (BTreeMap::new(), cx.progress(source.certificates.len() as u64, "taking over"));
        for (sha1, found) in &source.certificates {
            progress.inc(1);
            let name = match self.name_of(sha1, found, &source) {
                Ok(name) => name,
                Err(error) => {
                    report.left.push(format!("{}: {error:#}", found.path.display()));
                    continue;
                }
            };
            if let Some(other) = taken_names.insert(name.clone(), sha1) {
                report.left.push(format!(
                    "{}: {name} is also the name in the certificate {other}: give one of them \
                     another with --name {sha1}=NAME",
                    found.path.display()
                ));
                continue;
            }
            let folder = source.folders.get(sha1).map(PathBuf::as_path);
            report.gateways.push(terms.take_over(name, sha1, found, folder));
        }
        progress.finish_and_clear();
        for (sha1, folder) in &source.folders {
            if !source.certificates.contains_key(sha1) {
                report.left.push(format!(
                    "{}: no certificate has this SHA-1; give the folder that it is in with --certs",
                    folder.display()
                ));
            }
        }
        report.left.extend(source.unused);
        report.gateways.sort_by(|a, b| a.gateway.cmp(&b.gateway));
        cx.print(&report)?;
        let conflicts = report.left.len()
            + report.gateways.iter().filter(|taken| taken.conflict.is_some()).count();
        match conflicts {
            0 => Ok(()),
            1 => bail!("1 thing could not be taken over, as shown; the rest was"),
            more => bail!("{more} things could not be taken over, as shown; the rest was"),
        }
    }

    /// The state with this CA, which is made if there is none.
    fn state(&self, cx: &Context, source: &Source, report: &mut Report) -> Result<Option<State>> {
        if !cx.state.join(crate::store::layout::FORMAT).exists() {
            report.ca_done = "taken over";
            if self.dry_run {
                return Ok(None);
            }
            self.init.make(cx, Some(source.ca.clone()))?;
            return cx.state().map(Some);
        }
        let state = cx.state()?;
        ensure!(
            state.ca_certificate()? == source.ca_certificate.der,
            "{} has another CA, which did not issue the old certificates: import into a new state \
             (--state DIR, or move that one away), which is then made with the old CA",
            cx.state.display()
        );
        Ok(Some(state))
    }

    /// The name of a gateway: the common name of its certificate, in letters that farmgate takes.
    fn name_of(&self, sha1: &str, found: &Found, source: &Source) -> Result<GatewayName> {
        ensure!(
            !source.is_revoked(&found.certificate),
            "valve-infra's CA revoked it (ca.idx), which the old server never looked at"
        );
        if let Some(named) = self.names.iter().find(|named| named.sha1 == sha1) {
            return Ok(named.name.clone());
        }
        let subject = found.certificate.subject.as_str();
        let common = subject.split(", ").find_map(|part| part.strip_prefix("CN="));
        let common = common.with_context(|| {
            format!("its subject {subject} has no common name: give one with --name {sha1}=NAME")
        })?;
        let plain = |c: char| {
            let c = c.to_ascii_lowercase();
            if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' }
        };
        let name: String = common.chars().map(plain).collect();
        name.trim_matches('-').parse().with_context(|| {
            format!("{common} cannot be a gateway's name: give one with --name {sha1}=NAME")
        })
    }
}

#[derive(Serialize)]
struct Report {
    dry_run: bool,
    ca_fingerprint: Fingerprint,
    /// The key that `ca_fingerprint` had before.
    ca: Fingerprint,
    ca_done: &'static str,
    gateways: Vec<Taken>,
    /// Things that were not taken over, with the reason.
    left: Vec<String>,
    notes: Vec<String>,
}

impl Report {
    fn new(dry_run: bool, ca: Fingerprint) -> Self {
        let (gateways, left) = (Vec::new(), Vec::new());
        let notes = vec![
            "not taken over: keys of the bucket provider, `update-cfg` and its git remote, and the \
             query values mac, platform and buildarch in templates"
                .to_owned(),
        ];
        Self { dry_run, ca_fingerprint: ca, ca, ca_done: "unchanged", gateways, left, notes }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dry_run {
            writeln!(f, "nothing is changed: this is what would be done")?;
        }
        write!(f, "CA {} {}", self.ca_fingerprint, self.ca_done)?;
        for taken in &self.gateways {
            let done =
                if taken.done.is_empty() { "unchanged".to_owned() } else { taken.done.join(", ") };
            write!(f, "\n{} ({}) {done}", taken.gateway, taken.sha1)?;
            for note in taken.notes.iter().chain(&taken.conflict) {
                write!(f, "\n  {}", Foreign::new(note))?;
            }
        }
        self.left.iter().try_for_each(|left| write!(f, "\nleft: {}", Foreign::new(left)))?;
        self.notes.iter().try_for_each(|note| write!(f, "\n{note}"))
    }
}
