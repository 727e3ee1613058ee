//! A volume is encrypted on the drive: a real ext4 file system on a loop device.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tempfile::TempDir;

use super::Garage;
use super::boot_on;
use super::finish;
use super::mirrored;
use crate::profile::agent::Volume;

/// A drive that can be pulled out and plugged in.
struct Ext4 {
    dir: TempDir,
    mounted: bool,
}

impl Ext4 {
    /// `None` where nothing can be mounted, which is said.
    fn new(features: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        let made =
            Command::new("/usr/sbin/mkfs.ext4").args(["-q", "-O", features]).arg(&image).status();
        fs::create_dir(dir.path().join("drive")).unwrap();
        let mut ext4 = Self { dir, mounted: false };
        if made.is_ok_and(|made| made.success()) && ext4.plug() {
            return Some(ext4);
        }
        let is_root = rustix::process::geteuid().is_root();
        super::skip("encrypted volumes", "no ext4 file system can be mounted here", is_root);
        None
    }

    fn at(&self) -> PathBuf {
        self.dir.path().join("drive")
    }

    fn plug(&mut self) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]).arg(self.dir.path().join("image")).arg(self.at());
        self.mounted = mount.output().is_ok_and(|mount| mount.status.success());
        self.mounted
    }

    fn unplug(&mut self) {
        if std::mem::take(&mut self.mounted) {
            assert!(Command::new("umount").arg(self.at()).status().unwrap().success());
        }
    }

    fn holds(&self, text: &str) -> bool {
        let image = fs::read(self.dir.path().join("image")).unwrap();
        memchr::memmem::find(&image, text.as_bytes()).is_some()
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        if self.mounted {
            let _ = Command::new("umount").arg("--lazy").arg(self.at()).status();
        }
    }
}

fn secret(byte: u8) -> String {
    BASE64_STANDARD.encode([byte; 64])
}

fn encrypted() -> Volume {
    Volume { encrypt: Some("fscrypt".to_owned()), ..mirrored() }
}

const WORDS: &str = "unmistakable words of a secret";

#[test]
fn who_takes_the_drive_reads_nothing() {
    let Some(mut garage) = Garage::start() else { return };
    let Some(mut drive) = Ext4::new("encrypt") else { return };
    garage.put("unmistakable-name", &format!("{WORDS} from the bucket"));
    let boot = |drive: &Ext4, garage: &Garage, key: Option<&str>| {
        boot_on(&drive.at(), drive.dir.path(), garage, &encrypted(), key)
    };
    let (volumes, said) = boot(&drive, &garage, Some(&secret(7)));
    assert_eq!(said, "pulled");
    let path = volumes.path("config").unwrap();
    fs::write(path.join("written"), format!("{WORDS} from the container")).unwrap();
    assert_eq!(finish(&volumes), [""; 0]);
    drop(volumes);
    drive.unplug();
    assert!(!drive.holds(WORDS) && !drive.holds("unmistakable-name"));

    // With its key, and without the bucket, the next boot reads it.
    assert!(drive.plug());
    garage.stop();
    let (volumes, said) = boot(&drive, &garage, Some(&secret(7)));
    assert!(said.starts_with("last-copy not pulled"), "{said}");
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    assert_eq!(volumes.path("config").unwrap(), path);
    assert_eq!(read(&path.join("written")), format!("{WORDS} from the container"));
    drop(volumes);
    drive.unplug();

    // With another one it begins anew; with the first again, the first's files are there.
    assert!(drive.plug());
    garage.resume();
    let (volumes, said) = boot(&drive, &garage, Some(&secret(8)));
    assert_eq!(said, "pulled");
    let other = volumes.path("config").unwrap();
    assert_ne!(other, path);
    assert_eq!(read(&other.join("written")), format!("{WORDS} from the container"));
    // Nobody who lacks the key sees names.
    assert!(!path.join("written").exists());
    drop(volumes);
    let (volumes, _) = boot(&drive, &garage, Some(&secret(7)));
    assert_eq!(
        read(&volumes.path("config").unwrap().join("written")),
        format!("{WORDS} from the container")
    );
    drop(volumes);
    drive.unplug();
    assert!(!drive.holds(WORDS));
}

