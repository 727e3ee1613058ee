//! Real drives: ext4 on a loop device. Power is cut by a copy of what is on the disk at a moment;
//! what the kernel still holds in memory is lost with it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use super::mounting::apart;
use super::power_cuts::assert_recovers;
use super::power_cuts::expected;
use super::power_cuts::update;
use super::*;
use made::Nobody;
use made::Shelf;

/// A drive in a file.
struct Drive {
    dir: tempfile::TempDir,
}

impl Drive {
    /// `None` where there are no loop devices; says so.
    fn new(mebibytes: u64) -> Option<Self> {
        if !made::is_root() {
            return None;
        }
        apart();
        let dir = tempfile::tempdir().unwrap();
        let drive = Self { dir };
        File::create(drive.image()).unwrap().set_len(mebibytes << 20).unwrap();
        run("mkfs.ext4", &["-q", "-m", "0", drive.image().to_str().unwrap()]);
        fs::create_dir(drive.top()).unwrap();
        if !Path::new("/dev/loop-control").exists() {
            println!("skipped: there are no loop devices");
            return None;
        }
        drive.mount(&drive.image(), "loop");
        Some(drive)
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    /// Its mount point.
    fn top(&self) -> PathBuf {
        self.dir.path().join("top")
    }

    /// The store's directory.
    fn root(&self) -> PathBuf {
        self.top().join("images")
    }

    fn mount(&self, image: &Path, options: &str) {
        let top = self.top();
        run("mount", &["-o", options, image.to_str().unwrap(), top.to_str().unwrap()]);
    }

    fn unmount(&self) {
        run("umount", &[self.top().to_str().unwrap()]);
    }

    /// A file beside the store that takes all room but so many bytes.
    fn fill_up_to(&self, left: u64) -> PathBuf {
        let path = self.top().join("volume");
        let mut file = File::create(&path).unwrap();
        let free = rustix::fs::statvfs(&path).unwrap();
        let mut free = (free.f_bavail * free.f_frsize).saturating_sub(left);
        let chunk = vec![1; 1 << 16];
        while free > 0 {
            let most = chunk.len().min(free as usize);
            match file.write(&chunk[..most]) {
                Ok(written) => free -= written as u64,
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(28), "{error}");
                    break;
                }
            }
        }
        path
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.top()).status();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
}

