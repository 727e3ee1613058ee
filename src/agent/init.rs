//! Process 1: mounts what every system has, starts the boot in a process of its own, takes in
//! orphans, feeds the watchdog, and restarts the machine when the boot has ended, however it did.
//!
//! The work is another process because process 1 must not fail: the kernel would stop.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use rustix::mount::MountFlags;
use rustix::mount::mount;
use rustix::mount::mount_remount;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::WaitOptions;
use rustix::process::WaitStatus;
use rustix::process::kill_process;
use rustix::process::wait;
use rustix::system::RebootCommand;
use rustix::system::reboot;

use super::console::say;
use super::progress::overdue;

/// Between two looks at everything.
const TURN: Duration = Duration::from_millis(250);
/// Every so many turns the watchdog is fed: each second.
const TURNS_PER_FEED: u32 = 4;
/// Time that a boot that is overdue may hang before process 1 restarts the machine itself. The
/// hardware's watchdog is faster, where there is one.
const GRACE: Duration = Duration::from_secs(60);
/// Before a restart after a boot that crashed.
const CRASHED: Duration = Duration::from_secs(10);
/// Time that the last words of a boot that crashed may take.
const LAST_WORDS: Duration = Duration::from_secs(40);

/// The argument that makes this program the boot.
pub const BOOT: &str = "boot";
/// The argument that makes this program report that the boot crashed: with why.
pub const CRASH: &str = "crashed";

/// Is process 1. Does not return.
pub fn run() -> ! {
    mount_all();
    let watchdog = Watchdog::open();
    say(concat!("version ", env!("CARGO_PKG_VERSION")));
    let how = match start(&[BOOT]) {
        Ok(boot) => supervise(boot, watchdog, None),
        Err(error) => Some(format!("the boot cannot be started: {error}")),
    };
    if let Some(how) = how {
        say(&how);
        if let Ok(reporting) = start(&[CRASH, &how]) {
            supervise(reporting, None, Some(LAST_WORDS));
        }
        thread::sleep(CRASHED);
    }
    restart()
}

/// The file systems of every system. What is missing shows itself soon enough.
fn mount_all() {
    let plain = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    let devices = MountFlags::NOSUID;
    let memory = MountFlags::NOSUID | MountFlags::NODEV;
    for (kind, path, flags, options) in [
        (c"proc", "/proc", plain, c""),
        (c"sysfs", "/sys", plain, c""),
        (c"devtmpfs", "/dev", devices, c"mode=0755"),
        (c"devpts", "/dev/pts", MountFlags::NOSUID | MountFlags::NOEXEC, c"mode=620,ptmxmode=666"),
        (c"tmpfs", "/dev/shm", memory, c"mode=1777"),
        (c"mqueue", "/dev/mqueue", plain, c""),
        (c"tmpfs", "/run", memory, c"mode=0755"),
        (c"tmpfs", "/tmp", memory, c"mode=1777"),
        (c"cgroup2", "/sys/fs/cgroup", plain, c""),
        (c"pstore", "/sys/fs/pstore", plain, c""),
        (c"efivarfs", "/sys/firmware/efi/efivars", plain, c""),
    ] {
        let _ = fs::create_dir_all(path);
        let _ = mount(kind, path, kind, flags, options);
    }
    let _ = fs::create_dir_all("/run/farmgate");
}

fn start(arguments: &[&str]) -> io::Result<Pid> {
    let child = Command::new("/proc/self/exe")
        .args(arguments)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .stdin(Stdio::null())
        .spawn()?;
    let _ = fs::write(format!("/proc/{}/oom_score_adj", child.id()), "-1000");
    Ok(Pid::from_child(&child))
}

/// Takes in orphans until `main` has ended. Says how, unless it ended in good order.
fn supervise(main: Pid, mut watchdog: Option<Watchdog>, limit: Option<Duration>) -> Option<String> {
    let (mut turn, mut waited) = (0u32, Duration::ZERO);
    loop {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == main {
                return unless_good(status);
            }
        }
        let late = overdue();
        if late.is_zero() && turn.is_multiple_of(TURNS_PER_FEED) {
            if let Some(watchdog) = &mut watchdog {
                watchdog.feed();
            }
            // The driver of a watchdog is loaded by the boot.
            if watchdog.is_none() && limit.is_none() {
                watchdog = Watchdog::open();
            }
        }
        if limit.map_or(late > GRACE, |limit| waited > limit) {
            return Some("the boot hangs".to_owned());
        }
        thread::sleep(TURN);
        (turn, waited) = (turn.wrapping_add(1), waited + TURN);
    }
}

fn unless_good(status: WaitStatus) -> Option<String> {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) => None,
        (Some(status), _) => Some(format!("the boot ended with status {status}")),
        (_, Some(signal)) => Some(format!("the boot was ended by signal {signal}")),
        _ => Some("the boot ended".to_owned()),
    }
}

/// The hardware's watchdog. It is never closed in good order: it also guards the restart.
struct Watchdog(File);

impl Watchdog {
    fn open() -> Option<Self> {
        OpenOptions::new().write(true).open("/dev/watchdog").ok().map(Self)
    }

    fn feed(&mut self) {
        let _ = self.0.write_all(b"\0");
    }
}

/// Restarts the machine. Nothing of the agent powers it off.
fn restart() -> ! {
    say("restarting");
    end_all(Signal::TERM);
    thread::sleep(Duration::from_secs(1));
    end_all(Signal::KILL);
    rustix::fs::sync();
    settle_drives();
    loop {
        let _ = reboot(RebootCommand::Restart);
        // Nothing is left to lose.
        let _ = fs::write("/proc/sysrq-trigger", "b");
        thread::sleep(Duration::from_secs(1));
    }
}

/// Sends a signal to every process but this one and the kernel's.
fn end_all(signal: Signal) {
    let Ok(entries) = fs::read_dir("/proc") else { return };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for pid in pids.filter_map(Pid::from_raw).filter(|pid| *pid != Pid::INIT) {
        // The kernel's have no program.
        if fs::read_link(format!("/proc/{pid}/exe")).is_ok() {
            let _ = kill_process(pid, signal);
        }
    }
}

/// Leaves the file systems of drives in a state that needs no repair.
fn settle_drives() {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    for line in mounts.lines().rev() {
        let mut fields = line.split(' ');
        if let (Some(device), Some(target)) = (fields.next(), fields.next())
            && device.starts_with("/dev/")
            && Path::new(target).is_dir()
        {
            let _ = mount_remount(target, MountFlags::RDONLY, c"");
        }
    }
}