#[test]
fn what_cannot_be_encrypted_is_in_memory_and_on_no_drive() {
    let Some(garage) = Garage::start() else { return };
    garage.put("file", WORDS);
    let Some(mut drive) = Ext4::new("^encrypt") else { return };
    for (key, why) in [
        (Some(secret(7)), "the drive's file system was made without it"),
        (None, "the boot's secrets have no key for it"),
        (Some("not base64!".to_owned()), "its key is no base64"),
        (Some(BASE64_STANDARD.encode("short")), "its key is not of 32 to 64 bytes"),
    ] {
        let (volumes, said) =
            boot_on(&drive.at(), drive.dir.path(), &garage, &encrypted(), key.as_deref());
        assert!(said.starts_with("pulled in memory, since it cannot be encrypted: "), "{said}");
        assert!(said.contains(why), "{said}");
        let path = volumes.path("config").unwrap();
        assert!(path.starts_with(drive.dir.path().join("memory")));
        assert_eq!(fs::read_to_string(path.join("file")).unwrap(), WORDS);
        // As a restart would.
        drop(volumes);
        fs::remove_dir_all(drive.dir.path().join("memory")).unwrap();
    }
    drive.unplug();
    assert!(!drive.holds(WORDS));
}

/// The kernel takes keys of 16 bytes and more, and then makes no file with one that is shorter than
/// AES-256 wants: the boot failed.
#[test]
fn a_key_that_is_too_short_for_the_cipher_is_none() {
    let Some(garage) = Garage::start() else { return };
    garage.put("file", WORDS);
    let Some(drive) = Ext4::new("encrypt") else { return };
    let boot = |bytes: usize| {
        let key = BASE64_STANDARD.encode(vec![7; bytes]);
        boot_on(&drive.at(), drive.dir.path(), &garage, &encrypted(), Some(&key)).1
    };
    for bytes in [16, 31, 65] {
        let said = boot(bytes);
        assert!(said.contains("its key is not of 32 to 64 bytes"), "{bytes}: {said}");
    }
    for bytes in [32, 64] {
        assert_eq!(boot(bytes), "pulled", "{bytes}");
    }
}

#[test]
fn a_volume_that_was_readable_is_moved() {
    let Some(garage) = Garage::start() else { return };
    let Some(drive) = Ext4::new("encrypt") else { return };
    let plain = Volume { bucket: false, ..mirrored() };
    let boot = |volume: &Volume, key: Option<&str>| {
        boot_on(&drive.at(), drive.dir.path(), &garage, volume, key).0.path("config").unwrap()
    };
    let before = boot(&plain, None);
    fs::create_dir(before.join("deep")).unwrap();
    fs::write(before.join("deep/file"), WORDS).unwrap();
    std::os::unix::fs::symlink("deep/file", before.join("link")).unwrap();
    let key = secret(7);
    let volume = Volume { encrypt: Some("fscrypt".to_owned()), ..plain };
    let after = boot(&volume, Some(&key));
    assert_ne!(after, before);
    assert!(!before.exists());
    assert_eq!(fs::read_to_string(after.join("link")).unwrap(), WORDS);
    assert_eq!(boot(&volume, Some(&key)), after);
}

#[test]
fn keys_that_are_long_gone_take_no_room() {
    let Some(garage) = Garage::start() else { return };
    let Some(mut drive) = Ext4::new("encrypt") else { return };
    garage.put("file", WORDS);
    let mut homes = Vec::new();
    for key in 1..=5 {
        let (volumes, said) =
            boot_on(&drive.at(), drive.dir.path(), &garage, &encrypted(), Some(&secret(key)));
        assert_eq!(said, "pulled");
        homes.push(volumes.path("config").unwrap().parent().unwrap().to_owned());
        drop(volumes);
        // Without the keys that it was given, the kernel still removes what they encrypted.
        drive.unplug();
        assert!(drive.plug());
    }
    let there: Vec<_> = homes.iter().map(|home| home.exists()).collect();
    assert_eq!(there, [false, false, true, true, true]);
}
