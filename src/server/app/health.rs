//! Health for operators: can gateways boot, and what would they miss. Reads the whole state, so no
//! gateway's request may call it.

use std::sync::PoisonError;

use time::OffsetDateTime;

use super::App;
use super::error::Result;
use crate::bucket::Condition;
use crate::fleet::By;
use crate::fleet::Decision;
use crate::fleet::Generation;
use crate::fleet::Record;
use crate::fleet::decide;
use crate::fleet::rollout::Member;
use crate::fleet::rollout::Seen;
use crate::server::problems;
use crate::store::blobs::Access;
use crate::store::gc;
use crate::store::gc::Collected;
use crate::store::gc::Swept;
use crate::store::gc::Wish;
use crate::store::rollouts;
use crate::sync::Outcome;
use crate::sync::Status;

/// Problems of gateways' files.
#[derive(Debug, Default)]
pub(in crate::server) struct Files {
    /// A gateway cannot boot.
    pub(in crate::server) problems: Vec<String>,
    /// The gateway can boot, but an operator should act.
    pub(in crate::server) warnings: Vec<String>,
}

impl App {
    /// Reads the state's disk as a boot would.
    pub(in crate::server) fn touch(&self) -> Result<()> {
        Ok(self.settings().state.ca_certificate().map(drop)?)
    }

    /// Problems that keep gateways from booting now.
    pub(in crate::server) fn problems(&self) -> Result<Vec<String>> {
        let state = &self.settings().state;
        let mut problems = problems::all_problems(state, OffsetDateTime::now_utc())?;
        problems.extend(state.missing_folders());
        Ok(problems)
    }

    /// A line about the fleet for `systemctl status`.
    pub(in crate::server) fn summary(&self) -> Result<String> {
        let gateways = self.gateways.names()?.len();
        let (plural, running) = (if gateways == 1 { "" } else { "s" }, self.running_boots());
        let store = self.store_status().map_or_else(String::new, |store| format!(", {store}"));
        Ok(format!("{gateways} gateway{plural}, {running} booting{store}"))
    }

    /// The status of the shared store, if there is one.
    pub(in crate::server) fn store_status(&self) -> Option<String> {
        let status = self.replica.as_ref().map(|replica| replica.status());
        status.or_else(|| self.store_trouble.clone())
    }

    /// The same if it is not well.
    pub(in crate::server) fn store_trouble(&self) -> Option<String> {
        let away =
            self.replica.as_ref().is_some_and(|replica| replica.counts().in_step == Some(false));
        let trouble = away.then(|| self.store_status()).flatten();
        trouble.or_else(|| self.store_trouble.clone())
    }

    /// The reason if rollouts were stuck at the last look.
    pub(in crate::server) fn rollout_trouble(&self) -> Option<String> {
        self.rollout_trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The reason if the last look at the git repository failed.
    pub(in crate::server) fn sync_warning(&self) -> Option<String> {
        let settings = self.settings();
        settings.state.config().sync.remote.as_ref()?;
        match Status::read(&settings.state) {
            Ok(status) => status
                .filter(|status| status.result == Outcome::Failed)
                .map(|status| format!("sync {}", status.line())),
            Err(error) => Some(format!("sync: {error:#}")),
        }
    }

    /// Gateways whose buckets are not in order.
    pub(in crate::server) fn bucket_warnings(&self) -> Result<Vec<String>> {
        let settings = self.settings();
        let mut warnings = Vec::new();
        for name in self.gateways.names()? {
            let condition = match self.gateways.load(&name) {
                Ok(record) => Condition::of(&settings.state, &record),
                Err(error) => {
                    warnings.push(format!("the bucket of {name} is unknown: {error:#}"));
                    continue;
                }
            };
            if let Some(condition) = condition.filter(|condition| !condition.is_well()) {
                warnings.push(format!("the bucket of {name} is {condition}"));
            }
        }
        Ok(warnings)
    }

    /// Advances rollouts as far as possible.
    pub(in crate::server) fn advance_rollouts(&self) {
        let advanced =
            rollouts::advance(&self.settings().state, OffsetDateTime::now_utc(), &|end| {
                self.counters.rollout_ended(end);
            });
        let trouble = advanced.err().map(|error| format!("{error:#}"));
        let mut known = self.rollout_trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trouble) = trouble.as_ref().filter(|_| trouble != *known) {
            tracing::error!("some rollouts cannot continue: {trouble}");
        }
        *known = trouble;
    }

