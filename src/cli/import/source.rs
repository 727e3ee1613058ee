//! The data root of valve-infra's server: the CA, certificates, and a folder for each certificate,
//! which is called by its SHA-1. Reads it with the caller's rights.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::identity::Certificate;
use crate::identity::pki::Issued;
use crate::store::files;
use crate::store::owner::as_caller;

/// More files than any fleet has certificates.
const MOST: usize = 10_000;

/// Everything that was found.
pub(super) struct Source {
    pub(super) ca: Issued,
    pub(super) ca_certificate: Certificate,
    /// By the SHA-1 of the certificate.
    pub(super) certificates: BTreeMap<String, Found>,
    /// Folders of the data root, by SHA-1.
    pub(super) folders: BTreeMap<String, PathBuf>,
    /// Serial numbers that the CA's index calls revoked, as OpenSSL writes them.
    revoked: BTreeSet<String>,
    /// Files that could not be used, and why.
    pub(super) unused: Vec<String>,
}

/// A client certificate.
pub(super) struct Found {
    pub(super) certificate: Certificate,
    pub(super) pem: String,
    pub(super) key: Option<String>,
    pub(super) path: PathBuf,
}

/// The places to read.
pub(super) struct Places {
    pub(super) data: PathBuf,
    pub(super) ca: PathBuf,
    pub(super) certificates: Vec<PathBuf>,
}

impl Places {
    /// `dir` is valve-infra's checkout, or the data root alone.
    pub(super) fn new(
        dir: &Path,
        data: Option<PathBuf>,
        ca: Option<PathBuf>,
        certificates: Option<PathBuf>,
    ) -> Self {
        let files = dir.join("files");
        let usual = || if as_caller(|| files.is_dir()) { files.clone() } else { dir.to_owned() };
        let ca = ca.unwrap_or_else(|| dir.join("ca_cert"));
        let certificates = certificates.unwrap_or_else(|| dir.join("infra_isos"));
        Self { data: data.unwrap_or_else(usual), certificates: vec![certificates, ca.clone()], ca }
    }
}

impl Source {
    pub(super) fn read(places: &Places) -> Result<Self> {
        let text = |name: &str| {
            let path = places.ca.join(name);
            let bytes = files::read_given(&path).context(
                "give the folder with valve-infra's ca.crt and ca.key with --ca (`make ca` made it)",
            )?;
            String::from_utf8(bytes).with_context(|| format!("{} is not PEM", path.display()))
        };
        let ca = Issued { certificate_pem: text("ca.crt")?, private_key_pem: text("ca.key")? };
        let ca_certificate = Certificate::from_pem(ca.certificate_pem.as_bytes())
            .with_context(|| format!("cannot use {}", places.ca.join("ca.crt").display()))?;
        let mut source = Self {
            ca,
            ca_certificate,
            certificates: BTreeMap::new(),
            folders: BTreeMap::new(),
            revoked: revoked(&places.ca.join("ca.idx"))?,
            unused: Vec::new(),
        };
        for dir in &places.certificates {
            source.certificates_in(dir)?;
        }
        source.folders = folders(&places.data)?;
        Ok(source)
    }

    /// True if valve-infra's operators revoked it, which its server never looked at.
    pub(super) fn is_revoked(&self, certificate: &Certificate) -> bool {
        let serial = certificate.serial.to_string().to_ascii_uppercase();
        self.revoked.contains(serial.trim_start_matches('0'))
    }

    fn certificates_in(&mut self, dir: &Path) -> Result<()> {
        for path in entries(dir)? {
            let extension = path.extension().unwrap_or_default();
            if extension != "crt" && extension != "pem" {
                continue;
            }
            let read = files::read_given(&path)
                .and_then(|pem| Ok((Certificate::from_pem(&pem)?, String::from_utf8(pem)?)));
            let (certificate, pem) = match read {
                Ok(read) => read,
                Err(error) => {
                    self.unused.push(format!("{}: {error:#}", path.display()));
                    continue;
                }
            };
            if certificate.der == self.ca_certificate.der {
                continue;
            }
            let key = files::read_given(&path.with_extension("key")).ok();
            let key = key.and_then(|key| String::from_utf8(key).ok());
            let sha1 = certificate.sha1();
            let has_key = |found: &Found| found.key.is_some();
            // `openssl ca` keeps a second copy, without the key.
            if !self.certificates.get(&sha1).is_some_and(has_key) {
                self.certificates.insert(sha1, Found { certificate, pem, key, path });
            }
        }
        Ok(())
    }
}

/// The folders with the SHA-1 of a certificate as their name. One that is a link must lead to
/// something in the data root.
fn folders(data: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let cannot = || format!("cannot read {}", data.display());
    let root = as_caller(|| data.canonicalize()).with_context(cannot)?;
    let mut found = BTreeMap::new();
    for path in entries(&root)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_sha1 =
            name.len() == 40 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_sha1 {
            continue;
        }
        let real = as_caller(|| path.canonicalize())
            .with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(
            real.starts_with(&root),
            "{} leads out of {}: copy what it leads to",
            path.display(),
            data.display()
        );
        found.insert(name, real);
    }
    Ok(found)
}

/// The entries of a folder, sorted; none if it is missing.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?.take(MOST + 1).map(|entry| Ok(entry?.path())).collect()
    };
    let mut all = match as_caller(read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        all => all.with_context(|| format!("cannot read {}", dir.display()))?,
    };
    ensure!(all.len() <= MOST, "{} has more than {MOST} entries", dir.display());
    all.sort();
    Ok(all)
}

/// The revoked serial numbers of an index of `openssl ca`: `R TAB expiry TAB revocation TAB serial ...`.
fn revoked(index: &Path) -> Result<BTreeSet<String>> {
    if !as_caller(|| index.exists()) {
        return Ok(BTreeSet::new());
    }
    let text = String::from_utf8_lossy(&files::read_given(index)?).into_owned();
    let serial = |line: &str| {
        let fields: Vec<_> = line.split('\t').collect();
        let serial = fields.get(3)?.trim_start_matches('0').to_ascii_uppercase();
        (fields[0] == "R").then_some(serial)
    };
    Ok(text.lines().filter_map(serial).collect())
}
