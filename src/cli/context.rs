//! Shared by all commands: the state, facts as text or JSON, warnings, progress, the clock. The
//! only module that writes to stdout.

use std::fmt;
use std::io;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use clap_complete::engine::ArgValueCandidates;
use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;
use indicatif::ProgressStyle;
use serde::Serialize;
use time::OffsetDateTime;

use super::candidates;
use crate::foreign::harmless_lines;
use crate::identity::GatewayName;
use crate::identity::ParseNameError;
use crate::store::State;

/// The options that every command has.
pub(super) struct Context {
    pub(super) state: PathBuf,
    pub(super) config: Option<PathBuf>,
    pub(super) json: bool,
    pub(super) quiet: bool,
}

impl Context {
    /// Opens the state that `--state` names.
    pub(super) fn state(&self) -> Result<State> {
        State::open(&self.state, self.config.as_deref())
    }

    /// Prints facts: one JSON document with `--json`, text for people without.
    pub(super) fn print<T: Serialize + fmt::Display>(&self, facts: &T) -> Result<()> {
        self.write(facts, |text| harmless_lines(&text).into_owned())
    }

    /// Prints a line about work that goes on; with `--json` nothing, since a document follows.
    pub(super) fn say(&self, line: &str) -> Result<()> {
        if self.json { Ok(()) } else { print(format!("{}\n", harmless_lines(line)).as_bytes()) }
    }

    /// Like [`Self::print`], for facts that colour themselves. They must hold no other control characters.
    pub(super) fn print_coloured<T: Serialize + fmt::Display>(&self, facts: &T) -> Result<()> {
        self.write(facts, |text| text)
    }

    fn write<T: Serialize + fmt::Display>(
        &self,
        facts: &T,
        shown: impl FnOnce(String) -> String,
    ) -> Result<()> {
        let mut text = match self.json {
            true => serde_json::to_string_pretty(facts)?,
            false => shown(facts.to_string()),
        };
        text.push('\n');
        print(text.as_bytes())
    }

    /// Prints warnings for people; the command goes on.
    pub(super) fn warn(&self, warnings: &[String]) {
        for warning in warnings.iter().filter(|_| !self.quiet) {
            // If stderr is closed, there is nowhere to report that.
            let _ = writeln!(io::stderr(), "warning: {}", harmless_lines(warning));
        }
    }

    /// A progress bar over `len` bytes or steps: on a terminal only.
    pub(super) fn progress(&self, len: u64, message: &'static str) -> ProgressBar {
        let target =
            if self.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let style = ProgressStyle::with_template("{msg} {wide_bar} {percent} % {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::with_draw_target(Some(len), target).with_style(style).with_message(message)
    }
}

/// The reader of the output, for example `head`, has ended. This is no error and needs no message.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output")]
pub(super) struct NobodyReads;

impl NobodyReads {
    /// Exit status of a program that SIGPIPE ends, as a shell shows it, for example of `yes` in
    /// `yes | head`.
    pub(super) const STATUS: u8 = 128 + 13;
}

/// Writes to stdout; no other code in the program does.
pub(super) fn print(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(NobodyReads.into()),
        result => result.context("cannot print"),
    }
}

/// Lets `write` send bytes to stdout as they are.
pub(super) fn stream(write: &mut dyn FnMut(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut out = io::stdout().lock();
    let written = write(&mut out).and_then(|()| Ok(out.flush()?));
    let broken = |error: &anyhow::Error| {
        let cause = error.root_cause().downcast_ref::<io::Error>();
        cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
    };
    written.map_err(|error| if broken(&error) { NobodyReads.into() } else { error })
}

/// The time by this machine's clock.
pub(super) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// A runtime for commands that use the network.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")
}

/// The name of a gateway that exists, as an argument of a command that is about one.
#[derive(clap::Args)]
pub(super) struct Gateway {
    /// Name of the gateway
    #[arg(value_name = "NAME", value_parser = one_gateway,
        add = ArgValueCandidates::new(candidates::names))]
    pub(super) name: GatewayName,
}

/// Parses the name of a gateway where a group cannot stand.
pub(super) fn one_gateway(text: &str) -> Result<GatewayName, String> {
    if text.starts_with('@') {
        return Err("this takes the name of one gateway, not a group".to_owned());
    }
    text.parse().map_err(|error: ParseNameError| error.to_string())
}
