//! Several boot hosts and one store.

mod bad;
mod boots;
mod cache;
mod clocks;
mod cluster;
mod collect;
mod converge;
mod copy;
mod costs;
mod fake;
mod fetch;
mod fleet;
mod real;
pub(crate) mod records;

use std::path::Path;
use std::sync::Arc;

use farmgate::fleet::EventId;
use farmgate::fleet::GatewayId;
use farmgate::fleet::History;
use farmgate::fleet::Kind;
use farmgate::fleet::Record;
use farmgate::replica::Replica;
use farmgate::replica::Report;
use farmgate::store::State;
use farmgate::store::generations::Generations;
use time::OffsetDateTime;

use crate::common::TestState;
use crate::common::edit;

/// A boot host, and what it knows of `lab-1`.
struct Host {
    test: TestState,
    replica: Arc<Replica>,
    generations: Generations,
    id: GatewayId,
}

impl Host {
    /// The first host of a fleet with one gateway; `store` is its `[store]`.
    fn first(store: &str) -> Self {
        let test = TestState::with_init(&["--key-type", "p256"]);
        edit(&test.dir().join("farmgate.toml"), |text| format!("{text}\n[store]\n{store}\n"));
        test.ok(&["gateway", "add", "lab-1"]);
        Self::open(test, None)
    }

    /// Another one, which has heard of nothing yet but that there is the gateway.
    fn another(&self) -> Self {
        Self::open(self.test.new_host(), Some(self.id.clone()))
    }

    fn open(test: TestState, id: Option<GatewayId>) -> Self {
        let state = State::open(&test.dir(), None).unwrap();
        let replica = Replica::open(&state, None).unwrap().unwrap();
        let generations = Generations::new(&state);
        let id = id.unwrap_or_else(|| record(&state).id);
        Self { test, replica, generations, id }
    }

    /// The same host after a restart: it has forgotten all that is not on its disk.
    fn restarted(self) -> Self {
        Self::open(self.test, Some(self.id))
    }

    async fn pass(&self) -> Report {
        self.replica.pass().await.unwrap()
    }

    fn append(&self, kind: Kind) -> EventId {
        self.generations.append(&self.id, kind, OffsetDateTime::now_utc()).unwrap()
    }

    fn history(&self) -> History {
        self.generations.history(&self.id).unwrap()
    }

    /// The generation that is served now.
    fn current(&self) -> EventId {
        self.history().current().unwrap().id
    }

    fn events_dir(&self) -> std::path::PathBuf {
        self.test.dir().join("store/gateways").join(&self.id)
    }

    fn objects(&self) -> usize {
        self.generations.objects(&self.id).unwrap().len()
    }
}

fn record(state: &State) -> Record {
    state.gateways().load(&"lab-1".parse().unwrap()).unwrap()
}

/// `[store]` for a directory.
fn directory(path: &Path) -> String {
    format!("url = \"file://{}\"", path.display())
}

/// Passes of all hosts until nobody has anything new.
async fn settle(hosts: &[&Host]) {
    for _ in 0..10 {
        let mut quiet = true;
        for host in hosts {
            let report = host.pass().await;
            quiet &= report.pushed == 0 && report.pulled == 0;
        }
        if quiet {
            return;
        }
    }
    panic!("the hosts do not come to rest");
}
