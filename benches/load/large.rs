//! Large fleets, made once and kept for later runs: gateways are copies of one in the store's own
//! format, and so are generations.
//!
//! They have P-256 keys, which are made in no time. Each gateway has a certificate of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use farmgate::identity::pki::KeyType;
use serde_json::Value;
use serde_json::json;

use crate::generation;
use crate::options::Options;
use crate::say;
use crate::state::State;
use crate::state::name;
use crate::state::write;

/// Raise it when what is made changes: then fleets of earlier runs are not used again.
const FLEET: u32 = 1;
/// So many gateways ask, and so many generations the others have at most.
const ASKING: usize = 4;
const MOST_OF_OTHERS: usize = 10;

/// Numbers of the gateways that ask, spread over the fleet. They have all generations; the others
/// have ten at most.
pub(crate) fn asking(gateways: usize) -> impl Iterator<Item = usize> {
    (0..ASKING).map(move |worker| worker * gateways / ASKING)
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
    making.run(&["gateway", "add", &name(0)])?;
    making.publish(&name(0), folder.path())?;
    let events = making.events_of(&name(0))?;
    let published = events_in(&events)?;
    pack(&events, &published, MOST_OF_OTHERS.min(generations))?;
    let authority = making.authority()?;
    for number in 1..gateways {
        making.copy_gateway(&authority, KeyType::P256, &name(0), &name(number))?;
    }
    if generations > MOST_OF_OTHERS {
        for number in asking(gateways) {
            let events = making.events_of(&name(number))?;
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
        bail!("publishing one generation made {} events, not 2", published.len());
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
    builder.into_uuid().to_string()
}
