//! The cache drive: found, repaired, made where it is blank, and mounted; or memory in its place.
//! It is never another drive than the one that was meant.

use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use rustix::fs::StatVfsMountFlags;
use rustix::fs::statvfs;
use rustix::mount::MountFlags;
use rustix::mount::mount;

use self::devices::Device;
use self::devices::Found;
use super::console::say;
use super::modules;
use super::progress::expect_within;
use super::progress::uptime;
use crate::profile::agent::Cache;
use crate::profile::agent::Drive as Wanted;
use crate::profile::agent::Format;
use crate::profile::agent::Missing;
use crate::profile::report::Step;

mod devices;
mod ext4;

/// The directory that it is mounted at.
const ROOT: &str = "/run/farmgate/drive";
/// Memory that takes its place when it is mounted and cannot be used.
const INSTEAD: &str = "/run/farmgate/memory";
/// Time that the drive may take to appear: disks on USB are slow.
const APPEARS: Duration = Duration::from_secs(30);
/// Time that a check of the file system may take.
pub const CHECK: Duration = Duration::from_secs(60 * 60);
/// e2fsck repaired something; its status is made of bits.
const REPAIRED: i32 = 1;
/// Of the drive's room, what the swap file leaves: half.
const SWAP_SHARE: u64 = 2;

/// The file system in the place of the drive, which may be memory.
#[derive(Clone, Debug)]
pub struct Drive {
    kind: Kind,
    /// The reason why it is not the drive that was wanted.
    trouble: Option<String>,
}

#[derive(Clone, Debug)]
enum Kind {
    /// A device, and whether it was blank before.
    Device {
        path: PathBuf,
        formatted: bool,
    },
    Memory,
}

impl Drive {
    /// Mounts the drive, or memory if that is allowed.
    pub fn mount(cache: &Cache) -> Result<Self, String> {
        let mounted = find(cache).and_then(|(device, format)| open(cache, &device, format));
        let drive = match mounted {
            Ok(drive) => drive,
            Err(trouble) if cache.missing == Missing::RunInMemory => {
                say(&format!("{trouble}; memory takes its place until the next boot"));
                memory(ROOT)?;
                Self { kind: Kind::Memory, trouble: Some(trouble) }
            }
            Err(trouble) => return Err(trouble),
        };
        if cache.swap > 0 && !drive.is_memory() {
            swap(cache.swap).unwrap_or_else(|error| say(&format!("no swap: {error}")));
        }
        Ok(drive)
    }

    pub fn root(&self) -> &'static Path {
        Path::new(ROOT)
    }

    pub fn is_memory(&self) -> bool {
        matches!(self.kind, Kind::Memory)
    }

    pub fn step(&self) -> Step {
        let kind = match &self.kind {
            Kind::Device { formatted: true, .. } => "formatted",
            Kind::Device { formatted: false, .. } => "cache",
            Kind::Memory => "memory",
        };
        let (size, free) = room(ROOT);
        Step::Drive { kind: kind.to_owned(), size, free, trouble: self.trouble.clone() }
    }

    /// Fails once the drive is gone, or the kernel has made it read-only because of errors.
    pub fn check(&self) -> Result<(), String> {
        let Kind::Device { path, .. } = &self.kind else { return Ok(()) };
        let name = path.file_name().unwrap_or_default();
        if !Path::new("/sys/class/block").join(name).exists() {
            return Err(format!("the cache drive {} is gone", path.display()));
        }
        match statvfs(ROOT) {
            Ok(stat) if stat.f_flag.contains(StatVfsMountFlags::RDONLY) => {
                Err(format!("the cache drive {} fails: it became read-only", path.display()))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(format!("the cache drive {} fails: {error}", path.display())),
        }
    }
}

/// The device, and whether a file system is to be made on it.
fn find(cache: &Cache) -> Result<(Device, bool), String> {
    let begun = uptime();
    let named = match &cache.drive {
        Wanted::Label(label) => format!("the cache drive with the label {label}"),
        Wanted::Device(path) => format!("the cache drive {path}"),
    };
    let mut rounds = 0;
    loop {
        let devices = devices::list();
        match devices::find(&cache.drive, &devices) {
            Found::One(device) => return usable(cache, device, &named),
            Found::Several(names) => {
                let names = names.join(", ");
                return Err(format!("{named} is not the only one: {names}. Unplug the others"));
            }
            Found::None => {}
        }
        if uptime() - begun > APPEARS {
            return match (&cache.drive, cache.format) {
                (Wanted::Label(_), Format::IfBlank) => blank(&devices, &named),
                _ => Err(format!("{named} is missing{}", others(&devices))),
            };
        }
        // The only blank drive is not waited for, once the kernel has found it.
        if rounds > 40
            && matches!((&cache.drive, cache.format), (Wanted::Label(_), Format::IfBlank))
            && let Ok(found) = blank(&devices, &named)
        {
            return Ok(found);
        }
        if rounds == 8 {
            modules::load_for_devices();
        }
        expect_within(Duration::from_secs(60));
        thread::sleep(Duration::from_millis(250));
        rounds += 1;
    }
}

fn usable(cache: &Cache, device: Device, named: &str) -> Result<(Device, bool), String> {
    if device.ext.is_some() {
        return Ok((device, false));
    }
    let blank =
        devices::is_blank(&device).map_err(|error| format!("{named} cannot be read: {error}"))?;
    match cache.format {
        Format::IfBlank if blank => Ok((device, true)),
        Format::IfBlank => Err(format!(
            "{named} has other content than a file system of the agent's, and is left alone. \
             Erase it to have it used: blkdiscard, or dd from /dev/zero"
        )),
        Format::Never => Err(format!("{named} has no ext4 file system, and none may be made")),
    }
}

