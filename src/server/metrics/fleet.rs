//! Metrics of the fleet at one moment. Reads the whole state.

use std::collections::BTreeSet;

use super::counters::Counters;
use super::counters::PREFIX;
use anyhow::Result;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use time::OffsetDateTime;

use crate::bucket::Condition;
use crate::bucket::Disk;
use crate::bucket::Standing;
use crate::fleet::GatewayId;
use crate::fleet::Policy;
use crate::fleet::Reason;
use crate::fleet::Record;
use crate::fleet::decide;
use crate::fleet::rollout;
use crate::identity::Certificate;
use crate::identity::GatewayName;
use crate::replica;
use crate::server::app::App;
use crate::server::pki;
use crate::server::problems;
use crate::store::State;
use crate::store::rollouts::Rollouts;
use crate::sync::Outcome;
use crate::sync::Status;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfGateway {
    gateway: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCertificate {
    certificate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WithResult {
    result: &'static str,
}

/// The values on disk and in memory at one moment.
pub(in crate::server) struct Fleet {
    gateways: Vec<Row>,
    /// Gateways whose record cannot be read.
    unreadable: usize,
    certificates: Vec<(&'static str, OffsetDateTime)>,
    problems: usize,
    buckets: bool,
    /// Standings of the keys of removed gateways.
    left: Vec<Standing>,
    store: Option<(replica::Counts, Option<usize>)>,
    rollouts: OpenRollouts,
    /// With a git repository: the last look at it.
    sync: Option<Option<Status>>,
}

/// The open rollouts.
#[derive(Default)]
struct OpenRollouts {
    open: usize,
    /// Gateways that got a generation and have not acknowledged it.
    waiting: usize,
    /// The time when the first of them got it.
    since: Option<OffsetDateTime>,
}

/// One gateway.
struct Row {
    name: GatewayName,
    generation: Option<u64>,
    /// Files of that generation which are missing here or have the wrong size.
    missing: usize,
    /// The newest generation was given up.
    fallback: bool,
    last_boot: Option<OffsetDateTime>,
    /// Of the last boot; `None` if the gateway's system never acknowledges.
    acknowledged: Option<bool>,
    certificate: Option<OffsetDateTime>,
    bucket: Option<Condition>,
}

impl Fleet {
    /// Reads some small files and one directory for each gateway, and looks at the files of its
    /// next boot.
    pub(in crate::server) fn read(app: &App) -> Result<Self> {
        let settings = app.settings();
        let state = &settings.state;
        let gateways = state.gateways();
        let (mut rows, mut unreadable) = (Vec::new(), 0);
        let (mut known, mut unknown) = (BTreeSet::new(), BTreeSet::new());
        for name in gateways.names()? {
            let record = gateways.load(&name);
            match &record {
                Ok(record) => drop(known.insert(record.id.clone())),
                Err(_) => drop(unknown.insert(name.clone())),
            }
            match record.and_then(|record| Row::read(app, state, &record)) {
                Ok(row) => rows.push(row),
                Err(error) => {
                    tracing::debug!(gateway = %name, "not among the metrics: {error:#}");
                    unreadable += 1;
                }
            }
        }
        let store = match app.replica() {
            Some(replica) => Some((replica.counts(), replica.undelivered()?)),
            // It should exist, and could not be opened.
            None if app.store_status().is_some() => {
                let alone = replica::Counts { in_step: Some(false), ..Default::default() };
                Some((alone, None))
            }
            None => None,
        };
        Ok(Self {
            gateways: rows,
            unreadable,
            certificates: certificates(state),
            // An unknown state counts as a problem, too.
            problems: problems::fleet_problems(state, OffsetDateTime::now_utc())
                .map_or(1, |all| all.len() + state.missing_folders().len()),
            buckets: state.config().buckets.provider.is_some(),
            left: left(state, &known, &unknown)?,
            store,
            rollouts: open_rollouts(app, state)?,
            sync: state.config().sync.remote.as_ref().map(|_| Status::read(state).ok().flatten()),
        })
    }

    /// Encodes the values and the counters in the text format of Prometheus; `booting` boots are
    /// running.
    pub(in crate::server) fn encode(
        &self,
        counters: &Counters,
        booting: usize,
    ) -> Result<String, std::fmt::Error> {
        let mut read = Registry::with_prefix(PREFIX);
        self.register(booting, &mut read);
        let mut text = String::new();
        for registry in [&counters.registry, &read] {
            prometheus_text::encode(&mut text, registry)?;
        }
        Ok(text)
    }

    fn register(&self, booting: usize, registry: &mut Registry) {
        let mut gauge = |name: &str, help: &str, value: usize| {
            let gauge = Gauge::<i64>::default();
            gauge.set(value.try_into().unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        };
        gauge("gateways", "Gateways", self.gateways.len() + self.unreadable);
        gauge("gateways_unreadable", "Gateways whose state cannot be read", self.unreadable);
        gauge("boots_running", "Boots that began and were not acknowledged yet", booting);
        gauge("problems", "What keeps all gateways from booting (see /readyz)", self.problems);

        let OpenRollouts { open, waiting, since } = self.rollouts;
        gauge("rollouts_open", "Rollouts that have not come to their end", open);
        let help = "Gateways that open rollouts wait for";
        gauge("rollout_waiting", help, waiting);
        let help = "Since when the first of them has the generation; 0 if there is none";
        let since = since.and_then(|since| since.unix_timestamp().try_into().ok());
        gauge("rollout_waiting_since_timestamp_seconds", help, since.unwrap_or(0));

        let expiry = Family::<OfCertificate, Gauge>::default();
        for (certificate, end) in &self.certificates {
            expiry.get_or_create(&OfCertificate { certificate }).set(end.unix_timestamp());
        }
        let help = "Until when the boot host's CA, certificate and CRL are valid";
        registry.register("certificate_expiry_timestamp_seconds", help, expiry);
        self.register_gateways(registry);
        if self.buckets {
            self.register_buckets(registry);
        }
        if let Some((counts, undelivered)) = &self.store {
            register_store(counts, *undelivered, registry);
        }
        if let Some(status) = &self.sync {
            register_sync(status.as_ref(), registry);
        }
    }

    fn register_gateways(&self, registry: &mut Registry) {
        let mut family = |name: &str, help: &str, value: &dyn Fn(&Row) -> Option<i64>| {
            register_rows(&self.gateways, registry, name, help, value);
        };
        let help = "Generation that the next boot gets";
        family("gateway_generation", help, &|row| row.generation.map(|n| n as i64));
        let help = "Files of the next boot that are missing here, or have the wrong size";
        family("gateway_files_missing", help, &|row| row.missing.try_into().ok());
        let help = "Whether the newest generation was given up for an older one, or with none to go back to";
        family("gateway_fallback", help, &|row| Some(row.fallback.into()));
        let help = "When the last boot began";
        family("gateway_last_boot_timestamp_seconds", help, &|row| {
            row.last_boot.map(OffsetDateTime::unix_timestamp)
        });
        let help = "Whether the last boot was acknowledged";
        family("gateway_last_boot_acknowledged", help, &|row| row.acknowledged.map(i64::from));
        let help = "Until when the certificate for new media is valid";
        family("gateway_certificate_expiry_timestamp_seconds", help, &|row| {
            row.certificate.map(OffsetDateTime::unix_timestamp)
        });
    }

    fn register_buckets(&self, registry: &mut Registry) {
        let there = self.gateways.iter().filter_map(|row| Some(row.bucket.as_ref()?.standing));
        let all: Vec<_> = there.chain(self.left.iter().copied()).collect();
        let states = Family::<InState, Gauge>::default();
        for standing in Standing::ALL {
            let count = all.iter().filter(|found| **found == standing).count();
            states.get_or_create(&InState { state: standing.as_str() }).set(count as i64);
        }
        registry.register("buckets", "Buckets of gateways, by their state", states);
        let help = "Whether the bucket is in order";
        register_rows(&self.gateways, registry, "bucket_ready", help, &|row| {
            row.bucket.as_ref().map(|condition| condition.is_well().into())
        });
        let help = "When the key was made that boots are given";
        let name = "bucket_key_made_timestamp_seconds";
        register_rows(&self.gateways, registry, name, help, &|row| {
            row.bucket.as_ref()?.key_made.map(OffsetDateTime::unix_timestamp)
        });
    }
}

impl Row {
    fn read(app: &App, state: &State, record: &Record) -> Result<Self> {
        let history = app.generations().history(&record.id)?;
        let policy = record.policy(app.settings().tries);
        let next = decide(&history, policy);
        let given_up =
            |reason| matches!(reason, Reason::FellBack { .. } | Reason::NothingBetter { .. });
        let last = history.boots().values().next_back();
        Ok(Self {
            name: record.name.clone(),
            generation: next.as_ref().map(|next| next.generation.number),
            missing: next.as_ref().map_or(0, |next| app.faults(&next.generation).len()),
            fallback: next.is_some_and(|next| given_up(next.reason)),
            last_boot: last.map(|boot| boot.at),
            acknowledged: last.filter(|_| policy != Policy::None).map(|boot| boot.acknowledged),
            certificate: record.active().map(|active| active.not_after),
            bucket: Condition::of(state, record),
        })
    }
}

fn open_rollouts(app: &App, state: &State) -> Result<OpenRollouts> {
    let mut sum = OpenRollouts::default();
    let read = Rollouts::new(state).open()?;
    sum.open = read.found.len() + read.damaged.len();
    for stored in read.found.values() {
        for member in stored.rollout.members() {
            if stored.rollout.left_out.contains(&member.id) {
                continue;
            }
            // What cannot be read counts elsewhere.
            let standing = rollout::standing(member, app.seen(member).as_ref());
            if let rollout::Standing::Trying { since, .. } = standing {
                sum.waiting += 1;
                sum.since = [sum.since, since].into_iter().flatten().min();
            }
        }
    }
    Ok(sum)
}

fn register_rows(
    rows: &[Row],
    registry: &mut Registry,
    name: &str,
    help: &str,
    value: &dyn Fn(&Row) -> Option<i64>,
) {
    let family = Family::<OfGateway, Gauge>::default();
    for row in rows {
        if let Some(value) = value(row) {
            family.get_or_create(&OfGateway { gateway: row.name.to_string() }).set(value);
        }
    }
    registry.register(name, help, family);
}

fn register_store(counts: &replica::Counts, undelivered: Option<usize>, registry: &mut Registry) {
    let mut gauge = |name: &str, help: &str, value: Option<i64>| {
        if let Some(value) = value {
            let gauge = Gauge::<i64>::default();
            gauge.set(value);
            registry.register(name, help, gauge);
        }
    };
    let help = "Whether this host and the shared store were in sync at the last attempt";
    gauge("store_in_step", help, counts.in_step.map(i64::from));
    let help = "When they were last in sync";
    let last = counts.last_pass.map(OffsetDateTime::unix_timestamp);
    gauge("store_last_pass_timestamp_seconds", help, last);
    let help = "Events that wait to be delivered";
    gauge("store_undelivered", help, undelivered.map(|count| count as i64));
    let help = "Generations that wait for their files";
    gauge("store_held_back", help, Some(counts.held_back as i64));
    let help = "Objects in the store that this program cannot read";
    gauge("store_left_out", help, Some(counts.left_out as i64));

    let mut counter = |name: &str, help: &str, value: u64| {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    };
    counter("store_failed_passes", "Passes and deliveries that failed", counts.failed_passes);
    counter("store_delivered", "Objects that were delivered", counts.pushed);
    counter("store_brought", "Objects of other hosts that were fetched", counts.pulled);
    let fetches = Family::<WithResult, Counter>::default();
    for (result, count) in [("here", counts.fetched), ("failed", counts.failed_fetches)] {
        fetches.get_or_create(&WithResult { result }).inc_by(count);
    }
    registry.register(
        "store_fetches",
        "Files that were fetched from the store, or could not be",
        fetches,
    );
}

fn register_sync(status: Option<&Status>, registry: &mut Registry) {
    let mut gauge = |name: &str, help: &str, value: Option<i64>| {
        if let Some(value) = value {
            let gauge = Gauge::<i64>::default();
            gauge.set(value);
            registry.register(name, help, gauge);
        }
    };
    let help = "Whether the last look at the git repository failed";
    let failed = status.is_some_and(|status| status.result == Outcome::Failed);
    gauge("sync_failed", help, Some(failed.into()));
    let help = "When the git repository was last looked at";
    let at = status.map(|status| status.at.unix_timestamp());
    gauge("sync_last_run_timestamp_seconds", help, at);
    let help = "When a look at the git repository last ended well";
    let success = status.and_then(|status| status.last_success);
    gauge("sync_last_success_timestamp_seconds", help, success.map(OffsetDateTime::unix_timestamp));
}

/// Standings of removed gateways whose keys or buckets are still known here. A gateway with an
/// unreadable record does not count as removed.
fn left(
    state: &State,
    known: &BTreeSet<GatewayId>,
    unknown: &BTreeSet<GatewayName>,
) -> Result<Vec<Standing>> {
    let disk = Disk::new(state);
    let gone = disk.ids()?.into_iter().filter(|id| {
        let unreadable = unknown.iter().any(|name| name.as_str() == id.name());
        !known.contains(id) && !unreadable
    });
    let stored = gone.filter_map(|id| disk.load(&id).ok().flatten());
    Ok(stored.map(|stored| stored.standing(false)).collect())
}

/// Ends of validity of the certificates and the CRL that all gateways, or nginx, trust, as far as
/// they can be read.
fn certificates(state: &State) -> Vec<(&'static str, OffsetDateTime)> {
    let end = |der: &[u8]| Some(Certificate::from_der(der).ok()?.not_after);
    let ends = [
        ("ca", state.ca_certificate().ok().and_then(|der| end(&der))),
        ("server", pki::server_chain(state).ok().and_then(|chain| end(chain.first()?))),
        ("crl", state.crl_validity().ok().and_then(|(_, end)| end)),
    ];
    ends.into_iter().filter_map(|(name, end)| Some((name, end?))).collect()
}
