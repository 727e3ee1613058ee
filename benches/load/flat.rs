//! Compares the cost of a script request with ten gateways and with ten thousand, with ten
//! generations and with ten thousand.

use std::path::Path;

use anyhow::Result;

use crate::client::Gateway;
use crate::drive::drive;
use crate::farmgate::Farmgate;
use crate::large;
use crate::options::Options;
use crate::results::Results;
use crate::say;
use crate::state::name as gateway_name;
use crate::window::Window;

const FEW: usize = 10;
const MANY: usize = 10_000;

pub(crate) const BASE: &str = "10 gateways, 10 generations";
pub(crate) const GATEWAYS: &str = "10,000 gateways";
pub(crate) const GENERATIONS: &str = "10,000 generations";

pub(crate) fn run(options: &Options, dir: &Path, results: &mut Results) -> Result<()> {
    let kinds = [(BASE, FEW, FEW), (GATEWAYS, MANY, FEW), (GENERATIONS, FEW, MANY)];
    let mut servers = Vec::new();
    for (name, gateways, generations) in kinds {
        let state = large::fleet(options, gateways, generations)?;
        let run = dir.join(format!("flat-{gateways}-{generations}"));
        let state = state.copy_to(&run)?;
        let farmgate = Farmgate::start(&state, &options.farmgate, name)?;
        let clients = large::asking(gateways).map(|number| state.client(&gateway_name(number)));
        let clients = clients.collect::<Result<Vec<Gateway>>>()?;
        farmgate.own_tls.wait(&clients[0])?;
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
