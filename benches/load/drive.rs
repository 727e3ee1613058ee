//! Runs a load for a while, and says how much was done in that time and at what cost.

use std::sync::Barrier;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use anyhow::Error;
use anyhow::Result;

use crate::process::own_cpu_time;
use crate::servers::Server;

/// One measurement.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) per_second: f64,
    /// CPU time of the server for each unit, in microseconds.
    pub(crate) server_micros: f64,
    /// Shares of their CPUs that server and client used.
    pub(crate) server_busy: f64,
    pub(crate) client_busy: f64,
}

/// Has `workers` do what `prepare` gives them, over and over, each on a thread. Preparing, such
/// as opening a connection, is not measured. Work returns how many units it was.
pub(crate) fn drive<W: FnMut() -> Result<f64>>(
    server: &Server,
    time: Duration,
    workers: usize,
    prepare: impl Fn(usize) -> Result<W> + Sync,
) -> Result<Sample> {
    let ready = Barrier::new(workers + 1);
    let failure: Mutex<Option<Error>> = Mutex::new(None);
    let failed = |error| {
        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    };
    let (units, wall, server_time, client_time) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|worker| {
                let (ready, failed, prepare) = (&ready, &failed, &prepare);
                scope.spawn(move || {
                    let prepared = prepare(worker);
                    ready.wait();
                    match prepared.and_then(|work| repeat(work, time)) {
                        Ok(units) => units,
                        Err(error) => {
                            failed(error);
                            0.0
                        }
                    }
                })
            })
            .collect();
        ready.wait();
        let (began, server_before, client_before) =
            (Instant::now(), server.cpu_time(), own_cpu_time());
        let units: f64 = threads.into_iter().filter_map(|thread| thread.join().ok()).sum();
        (
            units,
            began.elapsed().as_secs_f64(),
            (server.cpu_time().saturating_sub(server_before)).as_secs_f64(),
            (own_cpu_time().saturating_sub(client_before)).as_secs_f64(),
        )
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error.context(format!("asking {}", server.name))),
        None => Ok(Sample {
            per_second: units / wall,
            server_micros: server_time * 1e6 / units,
            server_busy: server_time / wall,
            client_busy: client_time / wall,
        }),
    }
}

fn repeat(mut work: impl FnMut() -> Result<f64>, time: Duration) -> Result<f64> {
    let (began, mut units) = (Instant::now(), 0.0);
    while began.elapsed() < time {
        units += work()?;
    }
    Ok(units)
}
