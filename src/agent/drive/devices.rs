//! The block devices of this machine, and which of them is meant. Reads `/sys/block`.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::path::Path;
use std::path::PathBuf;

use super::ext4;
use super::ext4::Ext;
use crate::profile::agent::Drive;

/// A smaller device is no cache drive.
const SMALLEST: u64 = 256 << 20;
/// The edges of a device that are looked at whole: partition tables, superblocks and the data of
/// RAID are there.
const EDGE: u64 = 4 << 20;
/// Places between the edges that are looked at.
const SAMPLES: u64 = 256;
const SAMPLE: usize = 64 << 10;
const SECTOR: u64 = 512;

/// A disk or a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    /// `sda1`
    pub(super) name: String,
    /// Names of the kind that udev gives to it in `/dev/disk/by-id`.
    pub(super) ids: Vec<String>,
    pub(super) size: u64,
    pub(super) part: Part,
    /// It takes no writes, whatever is on it.
    pub(super) read_only: bool,
    pub(super) ext: Option<Ext>,
}

/// A device's part in the table of partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A disk that has no partitions.
    Whole,
    /// A disk that has some.
    Parted,
    /// One of them.
    Partition,
}

/// The answer to the question for the drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The drive.
    One(Device),
    /// None.
    None,
    /// Several of the same label: which one it is cannot be told.
    Several(Vec<String>),
}

impl Device {
    pub(super) fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }
}

/// The one of `devices` that is meant.
pub(super) fn find(wanted: &Drive, devices: &[Device]) -> Found {
    only(&devices.iter().filter(|device| is(wanted, device)).collect::<Vec<_>>())
}

fn only(devices: &[&Device]) -> Found {
    match devices {
        [] => Found::None,
        [one] => Found::One(Device::clone(one)),
        _ => Found::Several(devices.iter().map(|device| device.name.clone()).collect()),
    }
}

fn is(wanted: &Drive, device: &Device) -> bool {
    let has_label =
        |label: &str| device.ext.as_ref().is_some_and(|ext| ext.label == label.as_bytes());
    match wanted {
        Drive::Label(label) => has_label(label),
        Drive::Device(path) => {
            let Some(name) = path.strip_prefix("/dev/") else { return false };
            match name.strip_prefix("disk/").and_then(|name| name.split_once('/')) {
                None => device.name == name,
                Some(("by-label", label)) => has_label(label),
                Some(("by-uuid", uuid)) => {
                    device.ext.as_ref().is_some_and(|ext| ext.uuid == uuid.to_lowercase())
                }
                Some(("by-id", id)) => device.ids.iter().any(|other| other == id),
                Some(_) => false,
            }
        }
    }
}

/// All of them, in the order of their names.
pub(super) fn list() -> Vec<Device> {
    let mut found = Vec::new();
    for disk in names(Path::new("/sys/block")) {
        let ignored = ["loop", "ram", "zram", "sr", "fd", "nbd", "mtdblock"];
        if ignored.iter().any(|kind| disk.starts_with(kind)) {
            continue;
        }
        let directory = Path::new("/sys/block").join(&disk);
        let parts: Vec<String> = names(&directory)
            .into_iter()
            .filter(|name| directory.join(name).join("partition").exists())
            .collect();
        let ids = ids(&directory);
        let part = if parts.is_empty() { Part::Whole } else { Part::Parted };
        found.push(device(&disk, &directory, ids.clone(), part));
        for part in parts {
            let place = directory.join(&part);
            let number = word(&place.join("partition")).unwrap_or_default();
            let ids = ids.iter().map(|id| format!("{id}-part{number}")).collect();
            found.push(device(&part, &place, ids, Part::Partition));
        }
    }
    found
}

