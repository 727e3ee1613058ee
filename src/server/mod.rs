//! The boot server. Two doors lead to the same routes: own mutual TLS, and a
//! Unix socket behind nginx.

mod app;
mod asset;
mod client;
mod connection;
mod error;
mod listener;
mod peer;
mod recorder;
mod routes;
mod script;
mod secrets;
mod span;
mod systemd;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::config::Listen;
use crate::store::State;
use app::App;
use connection::Connections;

/// How often leases that are over are cleared away, and rollouts looked at.
const SWEEP: Duration = Duration::from_secs(30);

/// Serves until SIGTERM or SIGINT, then lets running downloads finish for as
/// long as `listen.drain` says. A second signal ends it at once.
pub async fn run(state: State, listen: Listen) -> Result<()> {
    ensure!(
        listen.tls.is_some() || listen.unix.is_some(),
        "nowhere to listen: set tls (own TLS) or unix (behind nginx) in [listen], \
         or give --tls or --unix"
    );
    let app = Arc::new(App::new(&state, listen.accel.clone())?);
    let connections = Connections::new(routes::router(app.clone()));

    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;

    let mut doors = tokio::task::JoinSet::new();
    if let Some(address) = listen.tls {
        let config = tls::server_config(&state)?;
        let listener = listener::bind_tcp(address)?;
        tracing::info!(address = %listener.local_addr()?, "listening: mutual TLS");
        doors.spawn(listener::serve_tls(listener, config, connections.clone()));
    }
    if let Some(path) = &listen.unix {
        let listener = listener::bind_unix(path, listen.unix_group.as_deref())?;
        tracing::info!(path = %path.display(), "listening: Unix socket for nginx");
        doors.spawn(listener::serve_unix(listener, connections.clone()));
    }
    doors.spawn(sweep(app));
    systemd::ready();

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    systemd::stopping();
    doors.shutdown().await;
    tracing::info!(running = connections.count(), "stopping: running downloads may finish");
    tokio::select! {
        result = tokio::time::timeout(listen.drain, connections.drain()) => {
            if result.is_err() {
                tracing::warn!("stopped with downloads unfinished: the time for them was over");
            }
        }
        _ = terminate.recv() => tracing::warn!("stopped at once on a second signal"),
        _ = interrupt.recv() => tracing::warn!("stopped at once on a second signal"),
    }
    if let Some(path) = &listen.unix {
        // It is stale from now on; a leftover would only be replaced at the next start.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

async fn sweep(app: Arc<App>) {
    loop {
        // Also notices canaries that used up their tries.
        app.advance_rollouts().await;
        tokio::time::sleep(SWEEP).await;
        if let Err(error) = app.sweep().await {
            tracing::warn!("{error}");
        }
    }
}
