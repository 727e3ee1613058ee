//! Gateway records: `STATE/gateways/NAME/`.
//!
//! `gateway.json` is the truth. `.by-fingerprint/` leads from a certificate to
//! the record of its owner, so that a request costs two small reads however
//! large the fleet is; an entry there proves nothing until the record confirms
//! it. The server reads both anew for each request: what a command writes counts
//! from the next request on.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use super::files;
use crate::boot::Policy;
use crate::identity::Certificate;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;
use crate::identity::Identity;

const FORMAT: u32 = 1;
const INDEX: &str = ".by-fingerprint";
const RECORD: &str = "gateway.json";
// No gateway can have a name that begins with these.
const UNBORN: &str = ".new-";
const GONE: &str = ".removed-";

/// Where a certificate stands in its life. It only goes on, never back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CertificateState {
    /// The one that new images get.
    Active,
    /// Still lets its gateway in; a newer one has taken its place.
    Retiring,
    /// Lets nobody in.
    Revoked,
}

impl fmt::Display for CertificateState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Revoked => "revoked",
        })
    }
}

/// Whether a gateway's generations are assessed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Assessment {
    /// As the configuration says.
    #[default]
    Default,
    /// No: its system never acknowledges.
    None,
}

impl FromStr for Assessment {
    type Err = ParseAssessmentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "default" => Ok(Self::Default),
            "none" => Ok(Self::None),
            _ => Err(ParseAssessmentError),
        }
    }
}

/// The text names no kind of assessment.
#[derive(Debug, thiserror::Error)]
#[error("expected default or none")]
pub struct ParseAssessmentError;

/// A certificate that a gateway owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OwnedCertificate {
    /// SHA-256 of its DER.
    pub fingerprint: Fingerprint,
    /// Serial number, as hex digits.
    pub serial: String,
    /// Whether it lets its gateway in.
    pub state: CertificateState,
    /// Until when it is valid.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
}

/// One gateway, whatever certificates it has had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    format: u32,
    /// Its name.
    pub name: GatewayName,
    /// Names what the store keeps for it. Never used again, unlike the name of a
    /// gateway that was removed.
    pub id: String,
    /// When it was added.
    #[serde(with = "time::serde::rfc3339")]
    pub added: OffsetDateTime,
    /// Whether its generations are assessed.
    #[serde(default)]
    pub assessment: Assessment,
    /// Its certificates, oldest first.
    pub certificates: Vec<OwnedCertificate>,
}

impl Record {
    /// How its generations are assessed, where `tries` is the fleet's number of tries.
    pub fn policy(&self, tries: NonZeroU32) -> Policy {
        match self.assessment {
            Assessment::Default => Policy::Tries(tries),
            Assessment::None => Policy::None,
        }
    }

    /// The certificate that new images get.
    pub fn active(&self) -> Option<&OwnedCertificate> {
        self.certificates.iter().rfind(|owned| owned.state == CertificateState::Active)
    }

    /// The certificate with this fingerprint.
    pub fn certificate(&self, fingerprint: &Fingerprint) -> Option<&OwnedCertificate> {
        self.certificates.iter().find(|owned| owned.fingerprint == *fingerprint)
    }
}

/// The name of the gateway that has, or had, this id.
pub fn name_of(id: &str) -> &str {
    id.rsplit_once('-').map_or(id, |(name, _)| name)
}

/// All gateways.
#[derive(Clone, Debug)]
pub struct Gateways {
    dir: PathBuf,
}

