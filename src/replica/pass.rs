use std::collections::BTreeSet;
use std::ops::AddAssign;
use std::sync::Arc;

use anyhow::Result;
use futures_util::FutureExt;
use futures_util::StreamExt;
use serde::Serialize;

use super::Replica;
use super::blocking;
use super::error::Error;
use super::layout;
use super::layout::Listing;
use crate::fleet::GatewayId;
use crate::fleet::ObjectName;

/// So many gateways are brought in step at a time.
const AT_ONCE: usize = 8;

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// Objects that the common store did not have.
    pub pushed: usize,
    /// Objects that were not here.
    pub pulled: usize,
    /// Gateways whose record changed here: added, changed, or removed elsewhere.
    pub records: usize,
    /// Generations that wait for their files.
    pub held_back: usize,
    /// Objects that this program cannot read.
    pub left_out: usize,
}

impl AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.pushed += other.pushed;
        self.pulled += other.pulled;
        self.records += other.records;
        self.held_back += other.held_back;
        self.left_out += other.left_out;
    }
}

impl Replica {
    /// Brings this host and the common store in step, once. Stopped anywhere, it leaves
    /// both as good as they were.
    pub async fn pass(self: &Arc<Self>) -> Result<Report> {
        // First: they say which gateways there are, and which are no more.
        let records = self.exchange_records().await?;
        let listed = self.list(layout::GATEWAYS).await?;
        let remote = Listing::sort(listed, ObjectName::parse);
        self.report_foreign(&remote.foreign);
        let generations = self.generations.clone();
        let mut gateways = blocking(move || generations.gateways()).await?;
        gateways.extend(remote.gateways.keys().cloned());

        let mut listed = remote.gateways;
        let exchanges: Vec<_> = gateways
            .into_iter()
            .map(|gateway| {
                let (replica, remote) = (self.clone(), listed.remove(&gateway));
                async move { replica.exchange(&gateway, &remote.unwrap_or_default()).await }.boxed()
            })
            .collect();
        let mut reports = futures_util::stream::iter(exchanges).buffer_unordered(AT_ONCE);
        let mut sum = Report { records, ..Report::default() };
        let mut failed = Vec::new();
        while let Some(report) = reports.next().await {
            match report {
                Ok(report) => sum += report,
                // One slow answer should not cost all others what they have begun.
                Err(error) => failed.push(error),
            }
            if failed.len() > AT_ONCE {
                break;
            }
        }
        failed.into_iter().next().map_or(Ok(sum), Err)
    }

    /// The same for one gateway. What is wrong with it here keeps no other from being
    /// brought in step.
    async fn exchange(
        self: &Arc<Self>,
        gateway: &GatewayId,
        remote: &BTreeSet<ObjectName>,
    ) -> Result<Report> {
        match self.try_exchange(gateway, remote).await {
            Err(error) if error.downcast_ref::<Error>().is_none() => {
                self.report_once(format!("the events of {gateway} stay here: {error:#}"));
                Ok(Report::default())
            }
            result => result,
        }
    }

    async fn try_exchange(
        self: &Arc<Self>,
        gateway: &GatewayId,
        remote: &BTreeSet<ObjectName>,
    ) -> Result<Report> {
        if self.memory().removed.contains(gateway) {
            return self.forget(gateway, remote).await;
        }
        let seen = self.memory().seen.get(gateway).cloned();
        let restarted = seen.is_none();
        let (mut seen, mut report) = (seen.unwrap_or_default(), Report::default());
        if restarted {
            // First: packs say which of the objects here need no telling.
            report += self.pull(gateway, remote, &mut seen).await?;
        }
        report.pushed = self.push(gateway, remote, &mut seen).await?;
        if !restarted {
            // Last: files may take their time.
            report += self.pull(gateway, remote, &mut seen).await?;
        }
        self.compact(gateway, remote).await?;

        let (generations, id) = (self.generations.clone(), gateway.to_owned());
        let local = blocking(move || {
            generations.condense_many(&id, time::OffsetDateTime::now_utc())?;
            generations.objects(&id)
        });
        let local = local.await?;
        // What both have. What came here meanwhile is still to be sent, and a pack may hold it.
        seen.extend(local.intersection(remote));
        seen.retain(|name| local.contains(name) || remote.contains(name));
        self.memory().seen.insert(gateway.to_owned(), seen);
        Ok(report)
    }

    /// The events of a removed gateway go from the common store too.
    async fn forget(&self, gateway: &GatewayId, remote: &BTreeSet<ObjectName>) -> Result<Report> {
        for name in remote {
            self.remote.delete(&layout::object(gateway, *name)).await?;
        }
        self.memory().seen.remove(gateway);
        Ok(Report::default())
    }

    pub(super) fn report_foreign(&self, paths: &[String]) {
        for path in paths {
            self.report_once(format!(
                "left alone {path:?} in {}: farmgate has not written it",
                self.remote.shown()
            ));
        }
    }
}
