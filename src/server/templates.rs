//! Finds secrets templates and fills them in. Reads files.

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::config;
use crate::fleet::Asset;
use crate::fleet::Generation;
use crate::fleet::Record;
use crate::fleet::SECRETS;
use crate::fleet::render;
use crate::profile::agent::AGENT_PROFILE;
use crate::profile::description::own_lines;
use crate::store::blobs::Access;
use crate::store::leases::Lease;
use crate::store::leases::Terms;
use crate::store::live::LiveGenerations;

/// The longest template, in bytes.
const MAX_LEN: u64 = 64 * 1024;

/// Finds and fills in templates.
pub(super) struct Templates {
    /// `secrets.dir` of the configuration, with a file per gateway name.
    dir: Option<PathBuf>,
    /// systemd's credentials, named `secrets-NAME`.
    credentials: Option<PathBuf>,
}

impl Templates {
    pub(super) fn new(dir: Option<PathBuf>, credentials: Option<PathBuf>) -> Self {
        Self { dir, credentials }
    }

    /// Finds the template of a gateway. A template kept outside of what is published takes
    /// precedence over that of the generation.
    fn open(
        &self,
        gateway: &Record,
        generation: &Generation,
        store: &LiveGenerations,
    ) -> Result<Option<Template>> {
        let name = &gateway.name;
        if let Some(file) =
            self.dir.as_ref().map(|dir| open(&dir.join(name))).transpose()?.flatten()
        {
            return Ok(Some(Template::Outside(file)));
        }
        let credential = format!("secrets-{name}");
        if let Some(dir) = &self.credentials
            && let Some(file) = open(&dir.join(&credential))?
        {
            // `SetCredential=` puts an empty line in place of a missing `LoadCredential=` file. A
            // gateway whose secrets are missing must not be taken for one without secrets.
            ensure!(
                file.metadata()?.len() > 1,
                "the credential {credential} is empty: systemd found no file for it \
                 when the service started; put it there, and restart the service"
            );
            return Ok(Some(Template::Outside(file)));
        }
        let Some(asset) = generation.files().get(SECRETS) else { return Ok(None) };
        // Reports an unusable template before the boot goes on without its secrets.
        store.blobs_of(Access::Private).find(asset).with_context(|| unusable(gateway))?;
        Ok(Some(Template::Published(asset.clone())))
    }

    /// Says without disk access whether the gateway may have secrets.
    pub(super) fn may_have(&self, generation: &Generation) -> bool {
        self.dir.is_some() || self.credentials.is_some() || generation.files().contains_key(SECRETS)
    }

    /// Says whether the gateway has secrets.
    pub(super) fn any(
        &self,
        gateway: &Record,
        generation: &Generation,
        store: &LiveGenerations,
    ) -> Result<bool> {
        Ok(self.open(gateway, generation, store)?.is_some())
    }

    /// The rendered secrets of a lease.
    pub(super) fn render<'a>(
        &self,
        gateway: &Record,
        generation: &Generation,
        lease: &Lease,
        bucket: impl Fn(&str) -> Option<&'a str>,
        store: &LiveGenerations,
    ) -> Result<Option<Vec<u8>>> {
        let ensure_len = |len| {
            ensure!(
                len <= MAX_LEN,
                "the secrets template of gateway {} is larger than {MAX_LEN} bytes",
                gateway.name
            );
            Ok(())
        };
        let template = match self.open(gateway, generation, store)? {
            None => return Ok(None),
            Some(Template::Outside(file)) => {
                let mut template = Vec::new();
                file.take(MAX_LEN + 1)
                    .read_to_end(&mut template)
                    .context("cannot read a template")?;
                ensure_len(template.len() as u64)?;
                if generation.files().contains_key(AGENT_PROFILE) {
                    with_own_lines(&mut template);
                }
                template
            }
            Some(Template::Published(asset)) => {
                ensure_len(asset.size)?;
                let read = store.blobs_of(Access::Private).read(&asset);
                read.with_context(|| unusable(gateway))?
            }
        };
        let (fingerprint, number) = (lease.fingerprint.to_string(), generation.number.to_string());
        Ok(Some(render(&template, |name| match name {
            "gateway" | "gateway_name" => Some(gateway.name.as_str()),
            "fingerprint" | "client_cert_fingerprint" => Some(&fingerprint),
            "generation" => Some(&number),
            _ => bucket(name),
        })))
    }
}

/// Opens a file; a missing one is no error.
fn open(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// A template of a `gateway.toml` has these lines already.
fn with_own_lines(template: &mut Vec<u8>) {
    if template.last().is_some_and(|last| *last != b'\n') {
        template.push(b'\n');
    }
    template.extend_from_slice(own_lines().as_bytes());
}

/// The place of a template.
enum Template {
    /// Outside of what is published.
    Outside(File),
    /// Among the files of the generation.
    Published(Asset),
}

fn unusable(gateway: &Record) -> String {
    format!("the secrets template of gateway {} cannot be used", gateway.name)
}

/// The fields that the configuration sets.
pub(super) fn terms(secrets: &config::Secrets) -> Terms {
    Terms {
        seconds: secrets.ttl.as_secs().try_into().unwrap_or(u32::MAX),
        max_reads: secrets.max_reads.get(),
    }
}
