//! The network: every Ethernet interface is brought up and gets an address by DHCP, or the one that
//! the kernel's command line gives it. busybox's udhcpc stays and keeps the addresses.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use super::cmdline::Address;
use super::console::say;
use super::host::Host;
use super::modules;
use super::progress::expect_within;
use super::progress::uptime;
use crate::backoff::Backoff;

/// Sets an address, for udhcpc and for fixed ones.
const SCRIPT: &str = "/usr/lib/farmgate/dhcp";
/// Without an address for so long, the gateway restarts: a card or a driver may hang.
const LIMIT: Duration = Duration::from_secs(5 * 60);
/// With an address, and a boot host that does not answer, the boot goes on after this time: its
/// images may be on the drive.
const WITHOUT_HOST: Duration = Duration::from_secs(60);
const WAITS: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
/// `ARPHRD_ETHER`.
const ETHERNET: &str = "1";

/// The interfaces, and the DHCP clients that look after them.
pub struct Network {
    clients: BTreeMap<String, Option<Child>>,
    fixed: Vec<Address>,
    hostname: String,
}

impl Network {
    pub fn new(fixed: Vec<Address>, hostname: String) -> Self {
        Self { clients: BTreeMap::new(), fixed, hostname }
    }

    /// Brings up interfaces that are new, and restarts clients that have ended.
    pub fn tend(&mut self) {
        for name in interfaces() {
            let looked_after = match self.clients.get_mut(&name) {
                Some(Some(client)) => matches!(client.try_wait(), Ok(None)),
                Some(None) => true,
                None => false,
            };
            if looked_after {
                continue;
            }
            let client = self.bring_up(&name).unwrap_or_else(|error| {
                say(&format!("{name} cannot be brought up: {error}"));
                None
            });
            self.clients.insert(name, client);
        }
    }

    /// A DHCP client, unless the interface has a fixed address.
    fn bring_up(&self, name: &str) -> io::Result<Option<Child>> {
        busybox(&["ip", "link", "set", name, "up"]).status()?;
        let first = self.clients.is_empty();
        let fixed = self.fixed.iter().find(|address| match &address.device {
            Some(device) => device == name,
            None => first,
        });
        if let Some(fixed) = fixed {
            say(&format!("{name} has the address {}/{}", fixed.address, fixed.prefix));
            let dns: Vec<String> = fixed.dns.iter().map(IpAddr::to_string).collect();
            Command::new(SCRIPT)
                .arg("bound")
                .env("interface", name)
                .env("ip", fixed.address.to_string())
                .env("mask", fixed.prefix.to_string())
                .env("router", fixed.gateway.map(|address| address.to_string()).unwrap_or_default())
                .env("dns", dns.join(" "))
                .stdin(Stdio::null())
                .status()?;
            return Ok(None);
        }
        say(&format!("{name} asks for an address"));
        // -A: soon again after no answer; -R: gives the address back at the end.
        let mut client = busybox(&[
            "udhcpc", "-f", "-R", "-i", name, "-s", SCRIPT, "-t", "4", "-T", "2", "-A", "5",
        ]);
        client.arg("-x").arg(format!("hostname:{}", self.hostname));
        client.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(Some)
    }

    /// Waits until the boot host can be reached, or it is clear that it cannot. Gives the address
    /// that reaches it, and whether it answered.
    pub fn wait(&mut self, host: &Host) -> Result<(IpAddr, bool), String> {
        let (begun, mut waited, mut routed) = (uptime(), 0, None);
        loop {
            expect_within(Duration::from_secs(60));
            self.tend();
            // Before the first address each try would only wait for a name server.
            let why = if has_address() {
                match host.reach() {
                    Ok(address) => return Ok((address, true)),
                    Err(error) => error.to_string(),
                }
            } else {
                "no interface has an address".to_owned()
            };
            if routed.is_none() && host.route().is_ok() {
                routed = Some(uptime());
            }
            if routed.is_some_and(|since| uptime() - since > WITHOUT_HOST)
                && let Ok(address) = host.route()
            {
                say(&format!("the boot host does not answer: {why}"));
                return Ok((address, false));
            }
            if uptime() - begun > LIMIT {
                return Err(format!("no network: {why} ({})", described()));
            }
            if waited == 5 {
                // Some cards are slow to appear.
                modules::load_for_devices();
            }
            thread::sleep(WAITS.wait(waited, None, 0.0));
            waited += 1;
        }
    }
}

/// Names of the Ethernet interfaces that are hardware.
fn interfaces() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/class/net") else { return Vec::new() };
    let is_card = |path: &Path| {
        let kind = fs::read_to_string(path.join("type")).unwrap_or_default();
        kind.trim() == ETHERNET && path.join("device").exists()
    };
    let cards = entries.flatten().filter(|entry| is_card(&entry.path()));
    let mut names: Vec<String> =
        cards.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// True if an interface other than the loopback has a route to somewhere.
fn has_address() -> bool {
    let routes = |path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().any(|line| !line.starts_with("Iface") && !line.trim_end().ends_with(" lo"))
    };
    // IPv6 has routes of link-local addresses from the start; one to elsewhere has a router.
    let default6 = fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    let default6 = default6
        .lines()
        .any(|line| line.starts_with(&"0".repeat(32)) && !line.trim_end().ends_with(" lo"));
    routes("/proc/net/route") || default6
}

/// The interfaces and whether they have a link, for a message.
fn described() -> String {
    let state = |name: &String| {
        let carrier = fs::read_to_string(format!("/sys/class/net/{name}/carrier"));
        let link = if carrier.is_ok_and(|carrier| carrier.trim() == "1") { "" } else { "no " };
        format!("{name} has {link}link")
    };
    let all: Vec<String> = interfaces().iter().map(state).collect();
    if all.is_empty() { "there is no Ethernet interface".to_owned() } else { all.join(", ") }
}

fn busybox(arguments: &[&str]) -> Command {
    let mut command = Command::new("busybox");
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Brings up the loopback and gives the machine its name.
pub fn prepare(name: &str) {
    let _ = busybox(&["ip", "link", "set", "lo", "up"]).status();
    let _ = rustix::system::sethostname(name.as_bytes());
    let _ = fs::create_dir_all("/etc");
    let _ = fs::write("/etc/hostname", format!("{name}\n"));
    let _ =
        fs::write("/etc/hosts", format!("127.0.0.1\tlocalhost {name}\n::1\tlocalhost {name}\n"));
    if !Path::new("/etc/resolv.conf").exists() {
        let _ = fs::write("/etc/resolv.conf", "");
    }
}
