//! Boot scripts as gateways get them. Reads the operator's script from the store, and caches some.

use std::sync::Arc;
use std::time::SystemTime;

use super::App;
use super::error::Error;
use super::error::Reach;
use super::error::Result;
use super::files::Target;
use super::prelude::Prelude;
use crate::fleet::BOOT_SCRIPT;
use crate::fleet::BlobId;
use crate::fleet::MAX_SCRIPT_LEN;
use crate::store::blobs::Access;
use crate::store::journal::Stage;
use crate::store::stamp::Memo;
use crate::store::stamp::Stamp;

/// Scripts that are kept in memory, and the longest of them: 4 MiB at most.
const MOST: usize = 512;
const LONGEST: u64 = 8 * 1024;

/// Cache of operators' scripts whose digest was verified.
pub(super) struct Scripts(Memo<BlobId, Arc<[u8]>>);

impl Default for Scripts {
    fn default() -> Self {
        Self(Memo::new(MOST))
    }
}

impl App {
    /// The script that `target` names, with its prelude. Grants a lease if the gateway has secrets.
    pub(super) fn script(&self, target: &Target<'_>, reach: Reach) -> Result<Vec<u8>> {
        let operators = self.operators_script(target, reach)?;
        let Target { client, generation, boot, .. } = *target;
        let (gateway, settings) = (&client.gateway, self.settings());
        let prelude = Prelude {
            gateway: &gateway.name,
            fingerprint: &client.fingerprint,
            generation: generation.number,
            url: &settings.url,
            public_url: settings.public_url.as_ref(),
            ack_path: boot.map(|boot| self.ack_path(gateway, boot, &client.fingerprint)),
            secrets_path: self.secrets_path(client, generation, boot, reach)?,
            bucket: self.bucket_values(gateway, boot, reach)?,
            variables: generation.variables(),
        };
        let text = prelude.before(&operators);
        let size = text.len() as u64;
        let stage = Stage::File { path: BOOT_SCRIPT.into(), size, bytes: size, millis: 0 };
        self.recorder.record(client.subject(boot), stage);
        Ok(text)
    }

    /// The operator's script, unchanged.
    fn operators_script(&self, target: &Target<'_>, reach: Reach) -> Result<Arc<[u8]>> {
        let Target { client, generation, asset, .. } = *target;
        if asset.size > MAX_SCRIPT_LEN {
            // This version publishes none that long; another host's version might.
            return Err(Error::Internal(anyhow::anyhow!(
                "gateway {}: {BOOT_SCRIPT} of generation {} is larger than {MAX_SCRIPT_LEN} bytes",
                client.gateway.name,
                generation.number
            )));
        }
        let blobs = self.generations.blobs_of(Access::Public);
        let now = SystemTime::now();
        let facts = blobs.find(asset).map_err(|fault| self.unservable(target, fault, reach))?;
        let stamp = Stamp::new(&facts);
        if let Some((seen, script)) = self.scripts.0.get(&asset.sha256)
            && seen.is_still(&stamp)
        {
            return Ok(script);
        }
        reach.disk()?;
        let script = blobs.read(asset).map_err(|fault| self.unservable(target, fault, reach))?;
        let script: Arc<[u8]> = script.into();
        if asset.size <= LONGEST {
            self.scripts.0.keep(asset.sha256, stamp, script.clone(), now);
        }
        Ok(script)
    }
}
