//! Disks of all kinds, in a tree that looks like the kernel's.

use std::os::unix::fs::symlink;

use super::*;

const LEN: u64 = 2 * 1024 * 1024;

struct Tree {
    dir: tempfile::TempDir,
    kernel: Kernel,
}

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let kernel = Kernel { sys: dir.path().join("sys"), proc: dir.path().join("proc") };
        let tree = Self { dir, kernel };
        tree.put("sys/dev/block/.keep", "");
        tree.put("proc/self/mountinfo", "");
        tree.put("proc/swaps", "Filename Type Size Used Priority\n");
        tree
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(self.dir.path().join(target), path).unwrap();
    }

    /// A disk, with one partition whose number follows.
    fn disk(&self, folder: &str, (major, minor): (u32, u32), removable: bool) {
        let name = folder.rsplit('/').next().unwrap();
        let base = format!("sys/devices/{folder}");
        self.put(&format!("{base}/size"), "30310400\n");
        self.put(&format!("{base}/ro"), "0\n");
        self.put(&format!("{base}/dev"), &format!("{major}:{minor}\n"));
        self.put(&format!("{base}/removable"), if removable { "1\n" } else { "0\n" });
        self.put(&format!("{base}/queue/logical_block_size"), "512\n");
        self.put(&format!("{base}/{name}1/partition"), "1\n");
        self.put(&format!("{base}/{name}1/dev"), &format!("{major}:{}\n", minor + 1));
        self.link(&format!("sys/dev/block/{major}:{minor}"), &base);
        self.link(&format!("sys/dev/block/{major}:{}", minor + 1), &format!("{base}/{name}1"));
    }

    fn stick() -> Self {
        let tree = Self::new();
        let usb = "pci0000:00/usb1/1-2";
        tree.disk(&format!("{usb}/1-2:1.0/host6/block/sdb"), (8, 16), true);
        tree.put(&format!("sys/devices/{usb}/serial"), "4C530001\n");
        tree.put(&format!("sys/devices/{usb}/1-2:1.0/host6/target/vendor"), "SanDisk\n");
        tree.put(&format!("sys/devices/{usb}/1-2:1.0/host6/target/model"), "Ultra Fit\u{1b}[2J\n");
        let block = "sys/devices/pci0000:00/usb1/1-2/1-2:1.0/host6/block/sdb";
        tree.link(&format!("{block}/device"), &format!("sys/devices/{usb}/1-2:1.0/host6/target"));
        tree
    }

    fn read(&self, number: (u32, u32)) -> Result<Disk> {
        Disk::read(Path::new("/dev/sdb"), number, &self.kernel)
    }

    fn free(&self, number: (u32, u32), forced: bool) -> Result<(), String> {
        let free = |disk: Disk| disk.ensure_free(LEN, forced, &[], &self.kernel);
        self.read(number).and_then(free).map_err(|error| format!("{error:#}"))
    }
}

#[test]
fn a_stick_is_described_as_it_is_printed_on_it() {
    let tree = Tree::stick();
    let text = tree.read((8, 16)).unwrap().described();
    assert_eq!(text, "SanDisk Ultra Fit\u{fffd}[2J, 15.52 GB, serial 4C530001");
    assert_eq!(tree.free((8, 16), false), Ok(()));
}

#[test]
fn a_partition_is_refused_by_its_disk() {
    let error = Tree::stick().free((8, 17), true).unwrap_err();
    assert!(error.ends_with("give the whole disk, /dev/sdb"), "{error}");
}

/// Neither is allowed by --force.
#[test]
fn a_stick_in_use_is_refused_with_who_uses_it() {
    for (path, text, expected) in [
        (
            "proc/self/mountinfo",
            "43 27 8:17 / /media/my\\040stick rw - vfat /dev/sdb1 rw\n",
            "/dev/sdb1 is mounted on /media/my stick (umount /dev/sdb1)",
        ),
        (
            "proc/self/mountinfo",
            "43 27 0:55 / /srv rw - btrfs /dev/sdb rw\n",
            "/dev/sdb is mounted on /srv (umount /dev/sdb)",
        ),
        ("proc/swaps", "F T\n/dev/sdb1 partition 1 0 -2\n", "is swap (swapoff /dev/sdb1)"),
    ] {
        let tree = Tree::stick();
        tree.put(path, text);
        for forced in [false, true] {
            let error = tree.free((8, 16), forced).unwrap_err();
            assert!(error.starts_with("/dev/sdb is in use: "), "{error}");
            assert!(error.contains(expected), "{error}");
        }
    }
    let tree = Tree::stick();
    tree.put("sys/devices/virtual/block/dm-3/dm/name", "vg-root\n");
    let part = "sys/devices/pci0000:00/usb1/1-2/1-2:1.0/host6/block/sdb/sdb1";
    tree.link(&format!("{part}/holders/dm-3"), "sys/devices/virtual/block/dm-3");
    let error = tree.free((8, 16), true).unwrap_err();
    assert!(error.contains("/dev/sdb1 is part of dm-3 (vg-root)"), "{error}");
}

/// Only a disk that is not removable may be forced.
#[test]
fn unfit_disks_are_refused() {
    let tree = Tree::new();
    tree.disk("pci0000:00/nvme/nvme0n1", (259, 0), false);
    let error = tree.free((259, 0), false).unwrap_err();
    assert!(error.contains("is not removable (unknown model, 15.52 GB, no serial"), "{error}");
    assert_eq!(tree.free((259, 0), true), Ok(()));

    // An SD card in a built-in reader.
    tree.put("sys/devices/pci0000:00/mmc0:1/type", "SD\n");
    tree.link("sys/devices/pci0000:00/nvme/nvme0n1/device", "sys/devices/pci0000:00/mmc0:1");
    assert_eq!(tree.free((259, 0), false), Ok(()));

    let block = "sys/devices/pci0000:00/usb1/1-2/1-2:1.0/host6/block/sdb";
    for (fact, value, expected) in [
        ("ro", "1", "is read-only"),
        ("size", "0", "there is no medium in /dev/sdb"),
        ("size", "2048", "is too small: it has 1.05 MB, and the image 2.10 MB"),
    ] {
        let tree = Tree::stick();
        tree.put(&format!("{block}/{fact}"), value);
        for forced in [false, true] {
            let error = tree.free((8, 16), forced).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}

/// The root file system is on LVM on the disk's partition.
#[test]
fn the_disk_below_a_file_is_found_through_what_is_built_on_it() {
    let tree = Tree::new();
    tree.disk("pci0000:00/ata1/block/sda", (8, 0), false);
    let file = tree.dir.path().join("file");
    fs::write(&file, "").unwrap();
    let (major, minor) = number(fs::metadata(&file).unwrap().dev());
    let precious = [Precious { what: "this system", path: &file }];
    let ensure = || {
        let disk = tree.read((8, 0)).unwrap();
        disk.ensure_free(LEN, true, &precious, &tree.kernel).map_err(|error| error.to_string())
    };
    assert_eq!(ensure(), Ok(()));

    tree.put("sys/devices/virtual/block/dm-0/dev", "");
    tree.link(
        "sys/devices/virtual/block/dm-0/slaves/sda1",
        "sys/devices/pci0000:00/ata1/block/sda/sda1",
    );
    tree.link(&format!("sys/dev/block/{major}:{minor}"), "sys/devices/virtual/block/dm-0");
    let error = ensure().unwrap_err();
    assert!(error.contains("is the disk that holds this system"), "{error}");
}
