//! Finds the process that holds a lock, a port or a socket. Reads `/proc`.

use std::fmt;
use std::fs;
use std::fs::File;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

/// Longest command line that is shown.
const MAX_COMMAND: usize = 80;

/// A process that holds a resource which this process wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    name: String,
    command: String,
    /// The process was stopped, for instance by Ctrl-Z.
    stopped: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, command, stopped, .. } = self;
        write!(f, "process {pid} ({command})")?;
        if *stopped {
            write!(f, ", which is stopped (`kill -CONT {pid}` resumes it)")?;
        }
        Ok(())
    }
}

impl Holder {
    /// The process with this id, if it is visible.
    pub fn read(pid: u32) -> Option<Self> {
        let home = PathBuf::from(format!("/proc/{pid}"));
        let name = fs::read_to_string(home.join("comm")).ok()?.trim_end().to_owned();
        let mut command = name.clone();
        // Arguments of other programs could hold secrets. farmgate's own never do.
        if name == "farmgate"
            && let Ok(line) = fs::read(home.join("cmdline"))
        {
            for word in line.split(|byte| *byte == 0).skip(1).filter(|word| !word.is_empty()) {
                command.push(' ');
                command += &String::from_utf8_lossy(word);
            }
        }
        let command = command.chars().filter(|c| !c.is_control()).take(MAX_COMMAND).collect();
        let stat = fs::read_to_string(home.join("stat")).unwrap_or_default();
        // The name in parentheses can contain anything, even parentheses (proc_pid_stat(5)).
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        Some(Self { pid, name, command, stopped: matches!(state, Some('T' | 't')) })
    }

    pub fn is(&self, program: &str) -> bool {
        self.name == program
    }
}

/// The process that holds the lock (flock(2)) of an open file.
pub fn of_lock(file: &File) -> Option<Holder> {
    let metadata = file.metadata().ok()?;
    let table = fs::read_to_string("/proc/locks").ok()?;
    let device = (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
    let holds = |lock: &Lock| {
        // On some file systems, this device number differs from the one in stat(2).
        lock.device == device || has_open(lock.pid, (metadata.dev(), metadata.ino()))
    };
    let lock = locks(&table).find(|lock| lock.inode == metadata.ino() && holds(lock))?;
    Holder::read(lock.pid)
}

/// The process that listens on a TCP port.
pub fn of_port(address: SocketAddr) -> Option<Holder> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let alike = |found: &Listening| {
        let (one, other) = (found.address.ip(), address.ip());
        found.address.port() == address.port()
            && (one == other || one.is_unspecified() || other.is_unspecified())
    };
    let found = tables.iter().flatten().flat_map(|table| listeners(table)).filter(alike);
    let sockets: Vec<PathBuf> =
        found.map(|found| format!("socket:[{}]", found.inode).into()).collect();
    if sockets.is_empty() {
        return None;
    }
    let has_one = |pid: &u32| {
        descriptors(*pid)
            .any(|path| fs::read_link(path).is_ok_and(|target| sockets.contains(&target)))
    };
    let mut pids: Vec<u32> = pids().collect();
    // systemd passes its sockets on. The process that got a socket from it is the one to name.
    pids.sort_unstable_by_key(|pid| (*pid == 1, *pid));
    pids.into_iter().find(has_one).and_then(Holder::read)
}

/// A line of `/proc/locks` (proc_locks(5)).
struct Lock {
    pid: u32,
    device: (u32, u32),
    inode: u64,
}

/// All `flock` locks that are held. A line with `->` is a process that waits for the lock.
fn locks(table: &str) -> impl Iterator<Item = Lock> {
    table.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        if words.next()? != "FLOCK" {
            return None;
        }
        let pid = words.nth(2)?.parse().ok()?;
        let mut file = words.next()?.split(':');
        let mut hex = || u32::from_str_radix(file.next()?, 16).ok();
        let device = (hex()?, hex()?);
        Some(Lock { pid, device, inode: file.next()?.parse().ok()? })
    })
}

/// A listening socket in `/proc/net/tcp` or `/proc/net/tcp6`.
struct Listening {
    address: SocketAddr,
    inode: u64,
}

fn listeners(table: &str) -> impl Iterator<Item = Listening> {
    table.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[_, local, _, "0A", _, _, _, _, _, inode, ..] = &*words else { return None };
        let (ip, port) = local.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        Some(Listening { address: (ip_address(ip)?, port).into(), inode: inode.parse().ok()? })
    })
}

/// The kernel prints each 32 bits of an address as a number in the byte order of this machine.
fn ip_address(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for part in hex.as_bytes().chunks(8) {
        let part = std::str::from_utf8(part).ok()?;
        bytes.extend(u32::from_str_radix(part, 16).ok()?.to_ne_bytes());
    }
    match <[u8; 4]>::try_from(&*bytes) {
        Ok(bytes) => Some(Ipv4Addr::from(bytes).into()),
        Err(_) => Some(Ipv6Addr::from(<[u8; 16]>::try_from(&*bytes).ok()?).into()),
    }
}

fn has_open(pid: u32, file: (u64, u64)) -> bool {
    let same = |path: PathBuf| fs::metadata(path).is_ok_and(|m| (m.dev(), m.ino()) == file);
    descriptors(pid).any(same)
}

fn pids() -> impl Iterator<Item = u32> {
    names(Path::new("/proc")).filter_map(|path| path.file_name()?.to_str()?.parse().ok())
}

/// Empty for processes of other users, unless this process is root.
fn descriptors(pid: u32) -> impl Iterator<Item = PathBuf> {
    names(Path::new(&format!("/proc/{pid}/fd")))
}

fn names(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_lock_and_a_port_have_a_holder_only_while_they_are_held() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(of_lock(&file), None);
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        assert_eq!(of_lock(&file).unwrap().pid, std::process::id());
        drop(file);

        for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let address = listener.local_addr().unwrap();
            assert_eq!(of_port(address).unwrap().pid, std::process::id(), "{address}");
            drop(listener);
            assert_eq!(of_port(address), None);
        }
    }

    #[test]
    fn a_waiting_process_holds_no_lock() {
        let table = "1: FLOCK  ADVISORY  WRITE 71 fe:00:42 0 EOF\n\
                     1: -> FLOCK  ADVISORY  WRITE 72 fe:00:42 0 EOF\n\
                     2: POSIX  ADVISORY  WRITE 73 fe:00:42 0 EOF\n";
        let held: Vec<_> = locks(table).map(|lock| (lock.pid, lock.device, lock.inode)).collect();
        assert_eq!(held, [(71, (0xfe, 0), 42)]);
    }

    #[test]
    fn connections_are_no_listeners() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 711 1 0 100\n\
             1: 0100007F:01BB 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 712 1 0 100\n";
        let found: Vec<_> = listeners(table).map(|found| (found.address, found.inode)).collect();
        assert_eq!(found, [("127.0.0.1:443".parse().unwrap(), 711)]);
    }

    proptest! {
        #[test]
        fn survives_any_table(table in any::<String>(), words in "([0-9A-F:> -]|FLOCK|\n){0,99}") {
            for table in [table, words] {
                locks(&table).count();
                listeners(&table).count();
            }
        }
    }
}
