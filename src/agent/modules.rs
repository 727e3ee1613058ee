//! Drivers: the kernel names each device by its modalias, and busybox's modprobe finds the module.
//! Files of the running system.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use super::console::say;

/// Modules that no device asks for: of file systems, of the network, of encryption.
const ALWAYS: &[&str] = &["overlay", "ext4", "af_packet", "ipv6", "xts", "cts", "cbc", "ecb"];
/// Drivers of a bus bring new devices. After so many rounds no more are looked for.
const ROUNDS: usize = 6;
/// Deepest path below `/sys/devices` that is looked at.
const DEEPEST: usize = 24;

/// Loads the drivers of all devices and `wanted`, if the initramfs has modules for this kernel.
pub fn load(wanted: &[String]) {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    if !Path::new("/lib/modules").join(&release).is_dir() {
        say(&format!("there are no modules for {release}: the kernel has to have all drivers"));
        return;
    }
    modprobe(ALWAYS.iter().map(|name| (*name).to_owned()).collect());
    modprobe(wanted.to_vec());
    load_for_devices();
    // A computer without a watchdog of its own gets the kernel's, which helps against all but the
    // kernel itself.
    if !Path::new("/dev/watchdog").exists() {
        modprobe(vec!["softdog".to_owned()]);
    }
}

/// Loads the drivers of devices that have none yet, and of those that appear thereby.
pub fn load_for_devices() {
    let mut seen = BTreeSet::new();
    for _ in 0..ROUNDS {
        let mut found = BTreeSet::new();
        modaliases(Path::new("/sys/devices"), 0, &mut found);
        let new: Vec<String> = found.difference(&seen).cloned().collect();
        if new.is_empty() {
            return;
        }
        modprobe(new);
        seen.extend(found);
        thread::sleep(Duration::from_millis(100));
    }
}

fn modaliases(directory: &Path, depth: usize, found: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        // Links lead round in circles.
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth < DEEPEST {
            modaliases(&entry.path(), depth + 1, found);
        } else if kind.is_file() && entry.file_name() == "modalias" {
            let alias = fs::read_to_string(entry.path()).unwrap_or_default();
            // A device chooses some of these letters.
            if !alias.trim().is_empty() && !alias.starts_with('-') {
                found.insert(alias.trim().to_owned());
            }
        }
    }
}

/// Most devices have their driver built in, or none: that modprobe finds nothing is usual.
fn modprobe(names: Vec<String>) {
    if names.is_empty() {
        return;
    }
    let mut command = Command::new("busybox");
    command.args(["modprobe", "-a", "-b", "-q"]).args(names);
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Err(error) = quiet.status() {
        say(&format!("busybox modprobe cannot be started: {error}"));
    }
}
