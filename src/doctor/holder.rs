//! Which program listens on a port, by what the kernel says in `/proc`.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::foreign::Foreign;

/// State of a socket that listens (`TCP_LISTEN` in `include/net/tcp_states.h`).
const LISTENS: &str = "0A";

/// A program.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) name: Foreign,
    pid: u32,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.name, self.pid)
    }
}

/// Who listens on a port of this machine, as far as this user may know.
pub(super) fn of(port: u16) -> Option<Holder> {
    let proc = Path::new("/proc");
    let tables = ["net/tcp", "net/tcp6"].map(|table| fs::read_to_string(proc.join(table)));
    let inodes: Vec<String> =
        tables.iter().flatten().flat_map(|table| listening(table, port)).collect();
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let holds = |pid: u32| {
        let open = fs::read_dir(proc.join(pid.to_string()).join("fd")).ok();
        let mut targets = open.into_iter().flatten().flatten().map(|fd| fs::read_link(fd.path()));
        targets
            .any(|link| link.is_ok_and(|link| links.iter().any(|wanted| link == Path::new(wanted))))
    };
    let processes = fs::read_dir(proc).ok()?.flatten();
    let mut pids: Vec<u32> =
        processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    // systemd hands its sockets on: who has it from there is the one that uses it.
    pids.sort_unstable_by_key(|pid| (*pid == 1, *pid));
    let pid = pids.into_iter().find(|pid| holds(*pid))?;
    let name = fs::read_to_string(proc.join(pid.to_string()).join("comm")).ok()?;
    Some(Holder { name: Foreign::new(&name), pid })
}

/// Inodes of the sockets in a table of the kernel (`/proc/net/tcp`) that listen on a port.
fn listening(table: &str, port: u16) -> Vec<String> {
    let socket = |line: &str| {
        let mut fields = line.split_whitespace();
        let (_, local) = fields.nth(1)?.rsplit_once(':')?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?;
        let found = state == LISTENS && u16::from_str_radix(local, 16) == Ok(port);
        found.then(|| inode.to_owned())
    };
    table.lines().skip(1).filter_map(socket).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_listens_is_found_by_the_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(of(port).unwrap().pid, std::process::id());
        drop(listener);
        assert_eq!(of(port), None);
    }

    #[test]
    fn connections_are_no_listeners() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 711 1 0 100\n\
             1: 0100007F:01BB 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 712 1 0 100\n";
        assert_eq!(listening(table, 443), ["711"]);
        assert!(listening(table, 80).is_empty());
    }

    proptest! {
        #[test]
        fn no_table_makes_it_panic(table in "[ \n:0-9A-F]{0,300}", port in any::<u16>()) {
            let _ = listening(&table, port);
        }
    }
}
