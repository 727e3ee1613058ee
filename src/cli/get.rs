//! `farmgate get`: reads back what was published.

use std::fmt;
use std::io;
use std::io::IsTerminal;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use clap::error::ErrorKind;
use serde::Serialize;

use super::context::Context;
use super::context::Gateway;
use super::context::stream;
use super::store;
use super::wrong_usage;
use crate::fleet::Asset;
use crate::fleet::Generation;
use crate::fleet::Record;
use crate::fleet::SECRETS;
use crate::identity::GatewayName;
use crate::profile::description::GATEWAY_TOML;
use crate::profile::description::is_made;
use crate::store::State;
use crate::store::blobs::Access;
use crate::store::generations::Generations;
use crate::store::outside::Existing;
use crate::store::outside::Outside;
use crate::store::owner::as_caller;

/// The longest file that is shown on a terminal.
const SHOWN: u64 = 1024 * 1024;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  farmgate get lab-1 7 boot.ipxe               shows the script of generation 7
  farmgate get lab-1 7 vmlinuz -o /tmp/vmlinuz
  farmgate get lab-1 7 -o ./lab-1-7            all files, without the secrets template")]
pub(super) struct Get {
    #[command(flatten)]
    gateway: Gateway,
    /// Number of the generation; `farmgate generations NAME` shows all of them
    #[arg(value_name = "N")]
    generation: u64,
    /// One file of it, as `farmgate generations NAME --files N` shows it [default: all]
    path: Option<String>,
    /// File to write, or the directory for all files; `-` is stdout
    #[arg(short, long, value_name = "FILE|DIR")]
    output: Option<PathBuf>,
    /// Replace files that are there already
    #[arg(long)]
    force: bool,
    /// Also write the secrets template, for its owner alone
    #[arg(long)]
    secrets: bool,
}

#[derive(Serialize)]
struct Written {
    gateway: GatewayName,
    generation: u64,
    output: PathBuf,
    files: usize,
    bytes: u64,
    /// The secrets template was left out.
    #[serde(skip)]
    without_secrets: bool,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gateway, generation, output, files, bytes, without_secrets } = self;
        let files = if *files == 1 { "1 file".to_owned() } else { format!("{files} files") };
        write!(
            f,
            "{}: {files} of generation {generation} of {gateway}, {bytes} bytes, verified",
            output.display()
        )?;
        if *without_secrets {
            write!(f, "; `--secrets` adds the secrets template")?;
        }
        Ok(())
    }
}

/// A generation that can be read back.
struct Source<'a> {
    context: &'a Context,
    state: &'a State,
    record: &'a Record,
    generations: Generations,
    generation: Arc<Generation>,
}

impl Get {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let output = self.output.as_deref().filter(|path| *path != Path::new("-"));
        match (&self.path, output) {
            (None, None) => wrong_usage(
                &["get"],
                ErrorKind::MissingRequiredArgument,
                &"PATH is needed, or `-o DIR` for all files",
            ),
            (Some(_), None) if context.json => wrong_usage(
                &["get"],
                ErrorKind::ArgumentConflict,
                &"with --json, `-o FILE` is needed: the file itself would go to stdout",
            ),
            _ => {}
        }
        let state = context.state()?;
        let record = state.gateways().load(&self.gateway.name)?;
        let generations = Generations::new(&state);
        let history = generations.readable(&record.id)?.history;
        let generation = find(&record.name, &history, self.generation)?.clone();
        ensure!(
            !history.is_dropped(generation.number),
            "the files of generation {} of {} were removed by `farmgate gc`",
            generation.number,
            record.name
        );
        let source = Source { context, state: &state, record: &record, generations, generation };
        let existing = if self.force { Existing::Replace } else { Existing::Refuse };
        match (self.path, output) {
            (Some(path), None) => source.show(&path),
            (Some(path), Some(file)) => source.one(&path, file, existing),
            (None, Some(dir)) => source.all(dir, existing, self.secrets),
            // Refused above.
            (None, None) => Ok(()),
        }
    }
}

/// The generation with this number.
pub(super) fn find<'a>(
    name: &GatewayName,
    history: &'a crate::fleet::History,
    number: u64,
) -> Result<&'a Arc<Generation>> {
    history.generation(number).with_context(|| {
        format!(
            "gateway {name} has no generation {number}; `farmgate generations {name}` shows all \
             of them"
        )
    })
}

