//! Leases of secrets: `STATE/leases/`. A lease lets the holder of its token read the secrets of one
//! boot, a few times and for a short while. Only the SHA-256 of the token is stored, and no secret.
//!
//! A gateway has a folder with a file for each of its few leases. Reading the secrets renames or
//! removes that file, and so does expiry: neither needs space on the disk. A lease that does not
//! fit on the disk is kept in memory, so that a full disk keeps no gateway from booting.

mod before;
mod held;
mod lease;
mod slip;

use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use anyhow::Context;
use anyhow::Result;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::Digest;
use sha2::Sha256;
use time::OffsetDateTime;

use self::held::Held;
pub use self::lease::Lease;
pub use self::lease::MOST;
pub use self::lease::Terms;
use self::slip::Slip;
use self::slip::digest;
use super::files;
use super::layout;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;

/// Bytes of a token.
const TOKEN_LEN: usize = 32;

/// The first bytes of a token name the gateway's folder. The other 192 bits are random.
const FOLDER_LEN: usize = 8;

/// All leases.
#[derive(Debug)]
pub struct Leases {
    dir: PathBuf,
    held: Mutex<Held>,
    /// One reader at a time: a listing could miss a file that another reader renames.
    turn: Mutex<()>,
}

impl Leases {
    /// The leases in `dir`, which is made if it is missing. No other process may grant leases
    /// there. Never fails: without the disk, leases are kept in memory.
    pub fn open(dir: PathBuf, now: OffsetDateTime) -> Self {
        let leases = Self { dir, held: Mutex::default(), turn: Mutex::default() };
        if let Err(error) = leases.tidy(now) {
            tracing::warn!("leases of secrets: {error:#}");
        }
        leases
    }

    /// Makes a lease and returns its token: 43 letters, digits, `-` and `_`.
    pub fn grant(
        &self,
        gateway: (&GatewayName, &GatewayId),
        fingerprint: Fingerprint,
        generation: EventId,
        boot: Option<EventId>,
        terms: Terms,
        now: OffsetDateTime,
    ) -> Result<String> {
        let mut token = [0; TOKEN_LEN];
        token[..FOLDER_LEN].copy_from_slice(&Sha256::digest(gateway.1.as_str())[..FOLDER_LEN]);
        getrandom::fill(&mut token[FOLDER_LEN..]).context("no randomness for a token")?;
        let folder = self.folder(&token);
        let token = BASE64_URL_SAFE_NO_PAD.encode(token);
        let lease = Lease {
            gateway: gateway.0.clone(),
            gateway_id: gateway.1.clone(),
            fingerprint,
            generation,
            boot,
            made: now,
            seconds: terms.seconds,
            max_reads: terms.max_reads,
        };
        let slip = Slip::new(&lease, terms.max_reads.max(1), digest(&token));
        if let Err(error) = write(&folder, &slip, &lease, now) {
            tracing::warn!(gateway = %lease.gateway, "a lease is kept in memory: {error:#}");
            self.held().add(slip, lease, now);
        }
        Ok(token)
    }

    /// Uses up one reading; `None` if there is no such lease, or it has expired. The reading is
    /// used up durably before this returns.
    pub fn redeem(&self, token: &str, now: OffsetDateTime) -> Result<Option<Lease>> {
        let digest = digest(token);
        if let Some(lease) = self.held().take(&digest, now) {
            return Ok(Some(lease));
        }
        let Some(folder) = decode(token).map(|token| self.folder(&token)) else {
            return Ok(None);
        };
        let taken = {
            let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            take(&folder, &digest, now)
        };
        let taken = taken.with_context(|| cannot_use(&folder))?;
        if taken.is_some() {
            File::open(&folder)
                .and_then(|folder| folder.sync_all())
                .with_context(|| cannot_use(&folder))?;
        }
        Ok(taken)
    }

    /// Removes expired leases. A failed removal does not stop the others; the first failure is
    /// returned.
    pub fn sweep(&self, now: OffsetDateTime) -> Result<()> {
        self.held().sweep(now);
        let mut result = Ok(());
        for folder in folders(&self.dir)? {
            let swept = slips(&folder)
                .and_then(|slips| remove(&folder, slips.iter().filter(|slip| !slip.lasts(now))));
            result = result.and(swept.with_context(|| cannot_use(&folder)));
        }
        result
    }

