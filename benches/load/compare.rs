//! The measures that compare servers: rounds in turn, so that whatever else the machine does hits
//! all of them.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::boot::BEGIN;
use crate::boot::Size;
use crate::boot::boot;
use crate::client::Connection;
use crate::drive::Sample;
use crate::drive::drive;
use crate::fleet::Fleet;
use crate::options::Options;
use crate::results::Results;
use crate::say;
use crate::servers::Server;
use crate::window::Window;

/// As many connections as `ab -c 8`; downloads are fewer.
const WORKERS: usize = 8;
const DOWNLOADS: usize = 4;

/// The work that is repeated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    /// A full mutual handshake, and the boot script; each by another gateway.
    Handshake,
    /// The boot script, on connections that are kept.
    Kept,
    /// The kernel, on connections that are kept. Counts MB (10^6 bytes).
    Asset,
    /// The first request of a boot, a durable event each, all of one gateway.
    Begin,
    /// A whole boot, each by another gateway.
    Boots(Size),
}

const LOADS: [(&str, &str, Load); 6] = [
    ("handshake", "/s", Load::Handshake),
    ("kept", "/s", Load::Kept),
    ("begin", "/s", Load::Begin),
    ("asset", "MB/s", Load::Asset),
    ("boots", "/s", Load::Boots(Size::Full)),
    ("boots-small", "/s", Load::Boots(Size::Small)),
];

pub(crate) fn run(
    options: &Options,
    servers: &[Server],
    fleet: &Fleet,
    results: &mut Results,
) -> Result<()> {
    let turn = AtomicUsize::new(0);
    // The first round warms up.
    for round in 0..=options.rounds {
        say(&match round {
            0 => "warming up".to_owned(),
            _ => format!("round {round} of {}", options.rounds),
        });
        for (measure, unit, load) in LOADS.into_iter().filter(|load| options.wants(load.0)) {
            let able: Vec<&Server> = servers.iter().filter(|s| load.suits(s)).collect();
            // Who comes first takes turns too.
            let first = (round + able.len() - 1) % able.len();
            for index in first..first + able.len() {
                let server = able[index % able.len()];
                let sample = load.sample(options, server, fleet, &turn);
                let sample = sample.with_context(|| measure.to_owned())?;
                if round > 0 {
                    results.add(measure, server.name, unit, sample);
                }
            }
        }
    }
    Ok(())
}

impl Load {
    fn suits(self, server: &Server) -> bool {
        match self {
            Self::Handshake | Self::Kept => true,
            Self::Asset => server.asset.is_some(),
            Self::Begin | Self::Boots(_) => server.boots,
        }
    }

    fn sample(
        self,
        options: &Options,
        server: &Server,
        fleet: &Fleet,
        turn: &AtomicUsize,
    ) -> Result<Sample> {
        let (port, time) = (server.port, options.sample);
        let next = || turn.fetch_add(1, Ordering::Relaxed);
        match self {
            Self::Handshake => drive(server, time, WORKERS, |_| {
                Ok(|| {
                    Connection::open(fleet.full(next()), port)?.fetch(&server.script)?;
                    Ok(1.0)
                })
            }),
            Self::Kept => drive(server, time, 1, |_| {
                let mut window = Window::open(server, (0..WORKERS).map(|turn| fleet.full(turn)))?;
                Ok(move || window.next().map(|()| 1.0))
            }),
            Self::Begin => drive(server, time, WORKERS, |_| {
                let mut connection = Connection::open(fleet.beginner(), port)?;
                connection.get(BEGIN)?;
                Ok(move || {
                    let answer = connection.get(BEGIN)?;
                    ensure!(answer.status == 302, "{BEGIN}: status {}", answer.status);
                    Ok(1.0)
                })
            }),
            Self::Asset => {
                let asset = server.asset.as_deref().context("no files")?;
                drive(server, time, DOWNLOADS, |worker| {
                    let mut connection = Connection::open(fleet.full(worker), port)?;
                    connection.fetch(&server.script)?;
                    Ok(move || connection.download(asset).map(|bytes| bytes as f64 / 1e6))
                })
            }
            // A boot with all its bytes takes long.
            Self::Boots(size) => drive(server, time * 3, WORKERS, |_| {
                Ok(|| {
                    let gateway = match size {
                        Size::Full => fleet.full(next()),
                        Size::Small => fleet.small(next()),
                    };
                    boot(gateway, port, size).map(|_| 1.0)
                })
            }),
        }
    }
}
