//! The command line: one file per command; this one holds what they share.

mod bucket;
mod check;
mod completions;
mod damage;
mod doctor;
mod gateway;
mod generations;
mod init;
mod iso;
mod log;
mod man;
mod nginx_config;
mod pki;
mod publish;
mod rollout;
mod serve;
mod status;
mod store;

use std::fmt;
use std::io;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use anyhow::Result;
use clap::CommandFactory;
use clap::Parser;
use clap::Subcommand;
use clap::error::ErrorKind;
use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;
use indicatif::ProgressStyle;
use rustix::fs::Mode;
use serde::Serialize;
use time::OffsetDateTime;

use crate::foreign::harmless_lines;
use crate::identity::GatewayName;
use crate::process;
use crate::store::State;

/// Boots a fleet of CI-farm gateways from one place.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "Exit status:
  0    done
  1    failed; the last line on stderr says at what, and what to do
  2    wrong usage
  3    `doctor` alone: no fault was seen, but not everything could be looked at
  141  whoever read the output is gone (`farmgate status | head -1`)"
)]
struct Cli {
    /// Directory that holds everything
    #[arg(
        long,
        global = true,
        env = "FARMGATE_STATE",
        value_name = "DIR",
        default_value = "/var/lib/farmgate"
    )]
    state: PathBuf,
    /// Configuration, if not STATE/farmgate.toml
    #[arg(long, global = true, env = "FARMGATE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print facts as one JSON document
    #[arg(long, global = true)]
    json: bool,
    /// Say more on stderr; twice for still more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Say nothing on stderr but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a new state: configuration, CA, server certificate
    Init(init::Init),
    /// Add gateways and care for their certificates
    #[command(subcommand)]
    Gateway(gateway::Command),
    /// Check boot scripts, and folders that are to be published
    Check(check::Check),
    /// Publish a folder as the next generation of a gateway, or of many in waves
    Publish(publish::Publish),
    /// See and stop rollouts in waves
    #[command(subcommand)]
    Rollout(rollout::Command),
    /// Show the generations of a gateway
    Generations(generations::Generations),
    /// Make an earlier generation of a gateway the one that is served
    Rollback(generations::Rollback),
    /// Have a generation served whatever its boots show
    Pin(generations::Pin),
    /// Take the pin away
    Release(generations::Release),
    /// Show what gateways get next, and how their last boots went
    Status(status::Status),
    /// Care for the gateways' buckets and their keys
    #[command(subcommand)]
    Bucket(bucket::Command),
    /// Make boot images, seal identities into them, read them
    #[command(subcommand)]
    Iso(iso::Command),
    /// Care for the boot host's own certificate and the CRL
    #[command(subcommand)]
    Pki(pki::Command),
    /// Care for the store that several boot hosts share
    #[command(subcommand)]
    Store(store::Command),
    /// Run the boot server
    Serve(serve::Serve),
    /// Look for what would stop a boot: clock, certificates, files, doors, URLs, store, buckets
    Doctor(doctor::Doctor),
    /// Print the nginx configuration for this boot host
    NginxConfig(nginx_config::NginxConfig),
    /// Print what completes commands in a shell
    Completions(completions::Completions),
    /// Print the manual page, or write one for each command
    Man(man::Man),
}