fn device(name: &str, directory: &Path, ids: Vec<String>, part: Part) -> Device {
    let sectors: u64 =
        word(&directory.join("size")).and_then(|size| size.parse().ok()).unwrap_or(0);
    let mut head = Vec::new();
    let read = File::open(Path::new("/dev").join(name))
        .and_then(|file| file.take(ext4::HEAD as u64).read_to_end(&mut head));
    let ext = read.ok().and_then(|_| ext4::read(&head));
    Device {
        name: name.to_owned(),
        ids,
        size: sectors * SECTOR,
        part,
        read_only: word(&directory.join("ro")).is_some_and(|text| text == "1"),
        ext,
    }
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The names that udev would give to a disk. There is no udev here, and most of them stand in
/// `/sys`. (`ata-` names need the disk's own answer to be asked for; `wwn-` is the same disk.)
fn ids(disk: &Path) -> Vec<String> {
    let name = disk.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let fact = |path: &str| word(&disk.join(path)).filter(|text| !text.is_empty());
    let mut ids = Vec::new();
    if name.starts_with("vd") {
        ids.extend(fact("serial").map(|serial| format!("virtio-{serial}")));
    }
    if name.starts_with("nvme") {
        if let (Some(model), Some(serial)) = (fact("device/model"), fact("device/serial")) {
            ids.push(format!("nvme-{}_{}", underscored(&model), underscored(&serial)));
        }
        ids.extend(fact("wwid").map(|wwid| format!("nvme-{wwid}")));
    }
    if name.starts_with("mmcblk")
        && let (Some(model), Some(serial)) = (fact("device/name"), fact("device/serial"))
    {
        ids.push(format!("mmc-{}_{serial}", underscored(&model)));
    }
    if let Some(wwid) =
        fact("device/wwid").and_then(|id| id.strip_prefix("naa.").map(str::to_owned))
    {
        ids.push(format!("wwn-0x{wwid}"));
    }
    ids
}

fn underscored(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join("_")
}

fn word(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The disk that a file system may be made on: large enough and blank, and the only one.
pub(super) fn only_blank(devices: &[Device]) -> Found {
    let mut blank = Vec::new();
    for device in devices {
        let free = device.part == Part::Whole && device.ext.is_none();
        // One that cannot be read is none.
        if free && device.size >= SMALLEST && is_blank(device).unwrap_or(false) {
            blank.push(device);
        }
    }
    only(&blank)
}

/// True if nothing is on it.
pub(super) fn is_blank(device: &Device) -> io::Result<bool> {
    Ok(device.part != Part::Parted && is_zero(&mut File::open(device.path())?, device.size)?)
}

/// True if the edges and samples between them are zero.
fn is_zero(content: &mut (impl Read + Seek), size: u64) -> io::Result<bool> {
    let mut buffer = vec![0; SAMPLE];
    let sample = SAMPLE as u64;
    let edges =
        (0..EDGE / sample).flat_map(|at| [at * sample, size.saturating_sub((at + 1) * sample)]);
    let samples = (0..SAMPLES).map(|at| size / SAMPLES * at / SECTOR * SECTOR);
    for at in edges.chain(samples) {
        content.seek(SeekFrom::Start(at))?;
        let length = usize::try_from(size.saturating_sub(at).min(sample)).unwrap_or(SAMPLE);
        content.read_exact(&mut buffer[..length])?;
        if buffer[..length].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn device(name: &str, label: Option<&str>) -> Device {
        let ext = label.map(|label| Ext { label: label.into(), uuid: format!("uuid-of-{name}") });
        let ids = vec![format!("wwn-0x{name}")];
        let (name, part, read_only) = (name.to_owned(), Part::Whole, false);
        Device { name, ids, size: 1 << 30, part, read_only, ext }
    }

    #[test]
    fn a_drive_is_found_by_every_name() {
        let devices = [device("sda", None), device("sdb", Some("CACHE")), device("sdc", Some("x"))];
        let found = |wanted: &Drive| match find(wanted, &devices) {
            Found::One(device) => device.name,
            other => panic!("{other:?}"),
        };
        assert_eq!(found(&Drive::Label("CACHE".to_owned())), "sdb");
        for (path, name) in [
            ("/dev/sda", "sda"),
            ("/dev/disk/by-label/CACHE", "sdb"),
            ("/dev/disk/by-uuid/uuid-of-sdc", "sdc"),
            ("/dev/disk/by-id/wwn-0xsda", "sda"),
        ] {
            assert_eq!(found(&Drive::Device(path.to_owned())), name, "{path}");
        }
    }

    #[test]
    fn a_drive_that_is_not_there_or_not_the_only_one_is_not_taken() {
        let devices = [device("sda", Some("CACHE")), device("sdb", Some("CACHE"))];
        let several = Found::Several(vec!["sda".to_owned(), "sdb".to_owned()]);
        assert_eq!(find(&Drive::Label("CACHE".to_owned()), &devices), several);
        assert_eq!(find(&Drive::Label("CACH".to_owned()), &devices), Found::None);
        for path in ["/dev/sd", "sda", "/dev/disk/by-path/sda", "/dev/disk/by-id/wwn-0xsd"] {
            assert_eq!(find(&Drive::Device(path.to_owned()), &devices), Found::None, "{path}");
        }
    }

    #[test]
    fn nothing_but_zeros_is_blank() {
        let content = vec![0; usize::try_from(3 * EDGE).unwrap()];
        assert!(is_zero(&mut Cursor::new(content), 3 * EDGE).unwrap());
    }

    proptest! {
        // Each case reads megabytes.
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn content_at_the_edges_is_seen(at in 0..EDGE, end in any::<bool>()) {
            let size = 3 * EDGE;
            let mut content = vec![0; usize::try_from(size).unwrap()];
            let at = if end { size - 1 - at } else { at };
            content[usize::try_from(at).unwrap()] = 1;
            prop_assert!(!is_zero(&mut Cursor::new(&content), size).unwrap());
        }
    }

    #[test]
    fn a_device_that_ends_early_is_not_blank() {
        assert!(is_zero(&mut Cursor::new(vec![0; 100]), 1 << 20).is_err());
    }
}
