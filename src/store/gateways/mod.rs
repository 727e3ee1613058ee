//! Gateway records: `STATE/gateways/NAME/`.
//!
//! `gateway.json` is the truth. `.by-fingerprint/` leads from a certificate to the record of its
//! owner, so that a request costs two small reads however large the fleet is. An entry proves
//! nothing until the record confirms it. A changed file is read again, so a command's change counts
//! from the next request on.

mod change;
mod folder;
mod identity;
mod index;
mod known;
mod rename;

use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;

pub use known::KnownGateways;

use crate::fleet::GatewayId;
use crate::fleet::OwnedCertificate;
use crate::fleet::Record;
use crate::identity::GatewayName;
use crate::identity::Serial;
use crate::near::near;

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
                    && entry.path().join(folder::RECORD).exists()
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
        self.find(name)?.with_context(|| {
            let all = "`farmgate gateway list` shows all of them";
            if let Some(present) = self.present_name(name) {
                return format!("there is no gateway {name} any more: it is called {present} now");
            }
            match self.similar(name) {
                Some(similar) => format!("there is no gateway {name}, but {similar}; {all}"),
                None => format!("there is no gateway {name}; {all}"),
            }
        })
    }

    /// Suggests the gateway with a similar name.
    fn similar(&self, name: &GatewayName) -> Option<GatewayName> {
        let names = self.names().ok()?;
        near(name.as_str(), names.iter().map(GatewayName::as_str))?.parse().ok()
    }

    /// The record of the gateway `name`, if it exists.
    pub fn find(&self, name: &GatewayName) -> Result<Option<Record>> {
        folder::read_record(&self.home(name))
    }

    /// The certificates of all gateways with this serial number, from all readable records.
    pub(super) fn with_serial(
        &self,
        serial: &Serial,
    ) -> Result<Vec<(GatewayName, OwnedCertificate)>> {
        let records = self.names()?.into_iter().filter_map(|name| self.find(&name).ok().flatten());
        let all = records.flat_map(|Record { name, certificates, .. }| {
            certificates.into_iter().map(move |owned| (name.clone(), owned))
        });
        Ok(all.filter(|(_, owned)| owned.serial == *serial).collect())
    }

    /// The record of the gateway with this id, if it still exists.
    pub fn find_by_id(&self, id: &GatewayId) -> Result<Option<Record>> {
        let find = |name: &GatewayName| {
            Ok::<_, anyhow::Error>(self.find(name)?.filter(|record| record.id == *id))
        };
        if let Ok(name) = id.name().parse()
            && let Some(record) = find(&name)?
        {
            return Ok(Some(record));
        }
        self.name_of(id).map_or(Ok(None), |name| find(&name))
    }

    fn home(&self, name: &GatewayName) -> PathBuf {
        self.dir.join(name)
    }
}
