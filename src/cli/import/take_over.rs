//! Takes over one gateway: its certificate, what it boots, its bucket. Twice changes nothing.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use rustls::pki_types::UnixTime;
use serde::Serialize;

use super::convert;
use super::source::Found;
use crate::bucket::Disk;
use crate::bucket::valve_infra_name;
use crate::cli::bucket::adopt;
use crate::cli::context::now;
use crate::fleet::Assessment;
use crate::fleet::BOOT_SCRIPT;
use crate::fleet::By;
use crate::fleet::MAX_SCRIPT_LEN;
use crate::fleet::Record;
use crate::fleet::SECRETS;
use crate::identity::ClientVerifier;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;
use crate::identity::Identity;
use crate::identity::usable_client;
use crate::publish;
use crate::publish::Folder;
use crate::publish::When;
use crate::store::State;
use crate::store::generations::Generations;
use crate::store::owner::as_caller;

/// Deepest folder in a folder of the data root.
const MAX_DEPTH: usize = 16;

/// The outcome for one gateway.
#[derive(Debug, Serialize)]
pub(super) struct Taken {
    pub(super) gateway: GatewayName,
    /// SHA-1 of its certificate: its name for the old server.
    pub(super) sha1: String,
    pub(super) fingerprint: Fingerprint,
    /// Steps that were done, or would be: `added`, `published`, `bucket`; none if it is all there.
    pub(super) done: Vec<&'static str>,
    pub(super) notes: Vec<String>,
    /// The reason if it was not taken over, or not wholly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) conflict: Option<String>,
}

/// Settings that are the same for all gateways.
pub(super) struct Terms<'a> {
    /// `None` in a dry run without a state.
    pub(super) state: Option<&'a State>,
    pub(super) verifier: &'a ClientVerifier,
    pub(super) dry_run: bool,
    pub(super) by: &'a By,
    /// The `--server-name` of the old server, from which it made the names of buckets.
    pub(super) server_name: Option<&'a str>,
    pub(super) data: &'a Path,
}

