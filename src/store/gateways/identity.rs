//! The certificates of gateways in the state, and their private keys. Reads the disk.

use std::io;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use super::Gateways;
use super::folder::certificate_path;
use super::folder::key_path;
use crate::fleet::OwnedCertificate;
use crate::fleet::Record;
use crate::identity::Certificate;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;
use crate::identity::Identity;
use crate::store::files;

impl Gateways {
    /// A certificate of a gateway, PEM.
    pub fn certificate_pem(&self, record: &Record, fingerprint: &Fingerprint) -> Result<String> {
        let path = certificate_path(&self.home(&record.name), fingerprint);
        files::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// The certificate and key for a new image of this gateway.
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
        let certificate = files::read(&certificate_path)
            .with_context(|| format!("cannot read {}", certificate_path.display()))?;
        let key = match files::read(&key_path) {
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

    /// The stored certificates of a gateway, oldest first.
    pub fn certificates(&self, record: &Record) -> Result<Vec<Certificate>> {
        let home = self.home(&record.name);
        let read = |owned: &OwnedCertificate| {
            let path = certificate_path(&home, &owned.fingerprint);
            let pem =
                files::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
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

    /// Says whether the private key of a certificate is stored here.
    pub fn has_key(&self, name: &GatewayName, fingerprint: &Fingerprint) -> bool {
        key_path(&self.home(name), fingerprint).exists()
    }
}
