//! The boot server. Two listeners lead gateways to the same routes: own mutual TLS, and a Unix
//! socket behind nginx. A third is for operators.

mod app;
mod background;
mod board;
mod buckets;
mod edge;
mod facts;
mod http;
mod metrics;
mod page;
mod pki;
mod problems;
mod recorder;
mod settings;
mod shown;
mod sync;
mod templates;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use app::App;
use background::Wakers;
use background::summary;
use board::Board;
use edge::accept;
use edge::connection::Connections;
use edge::doors::Doors;
use edge::doors::Role;
use edge::operators::Operators;
use edge::room::Room;
use edge::systemd;
use edge::watchdog;
use http::Front;
pub use pki::certificate_file;
pub use pki::server_chain;
pub use problems::certificate_problems;
pub use problems::clock_problems;
pub use settings::GivenDoors;
use settings::Settings;
pub use settings::Source;

use crate::process;
use crate::replica;
use crate::replica::Replica;

/// Interval of asking systemd for more time while running downloads finish, and the time asked for.
const DRAIN_REPORT: Duration = Duration::from_secs(5);
const DRAIN_MARGIN: Duration = Duration::from_secs(30);

/// Checks what [`run`] would use, without serving.
pub fn check(source: &Source) -> Result<()> {
    let settings = Settings::load(source, |_| true)?;
    let mut problems = settings.problems;
    problems.extend(settings.state.missing_folders());
    ensure!(problems.is_empty(), "{}", problems.join("; "));
    Replica::open(&settings.state, settings.credentials.as_deref()).map(drop)
}

/// Serves until SIGTERM or SIGINT, then lets running downloads finish for as long as `listen.drain`
/// says. A second signal ends the server at once. SIGHUP reloads the configuration and the
/// certificates.
pub async fn run(source: Source) -> Result<()> {
    let mut stop = Stop::new()?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    let passed = systemd::sockets()?;
    let tls_passed = passed.iter().any(|(name, _)| name == "tls");
    let settings = Settings::load(&source, |listen| tls_passed || listen.tls.is_some())?;
    for problem in &settings.problems {
        tracing::error!("{problem}");
    }
    let descriptors = process::raise_descriptors();
    // Before any client is let in.
    background::mend_index(settings.state.gateways()).await;
    let mut doors = Doors::open(&settings.listen, passed)?;
    let wakers = Arc::new(Wakers::default());
    let heard = wakers.clone();
    let app = Arc::new(App::new(settings, accept::REASONS, move |news| heard.hear(news))?);
    let front = Arc::new(Front::new(app.clone(), wakers.clone()));
    let connections = Connections::new(http::router::router(front.clone()));
    let board = Arc::new(Board::new(app.clone()));
    let for_operators = connections.for_operators(http::admin::router(front, board.clone()));
    let operators = Operators::new().context("cannot start threads")?;
    let room = Room::for_gateways(descriptors);

    let (mut tasks, mut probes) = (JoinSet::new(), Vec::new());
    for door in doors.doors.drain(..) {
        let (sender, receiver) = mpsc::channel(1);
        probes.push((door.role.name(), sender));
        if door.role == Role::Admin {
            let _there = operators.handle().enter();
            let (door, room) = (door.registered_here()?, Room::for_operators());
            let serve = accept::serve(door, for_operators.clone(), app.clone(), room, receiver);
            tasks.spawn_on(serve, operators.handle());
        } else {
            let (connections, room) = (connections.clone(), room.clone());
            tasks.spawn(accept::serve(door, connections, app.clone(), room, receiver));
        }
    }
    tasks.spawn_on(board::run(board.clone(), wakers.clone()), operators.handle());
    tasks.spawn(background::sweep(app.clone()));
    tasks.spawn(background::collect(app.clone()));
    tasks.spawn(background::advance_rollouts(app.clone(), wakers.clone()));
    tasks.spawn(buckets::run(app.clone(), wakers.clone()));
    tasks.spawn(sync::run(app.clone(), wakers));
    if let Some(replica) = app.replica() {
        tasks.spawn(replica::run(replica.clone()));
    }
    tasks.spawn(watchdog::run(probes));
    systemd::ready(&summary(&app).await);

    loop {
        tokio::select! {
            () = stop.wait() => break,
            _ = hangup.recv() => reload(&source, &app).await,
            // These tasks never end by themselves. Without one of them, gateways would wait
            // forever.
            ended = tasks.join_next() => bail!("a part of the server ended: {ended:?}"),
        }
    }
    systemd::stopping();
    tasks.shutdown().await;
    // Those who watch would hold up the end.
    board.close();
    tracing::info!(running = connections.count(), "stopping: running downloads may finish");
    tokio::select! {
        () = drain(&connections, app.settings().listen.drain) => {}
        () = stop.wait() => tracing::warn!("stopped at once on a second signal"),
    }
    drop(doors);
    // Whoever looks at the state from now on finds every event in a file of its own.
    tokio::task::spawn_blocking(move || app.close()).await?;
    Ok(())
}

/// SIGTERM or SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Puts new settings in force, or keeps the old ones if gateways could not boot with the new ones.
async fn reload(source: &Source, app: &Arc<App>) {
    systemd::reloading();
    let (source, old) = (source.clone(), app.settings());
    let own_tls = old.tls.is_some();
    let loaded = tokio::task::spawn_blocking(move || -> Result<Settings> {
        let new = Settings::load(&source, |_| own_tls)?;
        let worse = new.problems.iter().filter(|problem| !old.problems.contains(problem));
        let worse: Vec<&str> = worse.map(String::as_str).collect();
        ensure!(worse.is_empty(), "{}", worse.join("; "));
        if !new.listen.same_doors(&old.listen) {
            tracing::warn!("changed addresses in [listen] need a restart");
        }
        if new.state.config().store != old.state.config().store {
            tracing::warn!("a changed [store] needs a restart");
        }
        Ok(new)
    });
    match loaded.await.map_err(anyhow::Error::from).and_then(|result| result) {
        Ok(settings) => {
            app.replace_settings(settings);
            tracing::info!("reloaded");
        }
        Err(error) => {
            // One line, even if a cause (of a TOML error, for example) has several.
            let error = format!("{error:#}").trim_end().replace('\n', " | ");
            tracing::error!("not reloaded, the old settings stay in force: {error}");
        }
    }
    systemd::ready(&summary(app).await);
}

async fn drain(connections: &Connections, limit: Duration) {
    let report = async {
        loop {
            let running = connections.count();
            systemd::still_stopping(DRAIN_MARGIN, &format!("stopping, {running} running"));
            tokio::time::sleep(DRAIN_REPORT).await;
        }
    };
    tokio::select! {
        () = connections.drain() => {}
        () = report => {}
        () = tokio::time::sleep(limit) => {
            tracing::warn!("stopped with downloads unfinished after `listen.drain`");
        }
    }
}