/// Runs the program and says how it went: 0 done, 1 failed, 2 wrong usage, 3 done in part.
pub fn main() -> ExitCode {
    // Whatever is made without a word about its permissions: only its owner writes to it.
    rustix::process::umask(rustix::process::umask(Mode::empty()) | Mode::WGRP | Mode::WOTH);
    let cli = Cli::parse();
    log::start(match (cli.quiet, cli.verbose) {
        (true, _) => "error",
        (false, 0) => "info",
        (false, 1) => "debug",
        (false, _) => "trace",
    });
    // Before any key is read: every command that can come to have one is protected.
    if let Err(error) = process::forbid_dumps() {
        tracing::warn!("keys could get into a core dump: {error}");
    }
    let context =
        Context { state: cli.state, config: cli.config, json: cli.json, quiet: cli.quiet };
    let result = match cli.command {
        Command::Init(command) => command.run(&context),
        Command::Gateway(command) => command.run(&context),
        Command::Check(command) => command.run(&context),
        Command::Publish(command) => command.run(&context),
        Command::Rollout(command) => command.run(&context),
        Command::Generations(command) => command.run(&context),
        Command::Rollback(command) => command.run(&context),
        Command::Pin(command) => command.run(&context),
        Command::Release(command) => command.run(&context),
        Command::Status(command) => command.run(&context),
        Command::Bucket(command) => command.run(&context),
        Command::Iso(command) => command.run(&context),
        Command::Pki(command) => command.run(&context),
        Command::Store(command) => command.run(&context),
        Command::Serve(command) => command.run(&context),
        Command::Doctor(command) => command.run(&context),
        Command::NginxConfig(command) => command.run(&context),
        Command::Completions(command) => command.run(),
        Command::Man(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<NobodyReads>() => ExitCode::from(NOBODY_READS),
        Err(error) => {
            log::failure(&told(&error));
            match error.downcast_ref::<doctor::Unseen>() {
                Some(_) => ExitCode::from(doctor::Unseen::STATUS),
                None => ExitCode::FAILURE,
            }
        }
    }
}

/// Status of a program that SIGPIPE ends, as a shell shows it: what `head` leaves of `yes`.
const NOBODY_READS: u8 = 128 + 13;

/// Whoever was to read what is printed is gone, `head` for instance. No fault, and nothing to say.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads what is printed")]
struct NobodyReads;

/// Prints to stdout; nothing else in the program does.
fn print(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(NobodyReads.into()),
        result => result.context("cannot print"),
    }
}

/// One line, also when a cause has several; but TOML that cannot be read is shown with what is
/// wrong marked.
fn told(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let text = harmless_lines(text.trim_end());
    match error.downcast_ref::<toml::de::Error>().is_some() {
        true => text.into_owned(),
        false => text.replace('\n', " | "),
    }
}

/// What every command can use.
pub struct Context {
    state: PathBuf,
    config: Option<PathBuf>,
    json: bool,
    quiet: bool,
}

impl Context {
    /// Opens the state that `--state` names.
    pub fn state(&self) -> Result<State> {
        State::open(&self.state, self.config.as_deref())
    }

    /// Prints facts: one JSON document with `--json`, text for people without.
    pub fn print<T: Serialize + fmt::Display>(&self, facts: &T) -> Result<()> {
        self.write(facts, |text| harmless_lines(&text).into_owned())
    }

    /// The same for facts that are coloured on a terminal, and have nothing else in them that
    /// a terminal would obey.
    pub fn print_coloured<T: Serialize + fmt::Display>(&self, facts: &T) -> Result<()> {
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

    /// Tells people what does not keep the command from being done.
    pub fn warn(&self, warnings: &[String]) {
        for warning in warnings.iter().filter(|_| !self.quiet) {
            // Nobody is left to tell when stderr is closed.
            let _ = writeln!(io::stderr(), "warning: {}", harmless_lines(warning));
        }
    }

    /// A progress bar over `len` bytes or steps: on a terminal only.
    pub fn progress(&self, len: u64, message: &'static str) -> ProgressBar {
        let target =
            if self.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let style = ProgressStyle::with_template("{msg} {wide_bar} {percent} % {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::with_draw_target(Some(len), target).with_style(style).with_message(message)
    }
}

/// The time by this machine's clock.
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// Ends the program as clap does for arguments that it cannot use.
fn wrong_usage(kind: ErrorKind, what: &dyn fmt::Display) -> ! {
    Cli::command().error(kind, what).exit()
}

/// The name of a gateway, as an argument.
#[derive(clap::Args)]
struct Gateway {
    /// Name of the gateway
    #[arg(value_name = "NAME")]
    name: GatewayName,
}
