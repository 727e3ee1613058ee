//! Files of a gateway's generations. Reads the store.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use super::App;
use super::authenticate::Client;
use super::error::Error;
use super::error::Reach;
use super::error::Result;
use crate::fleet::Asset;
use crate::fleet::BOOT_SCRIPT;
use crate::fleet::BlobId;
use crate::fleet::EventId;
use crate::fleet::Generation;
use crate::fleet::SECRETS;
use crate::foreign::Foreign;
use crate::server::recorder::Subject;
use crate::server::shown::shown;
use crate::store::blobs::Access;
use crate::store::blobs::Fault;
use crate::store::journal::Stage;

/// Longest `Range` value in the log. iPXE and curl send about 20 characters.
pub(super) const LONGEST_RANGE: usize = 200;

/// A gateway's request for a file.
pub(in crate::server) struct Wish<'a> {
    /// `None` for the generation that the running boot was sent to, or else the current one.
    pub(in crate::server) generation: Option<Number<'a>>,
    pub(in crate::server) path: &'a str,
    pub(in crate::server) method: &'a str,
    pub(in crate::server) range: Option<&'a str>,
}

/// The generation's number as the client wrote it.
#[derive(Clone, Copy)]
pub(in crate::server) struct Number<'a>(pub(in crate::server) &'a str);

/// The content of an answer.
pub(in crate::server) enum Content {
    /// A rendered boot script.
    Script(Vec<u8>),
    /// A file that this process sends, and the journal entry for it.
    File { file: File, asset: Asset, subject: Subject },
    /// A file that nginx sends.
    ByNginx { location: String, sha256: BlobId },
}

/// The requested file.
pub(super) struct Target<'a> {
    pub(super) client: &'a Client,
    pub(super) generation: &'a Arc<Generation>,
    pub(super) path: &'a str,
    pub(super) asset: &'a Asset,
    /// The boot that it belongs to.
    pub(super) boot: Option<EventId>,
}

impl App {
    /// Finds a file of one generation of the client's gateway.
    ///
    /// The path is looked up in the generation's list of files and never becomes part of a file
    /// name. So `..` and its disguises lead nowhere.
    pub(in crate::server) fn file(
        &self,
        client: &Client,
        wish: &Wish<'_>,
        reach: Reach,
    ) -> Result<Content> {
        let gateway = &client.gateway;
        let history = self.history(&gateway.id, reach)?;
        let begun = self.begun(gateway);
        let generation = match wish.generation {
            None => history
                .in_use(begun)
                .ok_or_else(|| Error::NothingPublished(gateway.name.clone()))?,
            Some(number) => {
                let found = number.parse().and_then(|n| self.meant(gateway, &history, n));
                found.ok_or_else(|| {
                    let (name, number) = (&gateway.name, shown(number.0));
                    Error::NotFound(format!("gateway {name} has no generation {number:?}"))
                })?
            }
        };
        let (path, boot) = (wish.path, history.boot_of(generation.number, begun));
        let Some(asset) = generation.asset(path) else {
            let error = format!("generation {} has no file {:?}", generation.number, shown(path));
            let stage = Stage::Error { error: error.as_str().into() };
            self.recorder.record(client.subject(boot), stage);
            return Err(Error::NotFound(format!("gateway {}: {error}", gateway.name)));
        };
        if history.is_dropped(generation.number)
            && self.generations.blobs_of(Access::to(path)).find(asset).is_err()
        {
            let error = format!("the files of generation {} were removed", generation.number);
            self.recorder.record(client.subject(boot), Stage::Error { error: (&*error).into() });
            return Err(Error::NotFound(format!("gateway {}: {error}", gateway.name)));
        }
        let target = Target { client, generation, path, asset, boot };
        let content = if path == BOOT_SCRIPT {
            self.ensure_local(asset, Access::Public, reach)?;
            if let Some(secrets) = generation.files().get(SECRETS) {
                self.ensure_local(secrets, Access::Private, reach)?;
            }
            Content::Script(self.script(&target, reach)?)
        } else {
            self.ensure_local(asset, Access::Public, reach)?;
            self.asset(&target, reach)?
        };
        tracing::info!(
            gateway = %gateway.name,
            generation = generation.number,
            method = wish.method,
            path,
            range = wish.range.map(|range| Foreign::shorter(range, LONGEST_RANGE).to_string()),
            "asset"
        );
        Ok(content)
    }

    fn asset(&self, target: &Target<'_>, reach: Reach) -> Result<Content> {
        let Target { client, path, asset, boot, .. } = *target;
        let subject = client.subject(boot);
        self.blob(path, asset, subject, client.behind_nginx, reach)?
            .map_err(|fault| self.unservable(target, fault, reach))
    }

    /// The blob of a file that is public.
    pub(super) fn blob(
        &self,
        path: &str,
        asset: &Asset,
        subject: Subject,
        behind_nginx: bool,
        reach: Reach,
    ) -> Result<std::result::Result<Content, Fault>> {
        let blobs = self.generations.blobs_of(Access::Public);
        if behind_nginx && let Some(prefix) = &self.settings().accel {
            let facts = match blobs.find(asset) {
                Ok(facts) => facts,
                Err(fault) => return Ok(Err(fault)),
            };
            // An older version kept it as a secret: nginx would answer 403.
            if facts.mode() & 0o004 != 0 {
                let stage = Stage::FileByNginx { path: path.into(), size: asset.size };
                self.recorder.record(subject, stage);
                let location = format!("{}/{}", prefix.as_str(), asset.sha256.path());
                return Ok(Ok(Content::ByNginx { location, sha256: asset.sha256 }));
            }
        }
        reach.disk()?;
        let file = blobs.open_whole(asset);
        Ok(file.map(|file| Content::File { file, asset: asset.clone(), subject }))
    }

    /// Fails if a file of a generation is missing here but another host may have it.
    pub(super) fn ensure_local(&self, asset: &Asset, access: Access, reach: Reach) -> Result<()> {
        let Some(replica) = &self.replica else { return Ok(()) };
        reach.disk()?;
        // The fetch meets and reports an error of this look again.
        if replica.look(asset, access).unwrap_or(false) {
            Ok(())
        } else {
            Err(Error::Elsewhere(asset.clone(), access))
        }
    }

    /// The error for a damaged file. No answer is better than a wrong one, which would be cached or
    /// booted. The gateway starts over, or moves on to another boot host.
    pub(super) fn unservable(&self, target: &Target<'_>, fault: Fault, reach: Reach) -> Error {
        if reach == Reach::Memory {
            // Logged here, once; a retry logs it again.
            return Error::Cold;
        }
        let Target { client, generation, path, boot, .. } = *target;
        let (name, number) = (&client.gateway.name, generation.number);
        let error = format!("{path} of generation {number}: {fault}");
        let stage = Stage::Error { error: error.as_str().into() };
        self.recorder.record(client.subject(boot), stage);
        Error::Internal(anyhow::anyhow!(
            "gateway {name}: {error}; publish its folder again to repair it"
        ))
    }
}

impl Number<'_> {
    /// Each generation has one address: neither `+1` nor `01` is accepted.
    fn parse(self) -> Option<u64> {
        self.0.parse().ok().filter(|parsed: &u64| parsed.to_string() == self.0)
    }
}
