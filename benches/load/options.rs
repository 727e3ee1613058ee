//! Options: the measures, and their length. Reads the environment.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

/// Every measure, in the order in which they run.
const MEASURES: [&str; 9] =
    ["handshake", "kept", "begin", "asset", "boots", "boots-small", "syscalls", "flat", "memory"];

/// Those that compare with other servers.
const COMPARING: [&str; 6] = ["handshake", "kept", "begin", "asset", "boots", "boots-small"];

pub(crate) struct Options {
    measures: Vec<&'static str>,
    pub(crate) rounds: usize,
    /// Length of one sample.
    pub(crate) sample: Duration,
    /// True if client and servers come before all other work of the machine.
    pub(crate) realtime: bool,
    /// Gateways of the fleet that boots.
    pub(crate) fleet: usize,
    /// The program that is measured.
    pub(crate) farmgate: PathBuf,
    /// Results, and fleets that later runs use again.
    pub(crate) dir: PathBuf,
}

impl Options {
    pub(crate) fn from_environment() -> Result<Self> {
        let farmgate = std::env::var_os("FARMGATE_BIN").map(PathBuf::from);
        Ok(Self {
            measures: measures(&text("BENCH"))?,
            rounds: number("ROUNDS", 5)?.max(1),
            sample: Duration::from_millis(number("SAMPLE_MS", 600)?.max(50) as u64),
            realtime: number("REALTIME", 0)? != 0,
            fleet: number("GATEWAYS", 200)?.max(16),
            farmgate: farmgate.unwrap_or_else(|| env!("CARGO_BIN_EXE_farmgate").into()),
            dir: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench"),
        })
    }

    pub(crate) fn wants(&self, measure: &str) -> bool {
        self.measures.contains(&measure)
    }

    /// True if any of the measures that compare with other servers is wanted.
    pub(crate) fn compares(&self) -> bool {
        COMPARING.iter().any(|name| self.wants(name))
    }
}

fn text(variable: &str) -> String {
    std::env::var(variable).unwrap_or_default()
}

fn number(variable: &str, default: usize) -> Result<usize> {
    match text(variable).as_str() {
        "" => Ok(default),
        text => text.parse().with_context(|| format!("{variable}={text} is not a number")),
    }
}

fn measures(text: &str) -> Result<Vec<&'static str>> {
    let words: Vec<&str> = text.split([',', ' ']).filter(|word| !word.is_empty()).collect();
    if let Some(unknown) = words.iter().find(|word| !MEASURES.contains(word)) {
        bail!("BENCH={unknown} is not a measure; these are: {}", MEASURES.join(", "));
    }
    let wanted = |name: &&str| words.is_empty() || words.contains(name);
    Ok(MEASURES.into_iter().filter(wanted).collect())
}