impl Terms<'_> {
    pub(super) fn take_over(
        &self,
        name: GatewayName,
        sha1: &str,
        found: &Found,
        folder: Option<&Path>,
    ) -> Taken {
        let mut taken = Taken {
            gateway: name,
            sha1: sha1.to_owned(),
            fingerprint: found.certificate.fingerprint,
            done: Vec::new(),
            notes: Vec::new(),
            conflict: None,
        };
        if let Err(error) = self.steps(&mut taken, found, folder) {
            taken.conflict = Some(format!("{error:#}"));
        }
        taken
    }

    fn steps(&self, taken: &mut Taken, found: &Found, folder: Option<&Path>) -> Result<()> {
        let record = self.certificate(taken, found)?;
        match folder {
            Some(folder) => self.content(taken, record.as_ref(), folder)?,
            None => taken.notes.push(format!(
                "{} has no folder {}: nothing is published",
                self.data.display(),
                taken.sha1
            )),
        }
        self.bucket(taken, record.as_ref())
    }

    /// The record with the certificate; `None` if this is a dry run and there is none yet.
    fn certificate(&self, taken: &mut Taken, found: &Found) -> Result<Option<Record>> {
        let (name, path) = (&taken.gateway, found.path.display());
        if let Some(state) = self.state {
            let gateways = state.gateways();
            if let Some(owner) = gateways.owner(&taken.fingerprint)? {
                taken.gateway = owner.name.clone();
                return Ok(Some(owner));
            }
            ensure!(
                gateways.find(name)?.is_none(),
                "there is another gateway {name}, with another certificate: give this one another \
                 name with --name {}=NAME",
                taken.sha1
            );
            state.ensure_not_revoked(&found.certificate)?;
        }
        usable_client(&found.certificate.der)
            .with_context(|| format!("no gateway could boot with {path}"))?;
        self.verifier
            .verify(&found.certificate.der, UnixTime::now())
            .with_context(|| format!("{path} would not be let in"))?;
        let key = found
            .key
            .as_deref()
            .filter(|key| Identity::from_pem(found.pem.as_bytes(), key.as_bytes()).is_ok());
        if key.is_none() {
            let what = if found.key.is_some() { "does not belong to" } else { "is not beside" };
            taken
                .notes
                .push(format!("its private key {what} {path}: no image can be made with it"));
        }
        taken.done.push("added");
        let Some(state) = self.state.filter(|_| !self.dry_run) else { return Ok(None) };
        let lock = state.lock()?;
        let mut record = state.gateways().add(&lock, name, &found.pem, key, now())?;
        // Systems that were made for the old server know nothing of acknowledging.
        record.assessment = Assessment::None;
        state.gateways().save(&lock, &record)?;
        Ok(Some(record))
    }

    fn content(&self, taken: &mut Taken, record: Option<&Record>, folder: &Path) -> Result<()> {
        if let (Some(state), Some(record)) = (self.state, record) {
            let history = Generations::new(state).history(&record.id)?;
            if history.generations().next().is_some() {
                return Ok(());
            }
        }
        let staging = as_caller(tempfile::tempdir).context("cannot make a folder")?;
        let notes = as_caller(|| self.stage(folder, staging.path(), &taken.sha1))?;
        taken.notes.extend(notes);
        if let (Some(state), Some(record), false) = (self.state, record, self.dry_run) {
            let staged = Folder::open(staging.path())?;
            let done =
                publish::publish(state, record, &staged, When::NotLive, self.by, now(), &|_| ());
            let outcome = done.with_context(|| format!("cannot publish {}", folder.display()))?;
            let here = staging.path().display().to_string();
            let there = folder.display().to_string();
            taken.notes.extend(outcome.warnings.iter().map(|text| text.replace(&here, &there)));
        } else {
            for checked in publish::check(staging.path())? {
                if let Some(finding) = checked.findings.iter().find(|f| f.severity.is_error()) {
                    let file = checked.path.file_name().unwrap_or_default();
                    bail!(
                        "cannot publish {}: line {}: {} {}",
                        folder.join(file).display(),
                        finding.start.line,
                        finding.code.id,
                        finding.what
                    );
                }
            }
        }
        taken.done.push("published");
        Ok(())
    }

    /// Copies a folder, its two templates in farmgate's terms.
    fn stage(&self, folder: &Path, staging: &Path, sha1: &str) -> Result<Vec<String>> {
        let root = self.data.canonicalize()?;
        copy(&root, folder, staging, MAX_DEPTH)?;
        let read = |name: &str| -> Result<Option<Vec<u8>>> {
            let path = staging.join(name);
            let Ok(facts) = fs::metadata(&path) else { return Ok(None) };
            ensure!(
                facts.len() <= MAX_SCRIPT_LEN,
                "{} is larger than {MAX_SCRIPT_LEN} bytes",
                folder.join(name).display()
            );
            Ok(Some(fs::read(path)?))
        };
        let (script, secrets) = (read(BOOT_SCRIPT)?, read(SECRETS)?);
        let script = script.with_context(|| {
            format!("{} has no {BOOT_SCRIPT}, so its gateway never booted", folder.display())
        })?;
        let script = convert::script(&script, sha1, secrets.is_some());
        fs::write(staging.join(BOOT_SCRIPT), &script.bytes)?;
        let mut notes: Vec<String> = script.notes.into_iter().collect();
        let mut needs_bucket = script.needs_bucket;
        if let Some(template) = secrets {
            let secrets = convert::secrets(&template, sha1);
            fs::write(staging.join(SECRETS), &secrets.bytes)?;
            notes.extend(secrets.notes);
            needs_bucket |= secrets.needs_bucket;
        }
        let no_buckets = self.state.is_none_or(|state| state.config().buckets.provider.is_none());
        if needs_bucket && no_buckets {
            notes.push(
                "it uses a bucket, and farmgate.toml has no [buckets] yet: its values are empty"
                    .to_owned(),
            );
        }
        Ok(notes)
    }

    fn bucket(&self, taken: &mut Taken, record: Option<&Record>) -> Result<()> {
        let Some(server_name) = self.server_name else { return Ok(()) };
        let bucket = valve_infra_name(server_name, &taken.sha1);
        let provided = self.state.filter(|state| state.config().buckets.provider.is_some());
        let Some(state) = provided else {
            taken.notes.push(format!(
                "its bucket is {bucket}: once farmgate.toml has [buckets], run this again"
            ));
            return Ok(());
        };
        if let Some(record) = record {
            let stored = Disk::new(state).load(&record.id)?;
            let is = |stored: &crate::bucket::Stored| {
                stored.adopt.as_ref() == Some(&bucket) || stored.bucket.is_some()
            };
            if stored.as_ref().is_some_and(is) {
                return Ok(());
            }
        }
        taken.done.push("bucket");
        match self.dry_run {
            true => Ok(()),
            false => adopt(state, &taken.gateway, bucket),
        }
    }
}

/// Copies a folder. Links are followed while they stay in the data root.
fn copy(root: &Path, from: &Path, to: &Path, depth: usize) -> Result<()> {
    let cannot = |path: &Path| format!("cannot read {}", path.display());
    ensure!(depth > 0, "{} lies too deep, or its links go round", from.display());
    for entry in fs::read_dir(from).with_context(|| cannot(from))? {
        let path = entry.with_context(|| cannot(from))?.path();
        let name = path.file_name().unwrap_or_default().to_owned();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let real = path.canonicalize().with_context(|| cannot(&path))?;
        ensure!(
            real.starts_with(root),
            "{} leads out of {}: copy what it leads to",
            path.display(),
            root.display()
        );
        let facts = fs::metadata(&real).with_context(|| cannot(&path))?;
        let target: PathBuf = to.join(name);
        if facts.is_dir() {
            fs::create_dir(&target)?;
            copy(root, &real, &target, depth - 1)?;
        } else {
            ensure!(facts.is_file(), "{} is not a file", path.display());
            fs::copy(&real, &target).with_context(|| cannot(&path))?;
        }
    }
    Ok(())
}