    /// Makes the folder of all leases, and removes expired and unfinished ones.
    fn tidy(&self, now: OffsetDateTime) -> Result<()> {
        files::create_dir(&self.dir, layout::PRIVATE_DIR)?;
        for entry in fs::read_dir(&self.dir).with_context(|| cannot_use(&self.dir))? {
            let path = entry.with_context(|| cannot_use(&self.dir))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if before::is_from_before(name) {
                if let Some((slip, lease)) = before::take_over(&path).filter(|(s, _)| s.lasts(now))
                {
                    self.held().add(slip, lease, now);
                }
            } else if is_folder(name) {
                // A server that was killed leaves unfinished files.
                for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
                    if entry.file_name().to_str().and_then(Slip::parse).is_none() {
                        let _ = fs::remove_file(entry.path());
                    }
                }
                // Fails unless it is empty.
                let _ = fs::remove_dir(&path);
            }
        }
        self.sweep(now)
    }

    /// The folder of the gateway that a token was made for.
    fn folder(&self, token: &[u8; TOKEN_LEN]) -> PathBuf {
        self.dir.join(hex::encode(&token[..FOLDER_LEN]))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The generations that leases name: their templates are still to be read. Changes nothing.
pub(super) fn generations(dir: &Path, now: OffsetDateTime) -> Result<BTreeSet<EventId>> {
    let mut found = BTreeSet::new();
    for folder in folders(dir)? {
        let slips = slips(&folder).with_context(|| cannot_use(&folder))?;
        for slip in slips.into_iter().filter(|slip| slip.lasts(now)) {
            match files::read(&folder.join(slip.to_string())) {
                // It was used up just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                text => {
                    let text = text.with_context(|| cannot_use(&folder))?;
                    // A torn lease can be used by nobody.
                    found
                        .extend(serde_json::from_slice(&text).map(|lease: Lease| lease.generation));
                }
            }
        }
    }
    Ok(found)
}

fn decode(token: &str) -> Option<[u8; TOKEN_LEN]> {
    BASE64_URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()
}

fn is_folder(name: &str) -> bool {
    name.len() == 2 * FOLDER_LEN && hex::decode(name).is_ok()
}

fn folders(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| cannot_use(dir))?,
    };
    let named =
        |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(is_folder);
    Ok(entries.flatten().map(|entry| entry.path()).filter(named).collect())
}

/// The slips in a folder, oldest first.
fn slips(folder: &Path) -> io::Result<Vec<Slip>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut slips = Vec::new();
    for entry in entries {
        slips.extend(entry?.file_name().to_str().and_then(Slip::parse));
    }
    slips.sort();
    Ok(slips)
}

/// Removes all of these, even if one removal fails; the first failure is returned.
fn remove<'a>(folder: &Path, slips: impl Iterator<Item = &'a Slip>) -> io::Result<()> {
    slips
        .map(|slip| files::remove_if_there(&folder.join(slip.to_string())))
        .fold(Ok(()), Result::and)
}

/// Writes a lease, after removing expired and surplus ones of the gateway.
fn write(folder: &Path, slip: &Slip, lease: &Lease, now: OffsetDateTime) -> Result<()> {
    files::create_dir(folder, layout::PRIVATE_DIR)?;
    let slips = slips(folder).with_context(|| cannot_use(folder))?;
    let (last, over): (Vec<_>, Vec<_>) = slips.into_iter().partition(|slip| slip.lasts(now));
    let too_many = (last.len() + 1).saturating_sub(MOST);
    remove(folder, over.iter().chain(&last[..too_many])).with_context(|| cannot_use(folder))?;
    files::replace(&folder.join(slip.to_string()), layout::PRIVATE, |file| {
        serde_json::to_writer(file, lease).map_err(io::Error::from)
    })
}

/// Uses up one reading of the lease with this digest.
fn take(folder: &Path, digest: &str, now: OffsetDateTime) -> io::Result<Option<Lease>> {
    // Another process may be faster; each time it uses up a reading, so this ends.
    loop {
        let slip = slips(folder)?.into_iter().find(|slip| slip.digest == digest);
        let Some(slip) = slip.filter(|slip| slip.lasts(now)) else { return Ok(None) };
        let path = folder.join(slip.to_string());
        let used = files::read(&path).and_then(|text| {
            // If the disk has no space for the new name, the lease is used up.
            match slip.after_reading() {
                Some(rest) => fs::rename(&path, folder.join(rest.to_string()))
                    .or_else(|_| fs::remove_file(&path))?,
                None => fs::remove_file(&path)?,
            }
            Ok(text)
        });
        match used {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            used => return Ok(Some(serde_json::from_slice(&used?)?)),
        }
    }
}

fn cannot_use(path: &Path) -> String {
    format!("cannot use {}", path.display())
}

#[cfg(test)]
mod tests;