impl Source<'_> {
    fn asset(&self, path: &str) -> Result<&Asset> {
        let (number, name) = (self.generation.number, &self.record.name);
        self.generation.files().get(path).with_context(|| {
            format!(
                "generation {number} of {name} has no file {path:?}; `farmgate generations {name} \
                 --files {number}` shows all of them"
            )
        })
    }

    /// Copies one file, and fails at the end if its bytes are not those that were published.
    fn copy(
        &self,
        path: &str,
        asset: &Asset,
        out: &mut dyn io::Write,
        progress: &dyn Fn(u64),
    ) -> Result<()> {
        let blobs = self.generations.blobs_of(Access::to(path));
        blobs.copy(asset, out, progress).with_context(|| {
            format!("{path} of generation {} cannot be read back", self.generation.number)
        })
    }

    fn show(&self, path: &str) -> Result<()> {
        let asset = self.asset(path)?;
        store::fetch_files(self.state, [(path, asset)])?;
        if !io::stdout().is_terminal() {
            return stream(&mut |out| self.copy(path, asset, out, &|_| {}));
        }
        let no_text = || format!("{path} is no text that a terminal can show; `-o FILE` writes it");
        ensure!(asset.size <= SHOWN, no_text());
        let mut bytes = Vec::new();
        self.copy(path, asset, &mut bytes, &|_| {})?;
        let text = String::from_utf8(bytes).ok().with_context(no_text)?;
        let shown = crate::foreign::harmless_lines(&text).into_owned();
        stream(&mut |out| Ok(out.write_all(shown.as_bytes())?))
    }

    fn one(&self, path: &str, output: &Path, existing: Existing) -> Result<()> {
        let asset = self.asset(path)?;
        // As `cp` does.
        let output = match as_caller(|| output.is_dir()) {
            true => output.join(path.rsplit('/').next().unwrap_or(path)),
            false => output.to_owned(),
        };
        let name = output.file_name().and_then(|name| name.to_str());
        let Some(name) = name else { bail!("{} is no name for a file", output.display()) };
        let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = Outside::open(parent.unwrap_or(Path::new(".")))?;
        store::fetch_files(self.state, [(path, asset)])?;
        let progress = self.context.progress(asset.size, "reading");
        folder.write(name, mode(path), existing, |file| {
            self.copy(path, asset, file, &|bytes| progress.inc(bytes))
        })?;
        progress.finish_and_clear();
        self.written(&output, 1, asset.size, false)
    }

    fn all(&self, output: &Path, existing: Existing, secrets: bool) -> Result<()> {
        // What is made from it is made again when the directory is published.
        let made = self.generation.files().contains_key(GATEWAY_TOML);
        let files = self.generation.files().iter();
        let files: Vec<_> = files
            .map(|(path, asset)| (&**path, asset))
            .filter(|(path, _)| secrets || *path != SECRETS)
            .filter(|(path, _)| !made || !is_made(path))
            .collect();
        let without_secrets = !secrets && self.generation.files().contains_key(SECRETS);
        // Files that were there before could be taken for files of the generation.
        let folder = Outside::open_or_make(output, if secrets { 0o700 } else { 0o755 })?;
        ensure!(
            existing == Existing::Replace || folder.is_empty()?,
            "{} is not empty; choose a new directory, or `--force`",
            output.display()
        );
        store::fetch_files(self.state, files.iter().copied())?;
        let size = files.iter().map(|(_, asset)| asset.size).sum();
        let progress = self.context.progress(size, "reading");
        for (path, asset) in &files {
            folder.write(path, mode(path), existing, |file| {
                self.copy(path, asset, file, &|bytes| progress.inc(bytes))
            })?;
        }
        progress.finish_and_clear();
        self.written(output, files.len(), size, without_secrets)
    }

    fn written(&self, output: &Path, files: usize, bytes: u64, without: bool) -> Result<()> {
        self.context.print(&Written {
            gateway: self.record.name.clone(),
            generation: self.generation.number,
            output: output.to_owned(),
            files,
            bytes,
            without_secrets: without,
        })
    }
}

/// Permissions of a file that is read back.
fn mode(path: &str) -> u32 {
    match Access::to(path) {
        Access::Public => 0o644,
        Access::Private => 0o600,
    }
}
