//! The kernel's facts about a disk, and the reasons against writing an image to it.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use indicatif::DecimalBytes;

use super::Kernel;
use super::usage;
use super::usage::number;
use crate::foreign::Foreign;

/// The kernel counts in sectors of this size, whatever the disk has.
const SECTOR: u64 = 512;

/// The sector size that the partition table of an image is written in.
const USUAL_BLOCK: u64 = 512;

/// A whole disk.
#[derive(Debug)]
pub struct Disk {
    /// The device file, without symbolic links.
    pub path: PathBuf,
    /// The device number.
    pub number: (u32, u32),
    /// Size in bytes; 0 if there is no medium in the drive.
    pub size: u64,
    /// Sector size.
    pub block: u64,
    pub model: Foreign,
    pub serial: Foreign,
    folder: PathBuf,
    read_only: bool,
    removable: bool,
}

/// A path whose disk must not be overwritten, and what it is.
pub struct Precious<'a> {
    pub what: &'a str,
    pub path: &'a Path,
}

impl Disk {
    /// Looks at the disk whose device file this is.
    pub fn find(device: &Path, kernel: &Kernel) -> Result<Self> {
        let cannot = || format!("cannot write to {}", device.display());
        let path = device.canonicalize().with_context(cannot)?;
        let facts = fs::metadata(&path).with_context(cannot)?;
        ensure!(
            facts.file_type().is_block_device(),
            "{} is no disk: to copy an image to a file, use cp",
            device.display()
        );
        Self::read(&path, number(facts.rdev()), kernel)
    }

    pub(super) fn read(path: &Path, number: (u32, u32), kernel: &Kernel) -> Result<Self> {
        let folder = usage::folder_of(number, kernel)
            .with_context(|| format!("the kernel tells nothing about {}", path.display()))?;
        if folder.join("partition").exists() {
            let whole = folder.parent().and_then(Path::file_name).unwrap_or_default();
            bail!(
                "{} is a partition, which no machine could start from: give the whole disk, /dev/{}",
                path.display(),
                whole.display()
            );
        }
        let fact = |name: &str| usage::fact(&folder.join(name));
        let count = |name: &str| fact(name).and_then(|text| text.parse::<u64>().ok());
        let flag = |name: &str| count(name) == Some(1);
        let model = ["device/vendor", "device/model", "device/name"].into_iter().filter_map(fact);
        let model = model.collect::<Vec<_>>().join(" ");
        // Built-in readers of SD cards call the card fixed.
        let sd_card = fact("device/type").as_deref() == Some("SD");
        Ok(Self {
            path: path.to_owned(),
            number,
            size: count("size").unwrap_or(0).saturating_mul(SECTOR),
            block: count("queue/logical_block_size").unwrap_or(SECTOR),
            model: Foreign::new(&model),
            serial: Foreign::new(&serial(&folder).unwrap_or_default()),
            read_only: flag("ro"),
            removable: flag("removable") || sd_card || is_usb(&folder),
            folder,
        })
    }

    /// True as long as the kernel knows the disk.
    pub fn is_there(&self) -> bool {
        self.folder.join("size").exists()
    }

    /// Fails if an image of `len` bytes must not be written to the disk. `forced` allows a disk
    /// that is not removable, and nothing else: no image is worth the data of a disk in use.
    pub fn ensure_free(
        &self,
        len: u64,
        forced: bool,
        precious: &[Precious<'_>],
        kernel: &Kernel,
    ) -> Result<()> {
        let name = self.path.display();
        ensure!(self.size > 0, "there is no medium in {name}");
        for Precious { what, path } in precious {
            if usage::disks_below(path, kernel).contains(&self.folder) {
                bail!("{name} is the disk that holds {what} ({})", path.display());
            }
        }
        let reasons = usage::reasons(&self.folder, kernel);
        ensure!(reasons.is_empty(), "{name} is in use: {}", reasons.join("; "));
        ensure!(!self.read_only, "{name} is read-only: look for a switch on the stick or card");
        let room = self.size / self.block * self.block;
        ensure!(
            len.next_multiple_of(self.block) <= room,
            "{name} is too small: it has {}, and the image {}",
            DecimalBytes(self.size),
            DecimalBytes(len)
        );
        ensure!(
            self.removable || forced,
            "{name} is not removable ({}), so it may be a disk of this machine: look again, and add \
             --force if it is the right one",
            self.described()
        );
        ensure!(
            self.block == USUAL_BLOCK || forced,
            "{name} has sectors of {} bytes, so firmware would look for the image's partition in the \
             wrong place: take another stick (--force writes anyway)",
            self.block
        );
        Ok(())
    }

    /// Model, size and serial number: what is printed on a stick, for a person who holds it.
    pub fn described(&self) -> String {
        let model = if self.model.is_empty() { "unknown model" } else { self.model.as_str() };
        let serial = if self.serial.is_empty() {
            "no serial number".to_owned()
        } else {
            format!("serial {}", self.serial)
        };
        format!("{model}, {}, {serial}", DecimalBytes(self.size))
    }
}

fn is_usb(folder: &Path) -> bool {
    folder.components().any(|part| {
        let part = part.as_os_str().to_string_lossy();
        let bus = part.strip_prefix("usb").unwrap_or_default();
        !bus.is_empty() && bus.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The serial number, which a USB stick has in the folder of its USB device.
fn serial(folder: &Path) -> Option<String> {
    let device = folder.join("device").canonicalize().ok()?;
    device.ancestors().take(8).find_map(|above| usage::fact(&above.join("serial")))
}

#[cfg(test)]
mod tests;
