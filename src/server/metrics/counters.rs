//! Counters since the server started. In memory only.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use time::OffsetDateTime;

use crate::fleet::Reason;
use crate::profile::report::Step;
use crate::store::gc::Collected;
use crate::store::rollouts::End;

/// Prefix of every name.
pub(super) const PREFIX: &str = "farmgate";

/// Buckets of the histogram, in seconds until an answer begins: a boot writes to disk, a file may
/// come from the store.
const SECONDS: [f64; 8] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 30.0];

/// Statuses that say that something is wrong with the boot host.
const FAULTS: [u16; 2] = [500, 503];

/// The step before the first that is reported.
pub(in crate::server) const NO_STEP: &str = "none";

/// Reports that tell of no step on the way to a gateway that works.
const NO_PROGRESS: [&str; 3] = ["trouble", "failed", "other"];

/// Says whether a boot can fail after the step of this name.
pub(in crate::server) fn is_progress(step: &str) -> bool {
    !NO_PROGRESS.contains(&step)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reported {
    step: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failed {
    after: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    result: &'static str,
}

/// Counters since the server started.
pub(in crate::server) struct Counters {
    pub(super) registry: Registry,
    requests: Family<Answer, Counter>,
    seconds: Family<Route, Histogram>,
    boots: Family<Why, Counter>,
    acknowledgements: Counter,
    refusals: Family<Why, Counter>,
    reports: Family<Reported, Counter>,
    failed: Family<Failed, Counter>,
    sent: Counter,
    dropped: Counter,
    freed: Counter,
    freed_bytes: Counter,
    stored_bytes: Gauge,
    collected: Gauge,
    rollouts: Family<Ended, Counter>,
}

impl Counters {
    /// `reasons` are all values that [`Self::refused`] may get.
    pub(in crate::server) fn new(reasons: impl IntoIterator<Item = &'static str>) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "Version of this program", Info::new(version));
        let requests = Family::default();
        registry.register("requests", "Answers to gateways", requests.clone());
        let seconds =
            Family::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> Histogram);
        let help = "Time until an answer to a gateway began";
        registry.register("request_seconds", help, seconds.clone());
        let boots = Family::<Why, Counter>::default();
        for reason in Reason::NAMES {
            let _ = boots.get_or_create(&Why { reason });
        }
        let help = "Boots, by the reason for the generation that was served";
        registry.register("boots", help, boots.clone());
        let acknowledgements = Counter::default();
        let help = "Boots that were acknowledged here for the first time";
        registry.register("acknowledgements", help, acknowledgements.clone());
        // All label values exist from the start. A counter that appears with its first count has no
        // rate yet, and no alert sees it.
        let refusals = Family::<Why, Counter>::default();
        for reason in reasons {
            let _ = refusals.get_or_create(&Why { reason });
        }
        let help = "Requests of clients that were not let in";
        registry.register("refusals", help, refusals.clone());
        let sent = Counter::default();
        let help = "Bytes of files that farmgate itself sent; behind nginx, nginx does";
        registry.register("sent_bytes", help, sent.clone());
        let rollouts = Family::<Ended, Counter>::default();
        for result in End::NAMES {
            let _ = rollouts.get_or_create(&Ended { result });
        }
        registry.register("rollouts_ended", "Rollouts that the server ended", rollouts.clone());
        let (dropped, freed, freed_bytes) = Default::default();
        let (stored_bytes, collected) = Default::default();
        Self {
            registry,
            requests,
            seconds,
            boots,
            acknowledgements,
            refusals,
            reports: Family::default(),
            failed: Family::default(),
            sent,
            rollouts,
            dropped,
            freed,
            freed_bytes,
            stored_bytes,
            collected,
        }
        .with_collections()
        .with_reports()
    }

    /// Has the counters of a route begin at 0, with those statuses that alerts ask for.
    pub(in crate::server) fn expect(&self, route: &'static str) {
        let _ = self.seconds.get_or_create(&Route { route });
        for status in FAULTS {
            let _ = self.requests.get_or_create(&Answer { route, status });
        }
    }

    /// Counts a request that was answered with `status`; the answer began after `seconds`.
    pub(in crate::server) fn answered(&self, route: &'static str, status: u16, seconds: f64) {
        self.seconds.get_or_create(&Route { route }).observe(seconds);
        self.requests.get_or_create(&Answer { route, status }).inc();
    }

    /// Counts a boot that was sent to a generation.
    pub(in crate::server) fn boot(&self, reason: Reason) {
        self.boots.get_or_create(&Why { reason: reason.as_str() }).inc();
    }

    /// Counts the first acknowledgement of a boot.
    pub(in crate::server) fn acknowledged(&self) {
        self.acknowledgements.inc();
    }

    /// Counts a client that was not let in.
    pub(in crate::server) fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&Why { reason }).inc();
    }

    /// Counts a step that a booted system reported.
    pub(in crate::server) fn reported(&self, step: &'static str) {
        self.reports.get_or_create(&Reported { step }).inc();
    }

    /// Counts a boot that its system gave up after this step.
    pub(in crate::server) fn failed(&self, after: &'static str) {
        self.failed.get_or_create(&Failed { after }).inc();
    }

    fn with_reports(mut self) -> Self {
        for step in Step::<String>::NAMES {
            let _ = self.reports.get_or_create(&Reported { step });
        }
        let steps = Step::<String>::NAMES.into_iter().filter(|step| is_progress(step));
        for after in steps.chain([NO_STEP]) {
            let _ = self.failed.get_or_create(&Failed { after });
        }
        let help = "Steps that booted systems reported";
        self.registry.register("reports", help, self.reports.clone());
        let help = "Boots that their systems gave up, by the last step that was reported before";
        self.registry.register("failed_boots", help, self.failed.clone());
        self
    }

    fn with_collections(mut self) -> Self {
        let help = "Generations whose files were given up, by `[store] keep`";
        self.registry.register("gc_dropped_generations", help, self.dropped.clone());
        let help = "Files that no kept generation named, and that were removed";
        self.registry.register("gc_removed_files", help, self.freed.clone());
        let help = "Their bytes";
        self.registry.register("gc_removed_bytes", help, self.freed_bytes.clone());
        let help = "Bytes of the files of all generations here, as of the last collection";
        self.registry.register("blobs_bytes", help, self.stored_bytes.clone());
        let help = "When old files were last looked for without an error; 0 before the first time";
        self.registry.register("gc_last_success_timestamp_seconds", help, self.collected.clone());
        self
    }

    /// Counts what a collection removed.
    pub(in crate::server) fn collected(&self, collected: &Collected, now: OffsetDateTime) {
        self.dropped.inc_by(collected.dropped.len() as u64);
        self.freed.inc_by(collected.swept.blobs);
        self.freed_bytes.inc_by(collected.swept.bytes);
        self.stored_bytes.set(i64::try_from(collected.swept.bytes_left).unwrap_or(i64::MAX));
        self.collected.set(now.unix_timestamp());
    }

    /// Counts a rollout that came to its end.
    pub(in crate::server) fn rollout_ended(&self, end: End) {
        self.rollouts.get_or_create(&Ended { result: end.as_str() }).inc();
    }

    /// Counts bytes of files that are sent.
    pub(in crate::server) fn sent(&self) -> Counter {
        self.sent.clone()
    }
}
