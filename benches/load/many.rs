//! Whether a script request costs the same with ten gateways and with ten thousand, with ten
//! generations and with ten thousand.
//!
//! These fleets have P-256 keys, which are made in no time; on a kept connection they make no
//! difference.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use farmgate::identity::pki::KeyType;
use serde_json::Value;
use serde_json::json;
use uuid::Uuid;

use crate::client::Gateway;
use crate::drive::drive;
use crate::farmgate::Farmgate;
use crate::generation;
use crate::options::Options;
use crate::results::Results;
use crate::say;
use crate::state::State;
use crate::state::name as gateway_name;
use crate::state::write;
use crate::window::Window;

/// Raise it when what is made changes.
const FLEET: u32 = 1;
const FEW: usize = 10;
const MANY: usize = 10_000;
const WORKERS: usize = 4;

pub(crate) const BASE: &str = "10 gateways, 10 generations";
pub(crate) const GATEWAYS: &str = "10,000 gateways";
pub(crate) const GENERATIONS: &str = "10,000 generations";

pub(crate) fn run(options: &Options, dir: &Path, results: &mut Results) -> Result<()> {
    let kinds = [(BASE, FEW, FEW), (GATEWAYS, MANY, FEW), (GENERATIONS, FEW, MANY)];
    let mut servers = Vec::new();
    for (name, gateways, generations) in kinds {
        let state = fleet(options, gateways, generations)?;
        let run = dir.join(format!("flat-{gateways}-{generations}"));
        let state = state.copy_to(&run)?;
        let farmgate = Farmgate::start(&state, &options.farmgate, name)?;
        let clients = asking(gateways).map(|number| state.client(&gateway_name(number)));
        let clients = clients.collect::<Result<Vec<Gateway>>>()?;
        farmgate.own_tls.wait(&clients[0], &farmgate.log)?;
        servers.push((farmgate, clients));
    }
    say("a script request in small and large fleets");
    for round in 0..=options.rounds {
        let first = (round + servers.len() - 1) % servers.len();
        for index in first..first + servers.len() {
            let (farmgate, clients) = &servers[index % servers.len()];
            let server = &farmgate.own_tls;
            let sample = drive(server, options.sample * 2, 1, |_| {
                let mut window = Window::open(server, clients.iter())?;
                Ok(move || window.next().map(|()| 1.0))
            })?;
            // The first round warms up.
            if round > 0 {
                results.add("flat", server.name, "/s", sample);
            }
        }
    }
    Ok(())
}

/// Numbers of the gateways that ask, spread over the fleet.
fn asking(gateways: usize) -> impl Iterator<Item = usize> {
    (0..WORKERS).map(move |worker| worker * gateways / WORKERS)
}

/// A fleet of that size, made once.
pub(crate) fn fleet(options: &Options, gateways: usize, generations: usize) -> Result<State> {
    let kept = options.dir.join(format!("flat-{FLEET}-{gateways}-{generations}"));
    let state = State::at(kept.clone(), &options.farmgate);
    if kept.exists() {
        return Ok(state);
    }
    say(&format!("making {gateways} gateways with {generations} generations (once)"));
    let making = State::at(kept.with_extension("making"), &options.farmgate);
    if making.dir.exists() {
        fs::remove_dir_all(&making.dir)?;
    }
    fs::create_dir_all(&options.dir)?;
    making.init(KeyType::P256)?;
    let folder = tempfile::tempdir_in(&options.dir)?;
    generation::plain(folder.path())?;
    making.run(&["gateway", "add", &gateway_name(0)])?;
    making.publish(&gateway_name(0), folder.path())?;
    let events = making.events_of(&gateway_name(0))?;
    let published = events_in(&events)?;
    pack(&events, &published, FEW.min(generations))?;
    let authority = making.authority()?;
    for number in 1..gateways {
        making.copy_gateway(&authority, KeyType::P256, &gateway_name(0), &gateway_name(number))?;
    }
    if generations > FEW {
        for number in asking(gateways) {
            let events = making.events_of(&gateway_name(number))?;
            fs::remove_dir_all(&events)?;
            fs::create_dir(&events)?;
            pack(&events, &published, generations)?;
        }
    }
    fs::rename(&making.dir, &kept)?;
    Ok(state)
}

/// The events `published` and `activated` of the first generation.
fn events_in(dir: &Path) -> Result<Vec<Value>> {
    let entries = fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = entries.collect::<Result<Vec<_>, _>>()?;
    // Names sort by time.
    paths.sort();
    let files = paths.iter().filter(|path| path.extension().is_some_and(|kind| kind == "json"));
    files.map(|path| Ok(serde_json::from_slice(&fs::read(path)?)?)).collect()
}

/// Replaces the events in `dir` by a pack of so many generations, the last of them active.
fn pack(dir: &Path, published: &[Value], generations: usize) -> Result<()> {
    let [published, activated] = published else {
        anyhow::bail!("publishing one generation made {} events, not 2", published.len());
    };
    let mut events = BTreeMap::new();
    let mut last = None;
    for number in 1..=generations {
        let (id, mut event) = (event_name(number as u64), published.clone());
        event["number"] = number.into();
        events.insert(id.clone(), event);
        last = Some(id);
    }
    let mut event = activated.clone();
    event["generation"] = last.context("no generation")?.into();
    events.insert(event_name(generations as u64 + 1), event);
    for entry in fs::read_dir(dir)? {
        fs::remove_file(entry?.path())?;
    }
    let text = serde_json::to_vec(&json!({"format": 1, "events": events}))?;
    write(&dir.join(format!("pack-{}.json", event_name(generations as u64 + 2))), &text)
}

/// A UUIDv7 whose time is so many milliseconds after the beginning of 2026.
fn event_name(millis: u64) -> String {
    const YEAR_2026: u64 = 1_767_225_600_000;
    let builder = uuid::Builder::from_unix_timestamp_millis(YEAR_2026 + millis, &[0x42; 10]);
    Uuid::to_string(builder.as_uuid())
}
