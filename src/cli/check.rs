//! `farmgate check`: boot scripts, folders and configurations.

mod explain;
mod show;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use serde::Serialize;

use super::context::Context;
use crate::ipxe::script;
use crate::ipxe::script::Kind;
use crate::ipxe::script::Position;
use crate::ipxe::script::Severity;
use crate::profile::description::Description;
use crate::profile::description::GATEWAY_TOML;
use crate::profile::description::Problem;
use crate::publish;
use crate::publish::Checked;
use crate::store::read_config;
use crate::sync::FleetFolder;

/// Makes a folder a fleet folder.
const FLEET_FILE: &str = "fleet.toml";

/// Larger than any script: stops mistakes such as naming a kernel.
const MAX_LEN: u64 = 64 * 1024 * 1024;

#[derive(clap::Args)]
pub(super) struct Check {
    /// Report only errors that iPXE itself would refuse
    #[arg(long)]
    syntax: bool,
    /// Boot scripts, folders with a boot.ipxe or gateway.toml and its files, fleet folders,
    /// configurations (*.toml)
    #[arg(required_unless_present = "explain", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Explain a code of a finding, such as FG010; without one, list all codes
    #[arg(
        long,
        value_name = "CODE",
        num_args = 0..=1,
        default_missing_value = "",
        conflicts_with_all = ["paths", "syntax"]
    )]
    explain: Option<String>,
}

/// A finding, as `--json` prints it.
#[derive(Serialize)]
struct FindingFact<'a> {
    file: &'a Path,
    #[serde(flatten)]
    start: Position,
    end: Position,
    code: &'static str,
    kind: Kind,
    severity: Severity,
    what: &'a str,
    why: &'static str,
    help: &'a str,
}

/// All findings of all files.
struct Findings<'a> {
    checked: &'a [Checked],
    /// Number of checked configurations.
    configurations: usize,
}

impl Serialize for Findings<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let facts = self.checked.iter().flat_map(|checked| {
            checked.findings.iter().map(|finding| FindingFact {
                file: &checked.path,
                start: finding.start,
                end: finding.end,
                code: finding.code.id,
                kind: finding.code.kind,
                severity: finding.severity,
                what: &finding.what,
                why: finding.code.why,
                help: &finding.help,
            })
        });
        serializer.collect_seq(facts)
    }
}

impl fmt::Display for Findings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for checked in self.checked {
            show::show(f, checked)?;
        }
        let files = count(self.checked.len() + self.configurations, "file");
        match self.checked.iter().map(|checked| checked.findings.len()).sum() {
            0_usize => write!(f, "{files} checked, nothing found"),
            findings => write!(f, "{files} checked, {}", count(findings, "finding")),
        }
    }
}

fn count(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

impl Check {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        if let Some(code) = &self.explain {
            return explain::explain(context, code);
        }
        let (configurations, paths): (Vec<_>, Vec<_>) = self.paths.iter().partition(|path| {
            let of_gateway = path.file_name().is_some_and(|name| name == GATEWAY_TOML);
            let is_toml = path.extension().is_some_and(|extension| extension == "toml");
            is_toml && !of_gateway && !path.is_dir()
        });
        for path in &configurations {
            read_config(path)?;
        }
        let checked: Vec<Vec<Checked>> =
            paths.into_iter().map(|path| self.check(path)).collect::<Result<_>>()?;
        let mut checked: Vec<Checked> = checked.into_iter().flatten().collect();
        if self.syntax {
            for file in &mut checked {
                file.findings.retain(|finding| finding.code.kind == Kind::Syntax);
            }
        }
        context.print_coloured(&Findings {
            checked: &checked,
            configurations: configurations.len(),
        })?;
        let errors = checked
            .iter()
            .flat_map(|checked| &checked.findings)
            .filter(|finding| finding.severity.is_error())
            .count();
        match errors {
            0 => Ok(()),
            errors => bail!(
                "{}; `farmgate check --explain CODE` explains the codes",
                count(errors, "error")
            ),
        }
    }

    fn check(&self, path: &Path) -> Result<Vec<Checked>> {
        if path.is_dir() {
            return match path.join(FLEET_FILE).exists() {
                true => FleetFolder::read(path)?.check(false, &|_| None),
                false => publish::check(path),
            };
        }
        let shown = path.display();
        let mut source = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_LEN + 1).read_to_end(&mut source))
            .with_context(|| format!("cannot read {shown}"))?;
        ensure!(
            source.len() as u64 <= MAX_LEN,
            "{shown} is larger than {MAX_LEN} bytes; is it the right file?"
        );
        if path.file_name().is_some_and(|name| name == GATEWAY_TOML) {
            return Ok(vec![description(path, source)?]);
        }
        let options = script::Options { syntax_only: self.syntax, ..script::Options::default() };
        let findings = script::check(&source, &options);
        Ok(vec![Checked { path: path.to_owned(), source, findings, secret: false }])
    }
}

/// Checks a `gateway.toml` alone, without what lies beside it.
fn description(path: &Path, source: Vec<u8>) -> Result<Checked> {
    let text = String::from_utf8(source)
        .ok()
        .with_context(|| format!("{} is not UTF-8", path.display()))?;
    let problems = match Description::parse(&text) {
        Ok(description) => description.warnings().to_vec(),
        Err(problems) => problems,
    };
    let findings = Problem::findings(&text, problems);
    Ok(Checked { path: path.to_owned(), source: text.into_bytes(), findings, secret: false })
}
