//! The command line. Each command is a struct with its arguments and `run(self, &Context)`, in a
//! file of its own; those that have subcommands are folders.

mod apply;
mod author;
mod bucket;
mod candidates;
mod check;
mod completions;
mod confirm;
mod context;
mod damage;
mod diff;
mod doctor;
mod files;
mod follow;
mod gateway;
mod gc;
mod generations;
mod get;
mod groups;
mod import;
mod init;
mod iso;
mod log;
mod man;
mod nginx_config;
mod pki;
mod plan;
mod publish;
mod render;
mod rollout;
mod selector;
mod serve;
mod state;
mod status;
mod store;
mod sync;
mod table;
mod terminal;
mod trail;
mod try_boot;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;
use clap::Parser;
use clap::Subcommand;
use clap::error::ErrorKind;
use clap_complete::CompleteEnv;
use rustix::fs::Mode;

use self::context::Context;
use self::context::NobodyReads;
use crate::config::ParseConfigError;
use crate::foreign::harmless_lines;
use crate::process;
use crate::sync::Faults;

/// The state, unless another one is named.
const STATE: &str = "/var/lib/farmgate";

/// Boots a fleet of CI-farm gateways from one place.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "Exit status:
  0    done
  1    failed; the last line on stderr says what, where, and what to do
  2    wrong usage; `plan --detailed-exitcode`: there are changes
  3    `doctor` alone: no fault was found, but not everything could be checked
  141  the reader of the output is gone (`farmgate status | head -1`)"
)]
struct Cli {
    /// State directory, which holds everything
    #[arg(
        long,
        global = true,
        env = "FARMGATE_STATE",
        value_name = "DIR",
        default_value = STATE
    )]
    state: PathBuf,
    /// Configuration, if not STATE/farmgate.toml
    #[arg(long, global = true, env = "FARMGATE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON document in place of text
    #[arg(long, global = true)]
    json: bool,
    /// Log more on stderr; twice for still more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Log nothing on stderr but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Format of the log on stderr: text, logfmt or json
    #[arg(
        long,
        global = true,
        env = "FARMGATE_LOG_FORMAT",
        value_name = "FORMAT",
        value_enum,
        default_value = "text",
        hide_possible_values = true
    )]
    log_format: log::Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create a state: configuration, CA, server certificate
    Init(init::Init),
    /// Add gateways and manage their certificates
    #[command(subcommand)]
    Gateway(gateway::Command),
    /// Check boot scripts, and folders that are to be published
    Check(check::Check),
    /// Show the boot script and the agent's profile that a gateway.toml makes
    Render(render::Render),
    /// Publish a folder as the next generation of a gateway, or of many in waves
    Publish(publish::Publish),
    /// Show, watch, stop and resume rollouts in waves
    #[command(subcommand)]
    Rollout(rollout::Command),
    /// Show what applying a fleet folder would change
    Plan(plan::PlanCommand),
    /// Publish what a fleet folder changes
    Apply(apply::ApplyCommand),
    /// Compare two generations of a gateway
    Diff(diff::Diff),
    /// Show the generations of a gateway
    Generations(generations::Generations),
    /// Read back the files of a generation, as they were published
    Get(get::Get),
    /// Make an earlier generation of a gateway the current one
    Rollback(generations::Rollback),
    /// Serve a generation whatever assessment says, until it is released
    Pin(generations::Pin),
    /// Remove the pin of a gateway
    Release(generations::Release),
    /// Remove files that no kept generation needs
    Gc(gc::Gc),
    /// Show which generation each gateway gets next, and how its last boots went
    Status(status::Status),
    /// Boot a gateway's image in QEMU, and show how far it comes
    Try(try_boot::Try),
    /// Show who did what, when and why
    Log(trail::Log),
    /// Manage the gateways' buckets and their keys
    #[command(subcommand)]
    Bucket(bucket::Command),
    /// Make, seal and verify boot images
    #[command(subcommand)]
    Iso(iso::Command),
    /// Renew the boot host's own certificate and the CRL
    #[command(subcommand)]
    Pki(pki::Command),
    /// Take over the fleet of another boot server
    #[command(subcommand)]
    Import(import::Command),
    /// Manage the store that several boot hosts share
    #[command(subcommand)]
    Store(store::Command),
    /// Back up the state, restore it, move it, or export what gateways have now
    #[command(subcommand)]
    State(state::Command),
    /// Bring in the git repository that describes the fleet, once
    Sync(sync::Sync),
    /// Run the boot server
    Serve(serve::Serve),
    /// Check everything that could stop a boot: clock, certificates, files, ports, URLs, store,
    /// buckets, git repository
    Doctor(doctor::Doctor),
    /// Print the nginx configuration for this boot host
    NginxConfig(nginx_config::NginxConfig),
    /// Print a shell completion script
    Completions(completions::Completions),
    /// Print the manual page, or write one page for each command
    Man(man::Man),
}

