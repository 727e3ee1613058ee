//! State that all handlers share, and the one hand-over of a request: from a connection's thread to
//! a blocking one, and only if the answer is not in memory.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::bell::Bell;
use super::nginx_headers::NginxHeaders;
use super::routes::expect_routes;
use super::turns::Turn;
use super::turns::Turns;
use crate::fleet::Asset;
use crate::fleet::GatewayId;
use crate::identity::Fingerprint;
use crate::replica::Fetch;
use crate::server::app::App;
use crate::server::app::Error;
use crate::server::app::Reach;
use crate::server::app::Result;
use crate::server::background::Wakers;
use crate::store::blobs::Access;

/// Longest wait of a request for a file that only the shared store has. After that, iPXE is told to
/// retry, and the fetch continues for all clients.
const FETCH_LIMIT: Duration = Duration::from_secs(20);

/// Files that one answer may have to fetch: a script and a secrets template.
const MOST_FETCHES: usize = 2;

/// Reads of one client that run at a time, and that may wait. A gateway makes one request after the
/// other; many systems behind one address ask for their secrets at once.
const READS: (usize, usize) = (4, 128);

/// The same for writes. Those of a gateway follow each other anyway, and iPXE retries when told to,
/// so few need to wait.
const WRITES: (usize, usize) = (1, 16);

/// Reports whose bodies are read at a time; none waits.
const REPORTS: (usize, usize) = (2, 0);

/// Longest wait of a request for its turn, and for a file locked by another process.
const TURN_LIMIT: Duration = Duration::from_secs(5);

/// Pause between attempts at a locked file.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// State that all handlers share.
pub(in crate::server) struct Front {
    pub(super) app: Arc<App>,
    pub(super) nginx_headers: NginxHeaders,
    pub(super) bell: Bell,
    reads: Turns,
    writes: Turns,
    reports: Turns,
}

/// A queue of one client's requests.
#[derive(Clone, Copy, Debug)]
pub(super) enum Line {
    /// Requests that only read.
    Reads,
    /// Requests that may write.
    Writes,
}

/// The client whose request waits in a [`Line`]: nobody can take another's turn.
pub(super) enum Whose {
    /// It has the key of this certificate.
    Certificate(Fingerprint),
    /// It has a token of this gateway.
    Gateway(GatewayId),
    /// It came from this address.
    Address(String),
}

impl Whose {
    fn key(&self) -> String {
        match self {
            Self::Certificate(fingerprint) => fingerprint.to_string(),
            Self::Gateway(id) => id.to_string(),
            Self::Address(address) => address.clone(),
        }
    }

    /// For people.
    fn name(&self, app: &App) -> String {
        match self {
            Self::Certificate(fingerprint) => match app.name_in_memory(fingerprint) {
                Some(name) => format!("gateway {name}"),
                None => format!("certificate {fingerprint}"),
            },
            Self::Gateway(id) => format!("gateway {}", id.name()),
            Self::Address(address) => address.clone(),
        }
    }
}

impl Front {
    pub(in crate::server) fn new(app: Arc<App>, wakers: Arc<Wakers>) -> Self {
        expect_routes(&app.counters);
        let [reads, writes, reports] = [READS, WRITES, REPORTS].map(Turns::new);
        let (nginx_headers, bell) = (NginxHeaders::default(), Bell::new(wakers));
        Self { app, nginx_headers, bell, reads, writes, reports }
    }

    /// Answers from memory where possible, otherwise from the disk. `work` runs again whenever it
    /// fails with [`Error::Cold`], [`Error::Elsewhere`] or [`Error::Busy`].
    pub(super) async fn answer<T: Send + 'static>(
        &self,
        line: Line,
        client: &Whose,
        work: impl Fn(&App, Reach) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match work(&self.app, Reach::Memory) {
            Err(Error::Cold) => self.answer_from_disk(line, client, work).await,
            answer => answer,
        }
    }

    /// The same for answers that are never in memory.
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
                    // A request that waits for the store gives its turn back.
                    self.fetch(&asset, access).await?;
                }
                Err(error @ Error::Elsewhere(..)) => return Err(Error::NotYet(error.to_string())),
                answer => return answer,
            }
        }
    }

    /// Runs `work` in the client's turn, and retries while another process has the lock that it
    /// needs. So `work` must not wait for a lock itself. Work that has begun is finished even if
    /// the client is gone.
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
        let turn = turns.enter(&client.key(), deadline).await;
        let busy = |busy| Error::Busy(format!("{}: {busy}", client.name(&self.app)));
        let mut turn = turn.map_err(busy)?;
        let mut work = work;
        loop {
            // The turn lasts as long as the work, even if the client stops waiting.
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

    /// A gateway's turn to send a report. It lasts until the report is written.
    pub(super) async fn turn_to_report(&self, gateway: &GatewayId) -> Result<Turn> {
        let turn = self.reports.enter(gateway.as_str(), Instant::now()).await;
        turn.map_err(|busy| {
            Error::TooMany(format!("reports of gateway {}: {busy}", gateway.name()))
        })
    }

    async fn fetch(&self, asset: &Asset, access: Access) -> Result<()> {
        let Some(replica) = self.app.replica() else { return Ok(()) };
        match replica.fetch(asset, access, FETCH_LIMIT).await {
            Fetch::Here => Ok(()),
            Fetch::OnItsWay => Err(Error::NotYet(format!("blob {} is on its way", asset.sha256))),
            Fetch::Failed(error) => Err(Error::NotYet(error.to_string())),
        }
    }

    /// Runs an operator's request, which takes no turn.
    pub(super) async fn for_operators<T: Send + 'static>(
        &self,
        work: impl FnOnce(&App) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let app = self.app.clone();
        blocking(move || work(&app)).await?
    }
}

/// Runs blocking work on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let span = tracing::Span::current();
    let work = move || span.in_scope(work);
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Internal(error.into()))
}