/// Copies what is on the disk, at every moment or at some.
struct Copies {
    image: PathBuf,
    directory: PathBuf,
    every: u64,
    count: AtomicU64,
    taken: Mutex<Vec<(PathBuf, &'static str)>>,
}

impl Steps for Copies {
    fn before(&self, what: &'static str) -> io::Result<()> {
        // One at a time: the other thread waits here or works on meanwhile, as disks do.
        let mut taken = self.taken.lock().unwrap();
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        // The moments about a commit are the interesting ones.
        if count.is_multiple_of(self.every) || matches!(what, "sync" | "rename" | "discard") {
            let copy = self.directory.join(format!("copy-{count}"));
            run("cp", &["--sparse=always", self.image.to_str().unwrap(), copy.to_str().unwrap()]);
            taken.push((copy, what));
        }
        Ok(())
    }
}

#[test]
fn a_disk_whose_power_is_cut_has_the_old_or_the_new() {
    let Some(drive) = Drive::new(24) else { return };
    let (one, two) = versions();
    let all = expected(&one, &two);
    let store = open(&drive.root()).unwrap();
    store.keep(&[one.digest]).unwrap();
    ensure(&store, &one, &Shelf::with(&[&one])).unwrap();
    store.acknowledged(&[one.digest]).unwrap();
    drop(store);
    let copies = Arc::new(Copies {
        image: drive.image(),
        directory: drive.dir.path().to_owned(),
        every: 5,
        count: AtomicU64::new(0),
        taken: Mutex::default(),
    });
    update(&drive.root(), copies.clone(), &two, &Shelf::with(&[&two])).unwrap();
    drive.unmount();
    let taken = std::mem::take(&mut *copies.taken.lock().unwrap());
    assert!(taken.len() >= 30, "only {} moments", taken.len());
    let mut states = BTreeMap::new();
    for (copy, what) in taken {
        drive.mount(&copy, "loop");
        let moment = format!("{}, before {what}", copy.display());
        *states.entry(names(&drive.root(), "layers").len()).or_insert(0) += 1;
        assert_recovers(&drive.root(), (&one, &two), &all, &moment);
        drive.unmount();
        fs::remove_file(copy).unwrap();
    }
    assert!(states.len() > 2, "the cuts were all at one moment: {states:?}");
}

#[test]
fn a_full_drive_keeps_the_good_image_and_is_mended() {
    let Some(drive) = Drive::new(48) else { return };
    let (one, two) = versions();
    let shelf = Shelf::with(&[&one, &two]);
    let store = open(&drive.root()).unwrap();
    store.keep(&[one.digest]).unwrap();
    let ready = ensure(&store, &one, &shelf).unwrap();
    store.acknowledged(&[one.digest]).unwrap();
    let reserve = drive.root().join("reserve");
    assert!(fs::metadata(&reserve).unwrap().blocks() * 512 >= 1 << 20);

    // Another program fills the drive to its last byte.
    let volume = drive.fill_up_to(0);
    let error = ensure(&store, &two, &shelf).unwrap_err();
    assert!(error.is_full() && error.is_of_drive(), "{error}");
    assert!(names(&drive.root(), "work").is_empty() && names(&drive.root(), "fetch").is_empty());
    // The last good one starts, in this boot and the next, and what is good can be noted.
    store.keep(&[two.digest, one.digest]).unwrap();
    store.mount(&ready, "gateway").unwrap().unmount().unwrap();
    drop(store);
    drive.fill_up_to(0);
    let store = open(&drive.root()).unwrap();
    store.keep(&[one.digest]).unwrap();
    ensure(&store, &one, &Nobody).unwrap();
    store.mount(&ready, "gateway").unwrap().unmount().unwrap();

    // There is room again, and the reserve comes back.
    fs::remove_file(volume).unwrap();
    store.keep(&[two.digest]).unwrap();
    ensure(&store, &two, &shelf).unwrap();
    store.acknowledged(&[two.digest]).unwrap();
    drop(store);
    assert_eq!(open(&drive.root()).unwrap().collect().unwrap().layers, 1);
    assert!(fs::metadata(&reserve).unwrap().blocks() * 512 >= 1 << 20);
}

#[test]
fn images_that_nobody_needs_make_room() {
    let Some(drive) = Drive::new(48) else { return };
    let noise = |seed: u64| {
        let bytes: Vec<u8> =
            (0..6 << 20).map(|n: u64| ((n * n + seed * 1_000_003) >> 5) as u8).collect();
        Image::new(&[Layer::new().entry(tar::EntryType::Regular, "noise", "", &bytes).tar()])
    };
    let images: Vec<_> = (0..3).map(noise).collect();
    let shelf = Shelf::with(&images.iter().collect::<Vec<_>>());
    let boot = |image: &Image| {
        let store = open(&drive.root()).unwrap();
        store.keep(&[image.digest]).unwrap();
        ensure(&store, image, &shelf).map(|_| store)
    };
    boot(&images[0]).unwrap().acknowledged(&[images[0].digest]).unwrap();
    drop(boot(&images[1]).unwrap());
    assert_eq!(names(&drive.root(), "layers").len(), 2);
    drive.fill_up_to(12 << 20);
    drop(boot(&images[2]).unwrap());
    let there = names(&drive.root(), "layers");
    assert!(there.contains(&images[0].layers[0].hex()), "the good one is gone");
    assert!(!there.contains(&images[1].layers[0].hex()), "the failed one is still there");
    ensure(&open(&drive.root()).unwrap(), &images[0], &Nobody).unwrap();
    // A bomb leaves no more behind.
    let zeros = Image::new(&[Layer::new()
        .entry(tar::EntryType::Regular, "bomb", "", &vec![7; 40 << 20])
        .gzip()]);
    let store = open(&drive.root()).unwrap();
    store.keep(&[images[2].digest]).unwrap();
    let error = ensure(&store, &zeros, &Shelf::with(&[&zeros])).unwrap_err();
    assert!(error.is_full(), "{error}");
    assert!(store.room().unwrap().free > 2 << 20);
    ensure(&store, &images[0], &Nobody).unwrap();
}

#[test]
fn a_read_only_drive_is_told_as_such_and_stays_what_it_is() {
    let Some(drive) = Drive::new(24) else { return };
    let (one, two) = versions();
    let store = open(&drive.root()).unwrap();
    store.keep(&[one.digest]).unwrap();
    ensure(&store, &one, &Shelf::with(&[&one])).unwrap();
    drop(store);
    run("mount", &["-o", "remount,ro", drive.top().to_str().unwrap()]);
    let store = open(&drive.root()).unwrap();
    store.keep(&[one.digest]).unwrap();
    let ready = ensure(&store, &one, &Nobody).unwrap();
    assert_eq!(store.collect().unwrap().layers, 0);
    // The agent takes memory in place of the drive, or restarts.
    let error = store.mount(&ready, "gateway").unwrap_err();
    assert!(matches!(error, Error::ReadOnly { .. }) && error.is_of_drive(), "{error}");
    let error = ensure(&store, &two, &Shelf::with(&[&two])).unwrap_err();
    assert!(matches!(error, Error::ReadOnly { .. }) && error.is_of_drive(), "{error}");
}

/// A drive that turns read-only because it fails, in the middle of a pull.
#[test]
fn a_drive_that_fails_in_the_middle_is_told_as_such() {
    let Some(drive) = Drive::new(24) else { return };
    drive.unmount();
    drive.mount(&drive.image(), "loop,errors=remount-ro");
    let source = Command::new("findmnt").args(["-no", "SOURCE"]).arg(drive.top()).output().unwrap();
    let source = String::from_utf8(source.stdout).unwrap();
    let name = source.trim().strip_prefix("/dev/").unwrap();
    struct Fails(String, AtomicU64);
    impl Steps for Fails {
        fn before(&self, _: &'static str) -> io::Result<()> {
            if self.1.fetch_add(1, Ordering::Relaxed) == 40 {
                fs::write(&self.0, "injected by a test").unwrap();
            }
            Ok(())
        }
    }
    let (one, two) = versions();
    let shelf = Shelf::with(&[&one, &two]);
    let store = open(&drive.root()).unwrap();
    store.keep(&[one.digest]).unwrap();
    ensure(&store, &one, &shelf).unwrap();
    store.acknowledged(&[one.digest]).unwrap();
    drop(store);
    let trigger = format!("/sys/fs/ext4/{name}/trigger_fs_error");
    let steps = Arc::new(Fails(trigger, AtomicU64::new(0)));
    let error = update(&drive.root(), steps, &two, &shelf).unwrap_err();
    assert!(error.is_of_drive(), "{error}");
    // What was on it can still be had.
    ensure(&open(&drive.root()).unwrap(), &one, &Nobody).unwrap();
}

/// A drive in memory: bounded by its size, without a reserve.
#[test]
fn a_drive_in_memory_is_bounded() {
    if !made::is_root() {
        return;
    }
    apart();
    let dir = tempfile::tempdir().unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=16m", "none", dir.path().to_str().unwrap()]);
    let (one, _) = versions();
    let store = open(dir.path()).unwrap();
    let ready = ensure(&store, &one, &Shelf::with(&[&one])).unwrap();
    store.mount(&ready, "gateway").unwrap().unmount().unwrap();
    assert!(!dir.path().join("reserve").exists());
    let bomb = Layer::new().entry(tar::EntryType::Regular, "b", "", &vec![7; 30 << 20]).gzip();
    let bomb = Image::new(&[bomb]);
    let error = ensure(&store, &bomb, &Shelf::with(&[&bomb])).unwrap_err();
    assert!(error.is_full() && names(dir.path(), "work").is_empty(), "{error}");
    ensure(&store, &one, &Nobody).unwrap();
    drop(store);
    run("umount", &["-l", dir.path().to_str().unwrap()]);
}