    /// A gateway of a rollout, as the rollout sees it; `None` if that was removed or cannot be read.
    pub(in crate::server) fn seen(&self, member: &Member) -> Option<Seen> {
        let record = self.gateways().find_by_id(&member.id).ok().flatten()?;
        let history = self.generations().history(&member.id).ok()?;
        let policy = record.policy(self.settings().tries);
        Some(Seen { history, policy, revoked: record.is_revoked() })
    }

    /// Removes files of old generations, if `[store] keep` says how many stay.
    pub(in crate::server) fn collect(&self) -> anyhow::Result<()> {
        let settings = self.settings();
        let Some(keep) = settings.state.config().store.keep else { return Ok(()) };
        let (by, now) = (By::new("farmgate serve"), OffsetDateTime::now_utc());
        let wish = Wish { keep: Some(keep), dry_run: false, by: &by };
        let collected = gc::collect(&settings.state, &wish, now)?;
        self.counters.collected(&collected, now);
        for gateway in collected.dropped.iter().map(|dropped| &dropped.id) {
            if let Some(replica) = &self.replica {
                replica.wake(gateway);
            }
        }
        let Collected { dropped, swept } = collected;
        if !dropped.is_empty() || swept.blobs > 0 {
            let (generations, Swept { blobs: files, bytes, .. }) = (dropped.len(), swept);
            tracing::info!(generations, files, bytes, "removed files of old generations");
        }
        Ok(())
    }

    /// Checks that the files of all gateways' live generations exist here with their full size.
    pub(in crate::server) fn look_for_files(&self) -> Result<Files> {
        let mut files = Files::default();
        for name in self.gateways.names()? {
            let looked =
                self.gateways.load(&name).and_then(|record| self.look(&record, &mut files));
            if let Err(error) = looked {
                files.problems.push(format!("{name}: {error:#}"));
            }
        }
        Ok(files)
    }

    fn look(&self, record: &Record, files: &mut Files) -> anyhow::Result<()> {
        let (name, settings) = (&record.name, self.settings());
        let history = self.generations.history(&record.id)?;
        let Some(Decision { generation, .. }) = decide(&history, record.policy(settings.tries))
        else {
            return Ok(());
        };
        if !self.generations.has_folder(&record.id) {
            files.problems.push(format!(
                "the folder of {name}'s events, store/gateways/{}, is missing; restore it from a \
                 backup before the server is restarted",
                record.id
            ));
        }
        for fault in self.faults(&generation) {
            let what = format!("{name}: {fault}");
            // The shared store may have the file: then the boot waits for it.
            if self.replica.is_some() {
                files.warnings.push(format!("{what}; it is fetched from the store"));
            } else {
                files.problems.push(format!("{what}; publish its folder again to repair it"));
            }
        }
        if let Some(good) = history.last_good().filter(|good| good.number != generation.number) {
            let faults = self.faults(good).into_iter();
            files
                .warnings
                .extend(faults.map(|fault| format!("{name}: {fault}, and it is the fallback")));
        }
        Ok(())
    }

    /// Faults of the files of a generation.
    pub(in crate::server) fn faults(&self, generation: &Generation) -> Vec<String> {
        let found = generation.files().iter().filter_map(|(path, asset)| {
            let fault = self.generations.blobs_of(Access::to(path)).find(asset).err()?;
            Some(format!("{path} of generation {}: {fault}", generation.number))
        });
        found.collect()
    }
}
