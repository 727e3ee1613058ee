//! Users of a disk: mounts, swap, and what the kernel builds on top of it (LVM, RAID, encryption).
//! Opening the disk exclusively is the kernel's own check; this one says who it is.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::major;
use rustix::fs::minor;

use super::Kernel;
use crate::foreign::Foreign;

/// Disks below disks below disks: no real machine comes near.
const DEEPEST: usize = 16;

pub(super) fn number(device: u64) -> (u32, u32) {
    (major(device), minor(device))
}

/// The folder of a disk or partition in `/sys/devices`.
pub(super) fn folder_of((major, minor): (u32, u32), kernel: &Kernel) -> Option<PathBuf> {
    kernel.sys.join(format!("dev/block/{major}:{minor}")).canonicalize().ok()
}

/// The content of a small file of the kernel's, unless it is missing or empty.
pub(super) fn fact(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn names(folder: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    names.sort();
    names
}

fn name_of(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The users of the disk and of its partitions, each with the way to end it.
pub(super) fn reasons(disk: &Path, kernel: &Kernel) -> Vec<String> {
    let partitions = names(disk).into_iter().map(|name| disk.join(name));
    let partitions = partitions.filter(|folder| folder.join("partition").exists());
    let mounts = mounts(kernel);
    let swaps = fs::read_to_string(kernel.proc.join("swaps")).unwrap_or_default();
    let mut found = Vec::new();
    for part in std::iter::once(disk.to_owned()).chain(partitions) {
        let name = name_of(&part);
        let device = format!("/dev/{name}");
        for mount in mounts.iter().filter(|mount| mount.is_of(&part, &name, kernel)) {
            let place = Foreign::new(&mount.place);
            found.push(format!("{device} is mounted on {place} (umount {device})"));
        }
        let is_swap = |line: &str| line.split_whitespace().next() == Some(&device);
        if swaps.lines().any(is_swap) {
            found.push(format!("{device} is swap (swapoff {device})"));
        }
        for holder in names(&part.join("holders")) {
            let folder = part.join("holders").join(&holder);
            let own = fact(&folder.join("dm/name"));
            let own = own.map(|own| format!(" ({})", Foreign::new(&own))).unwrap_or_default();
            found.push(format!(
                "{device} is part of {}{own}: LVM, RAID or encryption",
                holder.display()
            ));
        }
    }
    found
}

/// The disks that a file is on, through partitions, LVM, RAID and encryption.
pub(super) fn disks_below(path: &Path, kernel: &Kernel) -> BTreeSet<PathBuf> {
    let Ok(facts) = fs::metadata(path) else { return BTreeSet::new() };
    let number = number(facts.dev());
    let mut found = BTreeSet::new();
    let mut starts: Vec<PathBuf> = folder_of(number, kernel).into_iter().collect();
    // btrfs gives its files a number of no disk, but names its disks.
    let shown = format!("{}:{}", number.0, number.1);
    for mount in mounts(kernel).iter().filter(|mount| mount.number == shown) {
        starts.extend(mount.folder(kernel));
    }
    for start in starts {
        descend(&start, DEEPEST, &mut found);
    }
    found
}

fn descend(folder: &Path, depth: usize, found: &mut BTreeSet<PathBuf>) {
    if depth == 0 {
        return;
    }
    let below = names(&folder.join("slaves"));
    for name in &below {
        if let Ok(next) = folder.join("slaves").join(name).canonicalize() {
            descend(&next, depth - 1, found);
        }
    }
    if folder.join("partition").exists() {
        if let Some(whole) = folder.parent() {
            descend(whole, depth - 1, found);
        }
    } else if below.is_empty() {
        found.insert(folder.to_owned());
    }
}

/// One line of `/proc/self/mountinfo`.
struct Mount {
    number: String,
    place: String,
    source: String,
}

impl Mount {
    /// `36 35 98:0 /root /place options optional... - type source options`.
    fn parse(line: &[u8]) -> Option<Self> {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let dash = fields.iter().position(|field| *field == b"-")?;
        Some(Self {
            number: String::from_utf8(fields.get(2)?.to_vec()).ok()?,
            place: unescaped(fields.get(4)?),
            source: unescaped(fields.get(dash + 2)?),
        })
    }

    fn is_of(&self, part: &Path, name: &str, kernel: &Kernel) -> bool {
        fact(&part.join("dev")).is_some_and(|number| number == self.number)
            || self.source == format!("/dev/{name}")
            || self.folder(kernel).is_some_and(|folder| folder == part)
    }

    /// The folder of the disk that the mount names.
    fn folder(&self, kernel: &Kernel) -> Option<PathBuf> {
        let facts = fs::metadata(Path::new(&self.source)).ok()?;
        (facts.rdev() != 0).then(|| folder_of(number(facts.rdev()), kernel)).flatten()
    }
}

fn mounts(kernel: &Kernel) -> Vec<Mount> {
    let text = fs::read(kernel.proc.join("self/mountinfo")).unwrap_or_default();
    text.split(|byte| *byte == b'\n').filter_map(Mount::parse).collect()
}

/// The kernel writes space, tab, line end and backslash as three octal digits.
fn unescaped(field: &[u8]) -> String {
    let (mut plain, mut rest) = (Vec::with_capacity(field.len()), field);
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match byte.filter(|_| *first == b'\\') {
            Some(byte) => {
                plain.push(byte);
                rest = &after[3..];
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    std::ffi::OsStr::from_bytes(&plain).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read_with_its_escapes() {
        let line =
            br"43 27 8:17 / /media/my\040stick\134x rw,relatime shared:1 - vfat /dev/sdb1 rw";
        let mount = Mount::parse(line).unwrap();
        assert_eq!(mount.number, "8:17");
        assert_eq!(mount.place, r"/media/my stick\x");
        assert_eq!(mount.source, "/dev/sdb1");
        assert!(Mount::parse(b"").is_none());
        assert!(Mount::parse(b"1 2 3 4 5 - vfat").is_none());
    }
}
