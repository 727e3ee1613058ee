//! The folder of one gateway: `gateway.json`, `FINGERPRINT.crt`, `FINGERPRINT.key`. Reads and
//! writes the disk.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;

use crate::fleet::Record;
use crate::fleet::format;
use crate::fleet::record::FORMAT;
use crate::identity::Fingerprint;
use crate::store::files;
use crate::store::layout;

pub(super) const RECORD: &str = "gateway.json";

/// `None` if `home` holds no gateway.
pub(super) fn read_record(home: &Path) -> Result<Option<Record>> {
    let path = home.join(RECORD);
    let text = match files::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context(format!("cannot read {}", path.display())),
    };
    let damaged = || format!("{} is damaged; restore it from a backup", path.display());
    format::read(&path.display(), &text, FORMAT, &damaged).map(Some)
}

pub(super) fn write_record(home: &Path, record: &Record) -> Result<()> {
    files::replace(&home.join(RECORD), layout::PRIVATE, |file| {
        serde_json::to_writer_pretty(&mut *file, record)?;
        file.write_all(b"\n")
    })
}

pub(super) fn write_certificate(
    home: &Path,
    fingerprint: &Fingerprint,
    certificate_pem: &str,
    private_key_pem: Option<&str>,
) -> Result<()> {
    files::replace(&certificate_path(home, fingerprint), layout::PRIVATE, |file| {
        file.write_all(certificate_pem.as_bytes())
    })?;
    if let Some(key) = private_key_pem {
        files::replace(&key_path(home, fingerprint), layout::PRIVATE, |file| {
            file.write_all(key.as_bytes())
        })?;
    }
    Ok(())
}

pub(super) fn certificate_path(home: &Path, fingerprint: &Fingerprint) -> PathBuf {
    home.join(format!("{fingerprint}.crt"))
}

pub(super) fn key_path(home: &Path, fingerprint: &Fingerprint) -> PathBuf {
    home.join(format!("{fingerprint}.key"))
}
