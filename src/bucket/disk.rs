//! `STATE/buckets/`: this boot host's files about buckets. Disk.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use super::hand_out::HandOut;
use super::hand_out::hand_out;
use super::hand_out::hand_out_unrecorded;
use super::stored::FORMAT;
use super::stored::Stored;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::fleet::format;
use crate::identity::GatewayName;
use crate::store::State;
use crate::store::files;
use crate::store::lock;
use crate::store::lock::Lock;

const HOST: &str = "host";

/// Longest wait of a boot for the lock of its bucket's file. After that it gets the values in the
/// file.
const HAND_OUT: Duration = Duration::from_millis(500);

/// Longest wait of a command for another one, or for the server, to finish with a slow provider.
const RECONCILING: Duration = Duration::from_secs(10 * 60);

/// The files `STATE/buckets/ID.json`, mode 0600. They hold secrets, so they never leave the local
/// disk; each boot host makes keys of its own.
#[derive(Clone, Debug)]
pub struct Disk {
    dir: PathBuf,
}

impl Disk {
    pub fn new(state: &State) -> Self {
        Self { dir: state.dir().join("buckets") }
    }

    pub fn dir(&self) -> &PathBuf {
        &self.dir
    }

    /// The file of one gateway.
    pub fn file(&self, gateway_id: &GatewayId) -> PathBuf {
        self.dir.join(format!("{gateway_id}.json"))
    }

    /// Ids of all gateways with a file.
    pub fn ids(&self) -> Result<Vec<GatewayId>> {
        let read = || -> io::Result<Vec<GatewayId>> {
            let mut ids = Vec::new();
            let entries = match fs::read_dir(&self.dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ids),
                entries => entries?,
            };
            for entry in entries {
                let name = entry?.file_name();
                let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
                ids.extend(id.and_then(|id| id.parse::<GatewayId>().ok()));
            }
            ids.sort();
            Ok(ids)
        };
        read().with_context(|| format!("cannot read {}", self.dir.display()))
    }

    /// Reads a gateway's file; `None` if there is none.
    pub fn load(&self, gateway_id: &GatewayId) -> Result<Option<Stored>> {
        let path = self.file(gateway_id);
        let text = match files::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let damaged = || {
            format!(
                "{} is damaged; restore it from a backup, or remove it: then the bucket is found \
                 again and gets a new key",
                path.display()
            )
        };
        format::read(&path.display(), &text, FORMAT, &damaged).map(Some)
    }

    /// Changes a gateway's file under its lock, and returns the new content. The lock is never held
    /// over network calls.
    pub fn update(
        &self,
        gateway_id: &GatewayId,
        gateway: &GatewayName,
        change: impl FnOnce(&mut Stored),
    ) -> Result<Stored> {
        self.update_within(lock::PATIENCE, gateway_id, gateway, change)
    }

    fn update_within(
        &self,
        patience: Duration,
        gateway_id: &GatewayId,
        gateway: &GatewayName,
        change: impl FnOnce(&mut Stored),
    ) -> Result<Stored> {
        let _lock = self.locked("lock", patience)?;
        let mut stored = self.load(gateway_id)?.unwrap_or_else(|| Stored::new(gateway.clone()));
        let before = stored.clone();
        change(&mut stored);
        if stored != before || !self.file(gateway_id).exists() {
            files::replace(&self.file(gateway_id), 0o600, |file| {
                serde_json::to_writer_pretty(&mut *file, &stored)?;
                file.write_all(b"\n")
            })?;
        }
        Ok(stored)
    }

    /// Removes the file of a gateway for which nothing was made.
    pub(super) fn forget(&self, gateway_id: &GatewayId) -> Result<()> {
        let path = self.file(gateway_id);
        files::remove_if_there(&path).with_context(|| format!("cannot remove {}", path.display()))
    }

    /// The values that `boot` gets. Reads only the disk.
    pub fn hand_out(
        &self,
        gateway_id: &GatewayId,
        gateway: &GatewayName,
        boot: Option<EventId>,
    ) -> HandOut {
        let stored = match self.load(gateway_id) {
            Ok(stored) => stored.unwrap_or_else(|| Stored::new(gateway.clone())),
            Err(error) => return HandOut { values: None, problem: Some(format!("{error:#}")) },
        };
        if !stored.must_record(boot) {
            return hand_out(&stored);
        }
        match self.update_within(HAND_OUT, gateway_id, gateway, |fresh| fresh.record(boot)) {
            Ok(fresh) => hand_out(&fresh),
            Err(error) => hand_out_unrecorded(&stored, format!("{error:#}")),
        }
    }

    /// Eight hex digits that tell this boot host's keys from those of other hosts.
    pub(super) fn host(&self) -> Result<String> {
        let _lock = self.locked("lock", lock::PATIENCE)?;
        let path = self.dir.join(HOST);
        match files::read_to_string(&path) {
            Ok(text) => {
                let host = text.trim();
                let valid = host.len() == 8 && host.bytes().all(|b| b.is_ascii_hexdigit());
                ensure!(valid, "{} is damaged; remove it, and a new one is made", path.display());
                Ok(host.to_owned())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let host = unique();
                files::replace(&path, 0o600, |file| writeln!(file, "{host}"))?;
                Ok(host)
            }
            Err(error) => Err(error).context(format!("cannot read {}", path.display())),
        }
    }

    /// Waits for the lock of the reconciler.
    pub fn reconciling(&self) -> Result<Lock> {
        self.locked("reconciling", RECONCILING)
    }

    /// The same without waiting; `None` if another process holds it.
    pub fn try_reconciling(&self) -> Result<Option<Lock>> {
        files::create_dir(&self.dir, 0o700)?;
        lock::try_at(&self.dir.join("reconciling"))
    }

    fn locked(&self, name: &str, patience: Duration) -> Result<Lock> {
        files::create_dir(&self.dir, 0o700)?;
        lock::at_within(&self.dir.join(name), patience)
    }
}

/// Eight random hex digits.
pub(super) fn unique() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..8].to_owned()
}
