use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use clap::Subcommand;

use super::Context;
use super::now;
use crate::config::BootUrl;
use crate::fleet::Record;
use crate::replica::Copied;
use crate::replica::Place;
use crate::replica::Replica;
use crate::replica::Report;
use crate::replica::copy;
use crate::store::State;
use crate::store::blobs::Access;
use crate::store::generations::Generations;
use crate::store::owner;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Bring this boot host and the common store in step once, now, and mend damaged files
    Sync,
    /// Copy a whole store: from a directory to a bucket, or the other way round
    Copy {
        /// A directory like STATE/store, or s3://bucket/prefix (its key is in the configuration)
        from: Place,
        /// Likewise. What is there already stays as it is
        to: Place,
    },
    /// Write the state of another boot host of this fleet to a new directory
    NewHost {
        /// To be moved to that host, as its state directory; holds keys
        dir: PathBuf,
        /// Where gateways and the systems that they boot find that host, if it has a name of
        /// its own
        #[arg(long)]
        url: Option<BootUrl>,
    },
}

impl Command {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Sync => {
                let state = context.state()?;
                let (report, lost) = runtime()?.block_on(async {
                    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
                    let replica = Replica::open(&state, credentials.as_ref().map(AsRef::as_ref))?;
                    let replica = replica.context(
                        "this boot host is alone: [store] url in its configuration names no store",
                    )?;
                    let pass = async {
                        let report = replica.pass().await?;
                        replica.give_wanted().await?;
                        anyhow::Ok((report, replica.mend().await?))
                    };
                    pass.await.with_context(|| format!("the store {}", replica.shown()))
                })?;
                context.print(&Synced(report))?;
                ensure!(
                    lost.is_empty(),
                    "files that the next boots need are missing or damaged here, and could not be \
                     had: {}",
                    lost.join("; ")
                );
                Ok(())
            }
            Self::Copy { from, to } => {
                let state = context.state()?;
                // Whose the copy is to be, wherever it comes from.
                if let Some(dir) = to.directory() {
                    owner::work_as_owner_of(dir)?;
                }
                let progress = context.progress(0, "copying");
                let told = |done, all| {
                    progress.set_length(all);
                    progress.set_position(done);
                };
                let copied = runtime()?.block_on(copy(&from, &to, &state.config().store, &told))?;
                progress.finish_and_clear();
                let damaged = copied.damaged.clone();
                context.print(&Done(copied))?;
                ensure!(
                    damaged.is_empty(),
                    "not copied, because they are damaged: {}",
                    damaged.join(", ")
                );
                Ok(())
            }
            Self::NewHost { dir, url } => {
                let state = context.state()?;
                ensure!(
                    state.config().store.url.is_some(),
                    "two boot hosts need a store that both see: name one in [store] url first"
                );
                state.new_host(&dir, url.as_ref(), now())?;
                let known = &state.config().media.fallback_urls;
                let unknown = url.filter(|url| !known.contains(url));
                context.print(&Made { host: dir, unknown })
            }
        }
    }
}

#[derive(serde::Serialize)]
struct Made {
    host: PathBuf,
    /// Its URL, if media do not know it.
    #[serde(skip)]
    unknown: Option<BootUrl>,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is the state of another boot host: move it there, and keep it secret on the way",
            self.host.display()
        )?;
        if let Some(url) = &self.unknown {
            write!(
                f,
                "\nmedia do not know it: add {url} to [media] fallback-urls, and make them anew"
            )?;
        }
        Ok(())
    }
}

#[derive(serde::Serialize)]
#[serde(transparent)]
struct Done(Copied);

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Copied { blobs, objects, there, .. } = &self.0;
        write!(f, "copied {blobs} blobs and {objects} objects; {there} were there already")
    }
}

/// How long somebody who goes back to an old generation waits for a file of it.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// Brings the files of a generation here that may be only in the common store: number `number`,
/// or whichever a command may mean that is not told. What does not come is missed later.
pub(super) fn bring(state: &State, record: &Record, number: Option<u64>) -> Result<()> {
    if state.config().store.url.is_none() {
        return Ok(());
    }
    let history = Generations::new(state).readable(&record.id)?.history;
    let meant = match number {
        Some(number) => vec![history.generation(number)],
        None => vec![history.current(), history.previous()],
    };
    runtime()?.block_on(async {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
        let replica = Replica::open(state, credentials.as_ref().map(AsRef::as_ref));
        // To go back must work without the common store.
        let Ok(Some(replica)) = replica else { return };
        for generation in meant.into_iter().flatten() {
            for (path, asset) in generation.files() {
                replica.fetch(asset, Access::to(path), PATIENCE).await;
            }
        }
    });
    Ok(())
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")
}

#[derive(serde::Serialize)]
#[serde(transparent)]
struct Synced(Report);

impl fmt::Display for Synced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { pushed, pulled, records, held_back, left_out } = self.0;
        write!(f, "delivered {pushed}, brought {pulled}, {records} gateways changed")?;
        if held_back > 0 {
            write!(f, "; {held_back} new generations wait for their files")?;
        }
        if left_out > 0 {
            write!(f, "; left out {left_out} that this farmgate cannot read")?;
        }
        Ok(())
    }
}
