//! What all handlers share, and the one hand-over of a request: from the thread that serves
//! connections to one that may wait for the disk, and only if the answer is not in memory.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::nginx_headers::NginxHeaders;
use super::turns::Turns;
use crate::fleet::Asset;
use crate::identity::Fingerprint;
use crate::replica::Fetch;
use crate::server::app::App;
use crate::server::app::Error;
use crate::server::app::Reach;
use crate::server::app::Result;
use crate::store::blobs::Access;

/// How long a request waits for a file that only the common store has. iPXE asks again when told
/// to, and others get what came meanwhile.
const FETCH_LIMIT: Duration = Duration::from_secs(20);

/// Files that one answer may have to fetch: a script, and the template of secrets.
const MOST_FETCHES: usize = 2;

/// Reads of one client that run at a time, and that may wait. A gateway asks for one thing after
/// the other; many that booted behind one address ask for their secrets at once.
const READS: (usize, usize) = (4, 128);

/// The same for writes: those of a gateway follow each other anyway. iPXE asks again when it is
/// told to, so few need to wait.
const WRITES: (usize, usize) = (1, 16);

/// How long a request waits for its turn, and for a file that others have locked.
const TURN_LIMIT: Duration = Duration::from_secs(5);

/// How often a locked file is tried.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What all handlers share.
pub(in crate::server) struct Front {
    pub(super) app: Arc<App>,
    pub(super) nginx_headers: NginxHeaders,
    reads: Turns,
    writes: Turns,
}

/// Which of a client's requests wait for each other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Line {
    /// Those that only read.
    Reads,
    /// Those that may write.
    Writes,
}

/// Whose request waits in a [`Line`].
pub(super) struct Whose {
    /// What the client has proved to have: nobody can take another's turn.
    pub(super) key: String,
    /// For people.
    pub(super) name: String,
}

impl Front {
    pub(in crate::server) fn new(app: Arc<App>) -> Self {
        let (reads, writes) = (Turns::new(READS), Turns::new(WRITES));
        Self { app, nginx_headers: NginxHeaders::default(), reads, writes }
    }

    /// The client with this certificate.
    pub(super) fn whose(&self, fingerprint: Fingerprint) -> Whose {
        let name = match self.app.name_in_memory(&fingerprint) {
            Some(name) => format!("gateway {name}"),
            None => format!("certificate {fingerprint}"),
        };
        Whose { key: fingerprint.to_string(), name }
    }

    /// Answers from memory where that is possible, and else from the disk. So `work` runs
    /// again whenever it fails with [`Error::Cold`], [`Error::Elsewhere`] or [`Error::Busy`].
    pub(super) async fn answer<T: Send + 'static>(
        &self,
        line: Line,
        client: impl Fn() -> Whose,
        work: impl Fn(&App, Reach) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match work(&self.app, Reach::Memory) {
            Err(Error::Cold) => self.answer_from_disk(line, &client(), work).await,
            answer => answer,
        }
    }

    /// The same for what is never in memory.
    pub(super) async fn answer_from_disk<T: Send + 'static>(
        &self,
        line: Line,
        client: &Whose,
        work: impl Fn(&App, Reach) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (mut work, mut fetches) = (work, 0);
        loop {
            let answer;
            (answer, work) = self.on_disk(line, client, work).await?;
            match answer {
                Err(Error::Elsewhere(asset, access)) if fetches < MOST_FETCHES => {
                    fetches += 1;
                    // Whoever waits for the store has no turn meanwhile.
                    self.fetch(&asset, access).await?;
                }
                Err(error @ Error::Elsewhere(..)) => return Err(Error::NotYet(error.to_string())),
                answer => return answer,
            }
        }
    }

    /// Runs `work` when it is the client's turn, and again as long as another process has the
    /// lock that it needs. So `work` must not wait for one itself. What has begun is finished,
    /// also when the client is gone.
    async fn on_disk<T, W>(&self, line: Line, client: &Whose, work: W) -> Result<(Result<T>, W)>
    where
        T: Send + 'static,
        W: Fn(&App, Reach) -> Result<T> + Send + 'static,
    {
        let turns = match line {
            Line::Reads => &self.reads,
            Line::Writes => &self.writes,
        };
        let deadline = Instant::now() + TURN_LIMIT;
        let turn = turns.enter(&client.key, deadline).await;
        let mut turn = turn.map_err(|busy| Error::Busy(format!("{}: {busy}", client.name)))?;
        let mut work = work;
        loop {
            // The turn lasts as long as the work, however long anybody waits for it.
            let app = self.app.clone();
            let done = blocking(move || (work(&app, Reach::Disk), work, turn));
            let answer;
            (answer, work, turn) = done.await?;
            match answer {
                Err(Error::Busy(_)) if Instant::now() < deadline => {
                    tokio::time::sleep(LOCK_PAUSE).await;
                }
                answer => return Ok((answer, work)),
            }
        }
    }

    async fn fetch(&self, asset: &Asset, access: Access) -> Result<()> {
        let Some(replica) = self.app.replica() else { return Ok(()) };
        match replica.fetch(asset, access, FETCH_LIMIT).await {
            Fetch::Here => Ok(()),
            Fetch::OnItsWay => Err(Error::NotYet(format!("blob {} is on its way", asset.sha256))),
            Fetch::Failed(error) => Err(Error::NotYet(error.to_string())),
        }
    }

    /// Runs what operators ask, who wait for nobody.
    pub(super) async fn for_operators<T: Send + 'static>(
        &self,
        work: impl FnOnce(&App) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let app = self.app.clone();
        blocking(move || work(&app)).await?
    }
}

/// Runs what waits for the disk where it holds nobody up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let span = tracing::Span::current();
    let work = move || span.in_scope(work);
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Internal(error.into()))
}