impl Command {
    /// The name of a command that prints no facts, and what it prints in place of them.
    fn without_json(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Serve(_) => Some(("serve", "nothing; for its log there is --log-format json")),
            Self::NginxConfig(_) => Some(("nginx-config", "a configuration of nginx")),
            Self::Completions(_) => Some(("completions", "a script for a shell")),
            Self::Man(_) => Some(("man", "manual pages")),
            _ => None,
        }
    }
}

/// Runs the program and returns its status: 0 done, 1 failed, 2 wrong usage, 3 done in part.
pub fn main() -> ExitCode {
    // Files that are made without explicit permissions are writable for their owner alone.
    rustix::process::umask(rustix::process::umask(Mode::empty()) | Mode::WGRP | Mode::WOTH);
    // Only if a shell asks what could come next.
    CompleteEnv::with_factory(Cli::command).var(completions::VARIABLE).complete();
    let cli = Cli::parse();
    let level = match (cli.quiet, cli.verbose) {
        (true, _) => "error",
        (false, 0) => "info",
        (false, 1) => "debug",
        (false, _) => "trace",
    };
    log::start(level, cli.log_format);
    if let (true, Some((command, instead))) = (cli.json, cli.command.without_json()) {
        let what = format!("--json does not go with `{command}`, which prints {instead}");
        wrong_usage(&[command], ErrorKind::ArgumentConflict, &what);
    }
    // Before any key is read, so that every command that may hold one is protected.
    if let Err(error) = process::forbid_dumps() {
        tracing::warn!("keys could get into a core dump: {error}");
    }
    let context =
        Context { state: cli.state, config: cli.config, json: cli.json, quiet: cli.quiet };
    let result = match cli.command {
        Command::Init(command) => command.run(&context),
        Command::Gateway(command) => command.run(&context),
        Command::Check(command) => command.run(&context),
        Command::Render(command) => command.run(&context),
        Command::Publish(command) => command.run(&context),
        Command::Rollout(command) => command.run(&context),
        Command::Plan(command) => command.run(&context),
        Command::Apply(command) => command.run(&context),
        Command::Diff(command) => command.run(&context),
        Command::State(command) => command.run(&context),
        Command::Generations(command) => command.run(&context),
        Command::Get(command) => command.run(&context),
        Command::Rollback(command) => command.run(&context),
        Command::Pin(command) => command.run(&context),
        Command::Release(command) => command.run(&context),
        Command::Gc(command) => command.run(&context),
        Command::Status(command) => command.run(&context),
        Command::Try(command) => command.run(&context),
        Command::Log(command) => command.run(&context),
        Command::Bucket(command) => command.run(&context),
        Command::Iso(command) => command.run(&context),
        Command::Pki(command) => command.run(&context),
        Command::Import(command) => command.run(&context),
        Command::Store(command) => command.run(&context),
        Command::Sync(command) => command.run(&context),
        Command::Serve(command) => command.run(&context),
        Command::Doctor(command) => command.run(&context),
        Command::NginxConfig(command) => command.run(&context),
        Command::Completions(command) => command.run(&context),
        Command::Man(command) => command.run(&context),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<plan::Changes>() => ExitCode::from(plan::Changes::STATUS),
        Err(error) if error.is::<NobodyReads>() => ExitCode::from(NobodyReads::STATUS),
        Err(error) => {
            log::failure(&one_line(&error));
            match error.downcast_ref::<doctor::Unseen>() {
                Some(_) => ExitCode::from(doctor::Unseen::STATUS),
                None => ExitCode::FAILURE,
            }
        }
    }
}

/// An error in one line, also when a cause has several. TOML that cannot be parsed is the
/// exception: its error marks the place.
fn one_line(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let text = harmless_lines(text.trim_end());
    match error.is::<ParseConfigError>() || error.is::<Faults>() {
        true => text.into_owned(),
        false => text.replace('\n', " | "),
    }
}

/// Ends the program as clap does for invalid arguments of a subcommand, with its usage.
fn wrong_usage(subcommand: &[&str], kind: ErrorKind, what: &dyn fmt::Display) -> ! {
    let mut cli = Cli::command();
    // Gives each subcommand its full name.
    cli.build();
    let mut command = &mut cli;
    for name in subcommand {
        command = match command.find_subcommand_mut(name) {
            Some(found) => found,
            None => unreachable!("{name} is a subcommand"),
        };
    }
    command.error(kind, what).exit()
}
