//! Makes the provider's buckets and keys match the gateways. Disk, network and clock.

mod failure;
mod find;
mod local;
mod pass;
mod remote;
mod scope;
mod work;

use anyhow::Result;

use failure::Failure;
use pass::Pass;
use remote::Remote;

pub use scope::Report;
pub use scope::Scope;

use super::connect::AnyProvider;
use super::disk::Disk;
use super::provider::Provider;
use crate::store::State;
use crate::store::generations::Generations;

/// Reconciles the gateways in `scope`. The caller holds [`Disk::reconciling`]. It can be cut off
/// anywhere.
pub async fn reconcile(
    state: &State,
    connect: impl FnOnce() -> Result<AnyProvider>,
    scope: &Scope,
) -> Result<Report> {
    run(state, || connect().map(AnyProvider::into_inner), scope).await
}

async fn run<'p>(
    state: &State,
    connect: impl FnOnce() -> Result<Box<dyn Provider + 'p>>,
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
    let mut remote = Remote::new(&pass, &*provider);
    for (at, work) in todo.iter().enumerate() {
        match remote.take(work).await {
            Ok(()) => {}
            Err(Failure::Local(error)) => {
                report.failed.push((work.name.clone(), format!("{error:#}")));
            }
            // The others would fail in the same way, and each would wait for it.
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