impl Gateways {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Names of all gateways, in order.
    pub fn names(&self) -> Result<Vec<GatewayName>> {
        let read = || -> io::Result<Vec<GatewayName>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(&self.dir)? {
                let entry = entry?;
                if let Some(Ok(name)) = entry.file_name().to_str().map(str::parse)
                    && entry.path().join(RECORD).exists()
                {
                    names.push(name);
                }
            }
            names.sort();
            Ok(names)
        };
        read().with_context(|| format!("cannot read {}", self.dir.display()))
    }

    /// The record of the gateway `name`.
    pub fn load(&self, name: &GatewayName) -> Result<Record> {
        self.read(name)?.with_context(|| {
            format!("there is no gateway {name}; `farmgate gateway list` shows those there are")
        })
    }

    /// The record of the gateway `name`, if there is one.
    pub fn find(&self, name: &GatewayName) -> Result<Option<Record>> {
        self.read(name)
    }

    /// A certificate of a gateway, PEM.
    pub fn certificate_pem(&self, record: &Record, fingerprint: &Fingerprint) -> Result<String> {
        let path = certificate_path(&self.home(&record.name), fingerprint);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Has a record count that came from another host, with its certificates. Keys that
    /// are kept here stay.
    pub(super) fn adopt(
        &self,
        record: &Record,
        certificates: &BTreeMap<Fingerprint, &str>,
    ) -> Result<()> {
        let home = self.home(&record.name);
        let known = self.read(&record.name)?;
        if let Some(other) = known.as_ref().filter(|known| known.id != record.id) {
            bail!(
                "two gateways are called {}: {} here and {} on another boot host; remove one of \
                 them where it was added",
                record.name,
                other.id,
                record.id
            );
        }
        // A new record is born complete.
        let place = match known {
            Some(_) => home.clone(),
            None => {
                self.sweep()?;
                let cradle = self.dir.join(format!("{UNBORN}{}", record.name));
                files::create_dir(&cradle, 0o700)?;
                cradle
            }
        };
        for (fingerprint, pem) in certificates {
            if !certificate_path(&place, fingerprint).exists() {
                write_certificate(&place, fingerprint, pem, None)?;
            }
            // A request must not find it missing for a moment.
            let target = fs::read_link(self.index_entry(fingerprint)).ok();
            if target != Some(Path::new("..").join(&record.name)) {
                self.index(fingerprint, &record.name)?;
            }
        }
        write_record(&place, record)?;
        if place != home {
            fs::rename(&place, &home)
                .and_then(|()| files::sync_parent(&home))
                .with_context(|| format!("cannot make {}", home.display()))?;
        }
        Ok(())
    }

    /// The record of the gateway that owns the certificate, in whatever state.
    pub fn owner(&self, fingerprint: &Fingerprint) -> Result<Option<Record>> {
        let link = self.index_entry(fingerprint);
        let target = match fs::read_link(&link) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context(format!("cannot read {}", link.display())),
        };
        let name: GatewayName = target
            .to_str()
            .and_then(|target| target.strip_prefix("../")?.parse().ok())
            .with_context(|| format!("{} does not lead to a gateway", link.display()))?;
        let record = self.read(&name)?;
        Ok(record.filter(|record| record.certificate(fingerprint).is_some()))
    }

    /// Fails if there already is a gateway of that name.
    pub fn ensure_free(&self, name: &GatewayName) -> Result<()> {
        ensure!(
            !self.home(name).exists(),
            "there already is a gateway {name}; nothing was changed \
             (`farmgate gateway renew {name}` gives it a new certificate)"
        );
        Ok(())
    }

    /// Adds a gateway with its first certificate, and the private key if it was
    /// made here.
    pub fn add(
        &self,
        name: &GatewayName,
        certificate_pem: &str,
        private_key_pem: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<Record> {
        let home = self.home(name);
        self.ensure_free(name)?;
        let owned = self.own(certificate_pem)?;
        let suffix = &uuid::Uuid::new_v4().simple().to_string()[..8];
        let record = Record {
            format: FORMAT,
            name: name.clone(),
            id: format!("{name}-{suffix}"),
            added: now,
            assessment: Assessment::default(),
            certificates: vec![owned.clone()],
        };
        // The record is born complete.
        self.sweep()?;
        let cradle = self.dir.join(format!("{UNBORN}{name}"));
        files::create_dir(&cradle, 0o700)?;
        write_certificate(&cradle, &owned.fingerprint, certificate_pem, private_key_pem)?;
        write_record(&cradle, &record)?;
        self.index(&owned.fingerprint, name)?;
        fs::rename(&cradle, &home)
            .and_then(|()| files::sync_parent(&home))
            .with_context(|| format!("cannot make {}", home.display()))?;
        Ok(record)
    }

    /// Gives a gateway a new active certificate. Those it has stay good until
    /// they are revoked.
    pub fn renew(
        &self,
        name: &GatewayName,
        certificate_pem: &str,
        private_key_pem: Option<&str>,
    ) -> Result<Record> {
        let mut record = self.load(name)?;
        let owned = self.own(certificate_pem)?;
        for earlier in &mut record.certificates {
            if earlier.state == CertificateState::Active {
                earlier.state = CertificateState::Retiring;
            }
        }
        record.certificates.push(owned.clone());
        let home = self.home(name);
        write_certificate(&home, &owned.fingerprint, certificate_pem, private_key_pem)?;
        self.index(&owned.fingerprint, name)?;
        write_record(&home, &record)?;
        Ok(record)
    }

    /// Writes a changed record.
    pub fn save(&self, record: &Record) -> Result<()> {
        write_record(&self.home(&record.name), record)
    }

    /// Takes a gateway and its keys away.
    pub fn remove(&self, record: &Record) -> Result<()> {
        let home = self.home(&record.name);
        let grave = self.dir.join(format!("{GONE}{}", record.id));
        let remove = || -> io::Result<()> {
            fs::rename(&home, &grave)?;
            files::sync_parent(&home)?;
            for owned in &record.certificates {
                files::remove_if_there(&self.index_entry(&owned.fingerprint))?;
            }
            Ok(())
        };
        remove().with_context(|| format!("cannot remove {}", home.display()))?;
        self.sweep()
    }

    /// Clears away what interrupted commands left behind: keys may be in it.
    fn sweep(&self) -> Result<()> {
        let sweep = || -> io::Result<()> {
            for entry in fs::read_dir(&self.dir)? {
                let entry = entry?;
                let name = entry.file_name();
                if [UNBORN, GONE].iter().any(|p| name.as_bytes().starts_with(p.as_bytes())) {
                    fs::remove_dir_all(entry.path())?;
                }
            }
            Ok(())
        };
        sweep().with_context(|| format!("cannot clear {}", self.dir.display()))
    }

    /// The certificate that a new image of this gateway gets, and its key.
    pub fn identity(&self, name: &GatewayName) -> Result<Identity> {
        let record = self.load(name)?;
        let Some(active) = record.active() else {
            bail!(
                "gateway {name} has no active certificate; \
                 `farmgate gateway renew {name}` gives it a new one"
            );
        };
        let home = self.home(name);
        let certificate_path = certificate_path(&home, &active.fingerprint);
        let key_path = key_path(&home, &active.fingerprint);
        let certificate = fs::read(&certificate_path)
            .with_context(|| format!("cannot read {}", certificate_path.display()))?;
        let key = match fs::read(&key_path) {
            Ok(key) => key,
            Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
                "the private key of gateway {name} is not kept here; seal with --cert and --key, \
                 or make a new one with `farmgate gateway renew {name}`"
            ),
            Err(error) => return Err(error).context(format!("cannot read {}", key_path.display())),
        };
        Identity::from_pem(&certificate, &key)
            .with_context(|| format!("cannot use {}", key_path.display()))
    }

    /// The certificates of a gateway as they are kept here, oldest first.
    pub fn certificates(&self, record: &Record) -> Result<Vec<Certificate>> {
        let home = self.home(&record.name);
        let read = |owned: &OwnedCertificate| {
            let path = certificate_path(&home, &owned.fingerprint);
            let pem = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Certificate::from_pem(&pem).with_context(|| format!("cannot use {}", path.display()))
        };
        record.certificates.iter().map(read).collect()
    }

    /// Deletes the private keys of a gateway, once they are on its image.
    pub fn forget_key(&self, name: &GatewayName) -> Result<()> {
        let home = self.home(name);
        for owned in self.load(name)?.certificates {
            let path = key_path(&home, &owned.fingerprint);
            files::remove_if_there(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }

    /// Whether the private key of a certificate is kept here.
    pub fn has_key(&self, name: &GatewayName, fingerprint: &Fingerprint) -> bool {
        key_path(&self.home(name), fingerprint).exists()
    }

    fn read(&self, name: &GatewayName) -> Result<Option<Record>> {
        let path = self.home(name).join(RECORD);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context(format!("cannot read {}", path.display())),
        };
        let record: Record = serde_json::from_slice(&text)
            .with_context(|| format!("{} is damaged", path.display()))?;
        ensure!(
            record.format == FORMAT,
            "{} was written by a newer farmgate (format {}, this one knows {FORMAT})",
            path.display(),
            record.format
        );
        Ok(Some(record))
    }

    fn own(&self, certificate_pem: &str) -> Result<OwnedCertificate> {
        let certificate = Certificate::from_pem(certificate_pem.as_bytes())?;
        if let Some(owner) = self.owner(&certificate.fingerprint)? {
            bail!("this certificate already belongs to gateway {}", owner.name);
        }
        Ok(OwnedCertificate {
            fingerprint: certificate.fingerprint,
            serial: hex::encode(certificate.serial),
            state: CertificateState::Active,
            not_after: certificate.not_after,
        })
    }

    fn home(&self, name: &GatewayName) -> PathBuf {
        self.dir.join(name)
    }

    fn index_entry(&self, fingerprint: &Fingerprint) -> PathBuf {
        self.dir.join(INDEX).join(fingerprint.to_string())
    }

    fn index(&self, fingerprint: &Fingerprint, name: &GatewayName) -> Result<()> {
        files::create_dir(&self.dir.join(INDEX), 0o700)?;
        let entry = self.index_entry(fingerprint);
        let write = || -> io::Result<()> {
            files::remove_if_there(&entry)?;
            std::os::unix::fs::symlink(Path::new("..").join(name), &entry)?;
            files::sync_parent(&entry)
        };
        write().with_context(|| format!("cannot write {}", entry.display()))
    }
}

fn write_record(home: &Path, record: &Record) -> Result<()> {
    files::replace(&home.join(RECORD), 0o600, |file| {
        serde_json::to_writer_pretty(&mut *file, record)?;
        file.write_all(b"\n")
    })
}

fn write_certificate(
    home: &Path,
    fingerprint: &Fingerprint,
    certificate_pem: &str,
    private_key_pem: Option<&str>,
) -> Result<()> {
    files::replace(&certificate_path(home, fingerprint), 0o600, |file| {
        file.write_all(certificate_pem.as_bytes())
    })?;
    if let Some(key) = private_key_pem {
        files::replace(&key_path(home, fingerprint), 0o600, |file| file.write_all(key.as_bytes()))?;
    }
    Ok(())
}

fn certificate_path(home: &Path, fingerprint: &Fingerprint) -> PathBuf {
    home.join(format!("{fingerprint}.crt"))
}

fn key_path(home: &Path, fingerprint: &Fingerprint) -> PathBuf {
    home.join(format!("{fingerprint}.key"))
}
