//! `farmgate render`: shows what a `gateway.toml` makes.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;

use super::candidates;
use super::context::Context;
use crate::fleet::BOOT_SCRIPT;
use crate::fleet::Generation;
use crate::foreign::harmless_lines;
use crate::identity::GatewayName;
use crate::profile::agent::AGENT_PROFILE;
use crate::profile::agent::AgentProfile;
use crate::profile::description::GATEWAY_TOML;
use crate::publish;
use crate::publish::Preview;
use crate::store::blobs::Access;
use crate::store::generations::Generations;

#[derive(clap::Args)]
pub(super) struct Render {
    /// A folder with a gateway.toml, or a gateway, whose current generation is shown
    #[arg(value_name = "NAME|FOLDER", add = ArgValueCompleter::new(candidates::selectors_and_folders))]
    target: PathBuf,
}

/// The files that a gateway gets, or would get.
#[derive(Serialize)]
struct Made {
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<GatewayName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    boot_script: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    command_line: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_profile: Option<AgentProfile>,
    /// Without the operator's values; absent for a generation, of which only the boot host tells a
    /// gateway its secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    secrets: Option<String>,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(gateway), Some(generation)) = (&self.gateway, self.generation) {
            writeln!(f, "generation {generation} of {gateway}\n")?;
        }
        write!(f, "boot.ipxe\n\n{}", indented(&self.boot_script))?;
        if let Some(line) = &self.command_line {
            write!(f, "\nkernel command line\n\n{}", indented(line))?;
        }
        if let Some(profile) = &self.agent_profile {
            let json = serde_json::to_string_pretty(profile).map_err(|_| fmt::Error)?;
            write!(f, "\nagent.json\n\n{}", indented(&json))?;
        }
        match self.secrets.as_ref().filter(|secrets| !secrets.is_empty()) {
            None => Ok(()),
            Some(secrets) => write!(f, "\nsecrets\n\n{}", indented(secrets).trim_end()),
        }
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

impl Render {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let target = self.target.as_path();
        // The file is a way to say its folder.
        let folder = match target.file_name().is_some_and(|name| name == GATEWAY_TOML) {
            true => {
                target.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
            }
            false => target,
        };
        if folder.is_dir() {
            return of_folder(context, folder);
        }
        let name: Option<GatewayName> = target.to_str().and_then(|text| text.parse().ok());
        match name {
            Some(name) => of_gateway(context, name),
            None => bail!("there is no folder {}", target.display()),
        }
    }
}

fn of_folder(context: &Context, folder: &Path) -> Result<()> {
    let (checked, preview) = publish::preview(folder)?;
    let Some(preview) = preview else {
        let errors: Vec<String> = checked.iter().flat_map(publish::Checked::errors).collect();
        let first = errors.first().context("nothing could be made of it")?;
        bail!("{first} (farmgate check {} shows more)", folder.display());
    };
    let warnings: Vec<String> = checked.iter().flat_map(publish::Checked::lines).collect();
    context.warn(&warnings);
    let Preview { boot_script, command_line, agent_profile, secrets } = preview;
    context.print(&Made {
        gateway: None,
        generation: None,
        boot_script,
        command_line: Some(command_line),
        agent_profile,
        secrets: Some(secrets),
    })
}

fn of_gateway(context: &Context, name: GatewayName) -> Result<()> {
    let state = context.state()?;
    let record = state.gateways().load(&name)?;
    let generations = Generations::new(&state);
    let history = generations.history(&record.id)?;
    let current = history.current().with_context(|| {
        format!("gateway {name} has no generation: `farmgate publish` makes one")
    })?;
    let read = |path: &str| read(&generations, current, path);
    let boot_script = read(BOOT_SCRIPT)?.unwrap_or_default();
    let profile = read(AGENT_PROFILE)?.filter(|_| current.files().contains_key(GATEWAY_TOML));
    let agent_profile = profile.map(|json| serde_json::from_str(&json)).transpose();
    let agent_profile = agent_profile
        .with_context(|| format!("cannot read {AGENT_PROFILE} of generation {}", current.number))?;
    context.print(&Made {
        gateway: Some(name.clone()),
        generation: Some(current.number),
        boot_script: harmless_lines(&boot_script).into_owned(),
        command_line: None,
        agent_profile,
        secrets: None,
    })
}

fn read(generations: &Generations, generation: &Generation, path: &str) -> Result<Option<String>> {
    let Some(asset) = generation.files().get(path) else { return Ok(None) };
    let bytes = generations.blobs_of(Access::to(path)).read(asset)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}
