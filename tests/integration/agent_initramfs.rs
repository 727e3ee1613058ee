//! scripts/make-agent: the same input gives the same bytes, and an archive that the kernel and
//! modprobe understand.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use crate::common;

fn make(arguments: &[&str], output: &Path) -> Vec<u8> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/make-agent");
    let made = Command::new(script)
        .args(["--level", "1"])
        .args(arguments)
        .arg(output)
        .env("SOURCE_DATE_EPOCH", "1764547200")
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::read(output).unwrap()
}

/// The names in the archive.
fn names(packed: &Path) -> BTreeSet<String> {
    let plain = Command::new("zstd").args(["-dc"]).arg(packed).output().unwrap().stdout;
    let (mut at, mut names) = (0, BTreeSet::new());
    let number = |from: usize| {
        let digits = std::str::from_utf8(&plain[from..from + 8]).unwrap();
        usize::from_str_radix(digits, 16).unwrap()
    };
    loop {
        assert_eq!(&plain[at..at + 6], b"070701");
        let (size, length) = (number(at + 54), number(at + 94));
        let name = &plain[at + 110..at + 110 + length - 1];
        let name = String::from_utf8(name.to_vec()).unwrap();
        if name == "TRAILER!!!" {
            return names;
        }
        names.insert(name);
        at = (at + 110 + length).next_multiple_of(4) + size;
        at = at.next_multiple_of(4);
    }
}

/// The directory that a variable of scripts/install-packages names.
fn named(variable: &str) -> Option<PathBuf> {
    let found = env::var_os(variable).map(PathBuf::from);
    if found.is_none() {
        common::skip("scripts/make-agent", &format!("{variable} is not set"));
    }
    found
}

#[test]
fn an_initramfs_is_the_same_each_time_and_complete() {
    if named("FARMGATE_AGENT_ROOT").is_none() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let (first, second) = (place.path().join("first"), place.path().join("second"));
    let binary = ["--binary", env!("CARGO_BIN_EXE_farmgate-agent")];
    assert!(make(&binary, &first) == make(&binary, &second), "they differ");
    let names = names(&first);
    for name in [
        "init",
        "dev/console",
        "etc/farmgate/built",
        "etc/ssl/certs/ca-certificates.crt",
        "usr/bin/busybox",
        "usr/bin/crun",
        "usr/lib/farmgate/dhcp",
        "usr/lib/x86_64-linux-gnu/libc.so.6",
        "usr/lib/x86_64-linux-gnu/libyajl.so.2",
        "usr/lib64/ld-linux-x86-64.so.2",
        "usr/sbin/e2fsck",
        "usr/sbin/mkfs.ext4",
    ] {
        assert!(names.contains(name), "{name} is missing in {names:?}");
    }
}

#[test]
fn modules_come_with_what_they_need() {
    let Some(kernel) = named("FARMGATE_KERNEL") else { return };
    let package = kernel.parent().and_then(Path::parent).unwrap().to_str().unwrap().to_owned();
    let place = tempfile::tempdir().unwrap();
    let (first, second) = (place.path().join("first"), place.path().join("second"));
    let arguments = ["--modules", package.as_str()];
    assert!(make(&arguments, &first) == make(&arguments, &second), "they differ");
    let names = names(&first);
    // virtio_net needs net_failover, which needs failover.
    for module in ["virtio_net.ko", "net_failover.ko", "failover.ko", "overlay.ko", "modules.dep"] {
        let there = names.iter().any(|name| name.ends_with(&format!("/{module}")));
        assert!(there, "{module} is missing");
    }
}
