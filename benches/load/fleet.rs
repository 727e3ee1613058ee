//! The fleet that boots: RSA-2048 keys, as `farmgate gateway add` makes them, and generations of
//! real size. Made once, and kept for later runs.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use farmgate::identity::pki::KeyType;

use crate::client::Gateway;
use crate::generation;
use crate::options::Options;
use crate::say;
use crate::state::State;
use crate::state::name;

/// Raise it when what is made changes: then fleets of earlier runs are not used again.
const FLEET: u32 = 1;

/// Generation 1 of every gateway: no secrets, and asked for by its number.
pub(crate) const PLAIN: &str = "/g/1";

pub(crate) struct Fleet {
    pub(crate) state: State,
    /// Those that boot full-size files.
    full: Vec<Gateway>,
    /// Those that boot small ones.
    small: Vec<Gateway>,
    beginner: Gateway,
}

impl Fleet {
    /// A copy of the fleet for one run, in `dir`: what boots leave is gone with it.
    pub(crate) fn prepare(options: &Options, dir: &Path) -> Result<Self> {
        let state = State::at(kept(options)?, &options.farmgate).copy_to(&dir.join("state"))?;
        let clients = |parity: usize| -> Result<Vec<Gateway>> {
            (parity..options.fleet).step_by(2).map(|number| state.client(&name(number))).collect()
        };
        let (mut full, small) = (clients(0)?, clients(1)?);
        let beginner = full.pop().context("a fleet without gateways")?;
        Ok(Self { full, small, beginner, state })
    }

    /// A gateway that boots full-size files; another one for another `turn`.
    pub(crate) fn full(&self, turn: usize) -> &Gateway {
        &self.full[turn % self.full.len()]
    }

    /// One that begins boots and ends none, and does nothing else.
    pub(crate) fn beginner(&self) -> &Gateway {
        &self.beginner
    }

    /// The same for small files.
    pub(crate) fn small(&self, turn: usize) -> &Gateway {
        &self.small[turn % self.small.len()]
    }
}

/// Returns the folder of the fleet, and makes the fleet if it is missing.
pub(crate) fn kept(options: &Options) -> Result<PathBuf> {
    let kept = options.dir.join(format!("fleet-{FLEET}-{}", options.fleet));
    if !kept.exists() {
        make(options, &kept)?;
    }
    Ok(kept)
}

/// Even numbers boot full-size files, odd ones small files.
fn make(options: &Options, kept: &Path) -> Result<()> {
    say(&format!("making {} gateways with RSA keys (once)", options.fleet));
    let making = kept.with_extension("making");
    if making.exists() {
        fs::remove_dir_all(&making)?;
    }
    fs::create_dir_all(&options.dir)?;
    let state = State::at(making.clone(), &options.farmgate);
    state.init(KeyType::Rsa2048)?;
    let folders = tempfile::tempdir_in(&options.dir)?;
    let [plain, full, small] = ["plain", "full", "small"].map(|name| folders.path().join(name));
    generation::plain(&plain)?;
    generation::full(&full)?;
    generation::small(&small)?;
    for model in [&name(0), &name(1)] {
        state.run(&["gateway", "add", model])?;
        state.publish(model, &plain)?;
        state.publish(model, &full)?;
    }
    state.publish(&name(1), &small)?;
    let authority = state.authority()?;
    // One half each, on both CPUs.
    std::thread::scope(|scope| {
        let halves = [0, 1].map(|parity| {
            let (state, authority) = (&state, &authority);
            let numbers = (2 + parity..options.fleet).step_by(2);
            scope.spawn(move || -> Result<()> {
                let (model, key_type) = (name(parity), KeyType::Rsa2048);
                for number in numbers {
                    state.copy_gateway(authority, key_type, &model, &name(number))?;
                }
                Ok(())
            })
        });
        halves.into_iter().try_for_each(|half| half.join().unwrap_or_else(|_| panic!("a panic")))
    })?;
    fs::rename(making, kept)?;
    Ok(())
}