fn blank(devices: &[Device], named: &str) -> Result<(Device, bool), String> {
    match devices::only_blank(devices) {
        Found::One(device) => Ok((device, true)),
        Found::Several(names) => Err(format!(
            "{named} is missing, and several drives are blank: {}. Which one is meant cannot be told",
            names.join(", ")
        )),
        Found::None => Err(format!("{named} is missing, and no drive is blank{}", others(devices))),
    }
}

/// The drives that there are, for a message.
fn others(devices: &[Device]) -> String {
    if devices.is_empty() {
        return " (there is no drive)".to_owned();
    }
    let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
    format!(" (there are {})", names.join(", "))
}

fn open(cache: &Cache, device: &Device, format: bool) -> Result<Drive, String> {
    let path = device.path();
    if device.read_only {
        return Err(format!("the cache drive {} is write-protected", path.display()));
    }
    expect_within(CHECK);
    if format {
        say(&format!("making a file system on {}, which is blank", path.display()));
        let label = match &cache.drive {
            Wanted::Label(label) => label,
            Wanted::Device(_) => "FARMGATE_CACHE",
        };
        let mut make = Command::new("mkfs.ext4");
        make.args(["-q", "-F", "-m", "1", "-O", "encrypt", "-L", label]).arg(&path);
        let status = run(&mut make)?;
        if status != 0 {
            return Err(format!(
                "no file system can be made on {}: mkfs.ext4 says {status}",
                path.display()
            ));
        }
    } else {
        repair(&path)?;
    }
    fs::create_dir_all(ROOT).map_err(|error| format!("{ROOT}: {error}"))?;
    // What cannot be read is not repaired while it is used: the kernel stops writing, and the agent
    // restarts the gateway.
    mount(&path, ROOT, c"ext4", MountFlags::NOATIME | MountFlags::NODEV, c"errors=remount-ro")
        .map_err(|error| {
            format!("the cache drive {} cannot be mounted: {error}", path.display())
        })?;
    if let Err(error) = can_write() {
        let _ = rustix::mount::unmount(ROOT, rustix::mount::UnmountFlags::DETACH);
        return Err(format!("the cache drive {} cannot be written: {error}", path.display()));
    }
    Ok(Drive { kind: Kind::Device { path, formatted: format }, trouble: None })
}

/// Repairs the file system. What the careful repair leaves is repaired with all means: nobody is
/// there to be asked, images come back from the boot host, and volumes from the bucket.
fn repair(path: &Path) -> Result<(), String> {
    for options in ["-p", "-y"] {
        let status = run(Command::new("e2fsck").arg(options).arg(path))?;
        if status & !REPAIRED == 0 {
            return Ok(());
        }
        say(&format!("e2fsck {options} {} ended with status {status}", path.display()));
    }
    Err(format!("the file system of {} cannot be repaired", path.display()))
}

/// A full drive is no reason not to use it: an empty file has room.
fn can_write() -> io::Result<()> {
    let path = Path::new(ROOT).join(".written");
    match File::create(&path) {
        Ok(file) => file.sync_all().and_then(|()| fs::remove_file(path)),
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
        Err(error) => Err(error),
    }
}

/// Memory at this path.
fn memory(path: &str) -> Result<(), String> {
    fs::create_dir_all(path).map_err(|error| format!("{path}: {error}"))?;
    mount(c"farmgate", path, c"tmpfs", MountFlags::NODEV, c"mode=0755,size=75%")
        .map_err(|error| format!("no memory in place of the drive: {error}"))
}

/// Memory for what a drive has no room for, and what the boot host is told of it.
pub fn instead(trouble: String) -> Result<(&'static Path, Step), String> {
    memory(INSTEAD)?;
    let (size, free) = room(INSTEAD);
    let step = Step::Drive { kind: "memory".to_owned(), size, free, trouble: Some(trouble) };
    Ok((Path::new(INSTEAD), step))
}

/// Size and free bytes of a file system.
fn room(path: &str) -> (u64, u64) {
    statvfs(path)
        .map_or((0, 0), |stat| (stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize))
}

/// Uses a file of `size` bytes as swap, if the drive has that much room twice.
fn swap(size: u64) -> io::Result<()> {
    let path = Path::new(ROOT).join("swap");
    let has = fs::metadata(&path).map_or(0, |meta| meta.len());
    if has != size {
        let stat = statvfs(ROOT)?;
        let room = stat.f_bavail * stat.f_frsize + has;
        if room / SWAP_SHARE < size {
            return Err(io::Error::other(format!("of {room} free bytes, {size} are too many")));
        }
        let _ = fs::remove_file(&path);
        let file = File::options().write(true).create_new(true).open(&path)?;
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o600))?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size)?;
        file.sync_all()?;
    }
    for command in ["mkswap", "swapon"] {
        let status =
            run(Command::new("busybox").arg(command).arg(&path)).map_err(io::Error::other)?;
        if status != 0 {
            return Err(io::Error::other(format!("{command} says {status}")));
        }
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<i32, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = quiet.status().map_err(|error| format!("{name} cannot be started: {error}"))?;
    // Ended by a signal is the worst.
    Ok(status.code().unwrap_or(i32::MAX))
}
