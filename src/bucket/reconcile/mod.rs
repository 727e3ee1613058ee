mod failure;
mod find;
mod local;
mod pass;
mod remote;
mod work;

use anyhow::Result;

use failure::Failure;
use pass::Pass;
use remote::Remote;

use super::disk::Disk;
use super::provider::AnyProvider;
use super::provider::Provider;
use crate::identity::GatewayName;
use crate::store::State;
use crate::store::generations::Generations;

/// More steps than any gateway needs. What is left is done the next time.
const MOST_STEPS: usize = 64;

/// What is to be brought in line.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Only this gateway.
    pub only: Option<GatewayName>,
    /// Also what failed a moment ago, or was looked at not long ago.
    pub now: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// Gateways whose buckets are not as they should be, with the reason.
    pub failed: Vec<(GatewayName, String)>,
}

/// Brings what the provider has in line with what gateways should have. Whoever calls it
/// holds [`Disk::reconciling`]. It can be cut off anywhere.
pub async fn reconcile(
    state: &State,
    connect: impl FnOnce() -> Result<AnyProvider>,
    scope: &Scope,
) -> Result<Report> {
    run(state, connect, scope).await
}

async fn run<P: Provider>(
    state: &State,
    connect: impl FnOnce() -> Result<P>,
    scope: &Scope,
) -> Result<Report> {
    let disk = Disk::new(state);
    let pass = Pass {
        state,
        disk: &disk,
        buckets: &state.config().buckets,
        generations: Generations::new(state),
        host: disk.host()?,
        now: scope.now,
    };
    let mut report = Report::default();
    let mut todo = Vec::new();
    for work in work::works(state, &disk, scope)? {
        // What the disk alone can settle needs no provider.
        match pass.local(&work) {
            Ok(true) => todo.push(work),
            Ok(false) => {}
            Err(error) => report.failed.push((work.name, format!("{error:#}"))),
        }
    }
    if todo.is_empty() {
        return Ok(report);
    }
    let provider = match connect() {
        Ok(provider) => provider,
        Err(error) => {
            let error = format!("{error:#}");
            pass.all_failed(&todo, &error, None, &mut report);
            return Ok(report);
        }
    };
    let mut remote = Remote::new(&pass, &provider);
    for (at, work) in todo.iter().enumerate() {
        match remote.take(work).await {
            Ok(()) => {}
            Err(Failure::Local(error)) => {
                report.failed.push((work.name.clone(), format!("{error:#}")));
            }
            // The others would fare no better, and each would wait for it.
            Err(Failure::Provider(error)) if error.is_general() => {
                let retry_after = error.retry_after();
                pass.all_failed(&todo[at..], &error.to_string(), retry_after, &mut report);
                break;
            }
            Err(Failure::Provider(error)) => {
                pass.failed(work, &error.to_string(), None, &mut report);
            }
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests;
