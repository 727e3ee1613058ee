//! `farmgate iso flash`: writes an image to a USB stick.

use std::fmt;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::ensure;
use clap::Args;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use serde::Serialize;

use super::verify::Origin;
use crate::cli::confirm::Confirm;
use crate::cli::confirm::Unattended;
use crate::cli::context::Context;
use crate::foreign::Foreign;
use crate::iso::Report;
use crate::iso::SealedIdentity;
use crate::iso::sources;
use crate::iso::stick;
use crate::iso::stick::Disk;
use crate::iso::stick::Kernel;
use crate::iso::stick::Phase;
use crate::iso::stick::Precious;
use crate::iso::stick::RawDisk;
use crate::iso::stick::WriteError;
use crate::store::owner::as_caller;

/// `farmgate iso flash`.
#[derive(Args)]
pub(in crate::cli) struct Flash {
    /// Sealed image to write
    file: PathBuf,
    /// USB stick to write it to, as a whole disk (/dev/sdX); everything on it is lost
    device: PathBuf,
    /// Write also an image that is not in order, and to a disk that is not removable; never to one
    /// that is in use
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    origin: Origin,
}

impl Flash {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        let image = sources::read_image(&self.file)?;
        let identity = self.checked(cx, &image)?;
        let kernel = Kernel::default();
        let (disk, raw) = as_caller(|| self.open(cx, image.len() as u64, &kernel))?;
        self.ask(&disk, identity.as_ref())?;
        let cleared_old_table = write(cx, &disk, raw, &image)?;
        if let Err(error) = reread_table(&disk.path) {
            cx.warn(&[format!(
                "the kernel may still show the partitions that were on {} before ({error:#}): pull \
                 it out and put it in again",
                disk.path.display()
            )]);
        }
        cx.print(&Flashed {
            file: self.file,
            device: disk.path,
            identity,
            size: image.len(),
            model: disk.model,
            serial: disk.serial,
            device_size: disk.size,
            compared: true,
            cleared_old_table,
        })
    }

    /// Whose image it is. Fails if no gateway would boot from it.
    fn checked(&self, cx: &Context, image: &[u8]) -> Result<Option<SealedIdentity>> {
        let name = self.file.display();
        let report = match self.origin.verify(cx, &self.file, image) {
            Ok(report) => report,
            Err(_) if self.force && !image.is_empty() => return Ok(None),
            Err(error) => return Err(error),
        };
        let problems = problems(&report);
        if !problems.is_empty() {
            let all = problems.join("; ");
            ensure!(self.force, "{name} is not in order: {all} (--force writes it anyway)");
            cx.warn(&[format!("{name} is not in order: {all}")]);
        }
        if report.root_is_this_ca == Some(false) {
            cx.warn(&[format!("{name} is for another fleet: it does not trust this state's CA")]);
        }
        Ok(report.identity)
    }

    fn open(&self, cx: &Context, len: u64, kernel: &Kernel) -> Result<(Disk, RawDisk)> {
        let disk = Disk::find(&self.device, kernel)?;
        let precious = [
            Precious { what: "this system", path: Path::new("/") },
            Precious { what: "the state", path: &cx.state },
            Precious { what: "the image", path: &self.file },
        ];
        disk.ensure_free(len, self.force, &precious, kernel)?;
        // Opened before the question: what was shown is what is written to.
        let raw = RawDisk::open(&disk)?;
        Ok((disk, raw))
    }

    fn ask(&self, disk: &Disk, identity: Option<&SealedIdentity>) -> Result<()> {
        let whose = identity.map(|whose| format!(" ({})", whose.subject)).unwrap_or_default();
        let question = format!(
            "{}: {}. Everything on it is lost. Write {}{whose} to it?",
            disk.path.display(),
            disk.described(),
            self.file.display()
        );
        self.confirm.ask(&question, Unattended::NeedsYes)
    }
}

fn problems(report: &Report) -> Vec<String> {
    let mut problems = report.problems.clone();
    if report.identity.is_none() {
        problems.push("its slot is empty, seal it first (farmgate iso seal)".to_owned());
    }
    problems
}

fn write(cx: &Context, disk: &Disk, raw: RawDisk, image: &[u8]) -> Result<bool> {
    let len = image.len() as u64;
    let bar = |message| cx.progress(len, message).with_style(style());
    let mut bars: (ProgressBar, Option<ProgressBar>) = (bar("writing"), None);
    let step = |phase| match phase {
        Phase::Write(at) => bars.0.set_position(at),
        Phase::Compare(at) => {
            bars.0.finish_and_clear();
            bars.1.get_or_insert_with(|| bar("reading back")).set_position(at);
        }
    };
    let written = stick::write(raw, image, (disk.size, disk.block), stick::PATIENCE, step);
    bars.0.finish_and_clear();
    if let Some(bar) = bars.1 {
        bar.finish_and_clear();
    }
    let outcome = written.map_err(|error| match error {
        WriteError::Failed { at, .. } if !disk.is_there() => WriteError::Gone { done: at, len },
        other => other,
    });
    let name = disk.path.display();
    match outcome {
        Ok(outcome) => Ok(outcome.cleared_old_table),
        Err(error @ WriteError::Gone { .. }) => {
            Err(anyhow!(error).context(format!("{name} was not written: put it in and try again")))
        }
        Err(error) => Err(anyhow!(error).context(format!("{name} was not written: take another"))),
    }
}

fn style() -> ProgressStyle {
    const SHOWN: &str = "{msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes} \
                         {decimal_bytes_per_sec} {eta}";
    ProgressStyle::with_template(SHOWN).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Has the kernel read the new partition table. Rust's libraries offer this only as unsafe code.
fn reread_table(device: &Path) -> Result<()> {
    let run = |program: &str| {
        Command::new(program).arg("--rereadpt").arg(device).stdin(Stdio::null()).output()
    };
    let done = match run("blockdev") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => run("/sbin/blockdev"),
        done => done,
    };
    let done = done.context("cannot run blockdev")?;
    let said = Foreign::from_bytes(&done.stderr);
    ensure!(done.status.success(), "{said}");
    Ok(())
}

/// The image and the disk that it was written to.
#[derive(Serialize)]
struct Flashed {
    file: PathBuf,
    device: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<SealedIdentity>,
    size: usize,
    model: Foreign,
    serial: Foreign,
    device_size: u64,
    /// The image was read back and is the same.
    compared: bool,
    cleared_old_table: bool,
}

impl fmt::Display for Flashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose =
            self.identity.as_ref().map(|whose| format!(" ({})", whose.subject)).unwrap_or_default();
        write!(
            f,
            "{}{whose} is on {}: {} bytes, read back and compared",
            self.file.display(),
            self.device.display(),
            self.size
        )?;
        if self.cleared_old_table {
            write!(f, "\ncleared     the copy of an older partition table at its end")?;
        }
        Ok(())
    }
}
