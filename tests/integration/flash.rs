//! Images on disks: loop devices of the kernel's, and what is written to them and what is not.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use crate::common::TestState;
use crate::common::skip;
use crate::json;
use crate::reroot::stock_dir;
use crate::terminal;
use crate::terminal::on_terminal;

const MIB: u64 = 1024 * 1024;

/// Runs a program, which must succeed, and returns what it printed.
#[track_caller]
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A disk of the kernel's whose content is a file. It is gone with the test.
struct Loop {
    device: String,
}

impl Loop {
    fn new(file: &Path) -> Option<Self> {
        let args = ["--find", "--show", "--partscan"];
        let made = Command::new("losetup").args(args).arg(file).output().unwrap();
        if !made.status.success() {
            let why = String::from_utf8_lossy(&made.stderr);
            skip("flashing a disk", &format!("there are no loop devices: {}", why.trim()));
            return None;
        }
        Some(Self { device: String::from_utf8(made.stdout).unwrap().trim().to_owned() })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.device]).status();
    }
}

/// A state with a gateway's image, and a folder for disks.
struct Farm {
    state: TestState,
    image: PathBuf,
}

impl Farm {
    fn new() -> Self {
        let mut state = TestState::with_gateway();
        state.env.push(("FARMGATE_IPXE".into(), stock_dir().into()));
        let image = state.dir().parent().unwrap().join("lab-1.iso");
        state.ok(&["iso", "make", "lab-1", "-o", image.to_str().unwrap()]);
        Self { state, image }
    }

    fn image(&self) -> &str {
        self.image.to_str().unwrap()
    }

    fn file(&self, name: &str, size: u64) -> PathBuf {
        let path = self.state.dir().parent().unwrap().join(name);
        File::create(&path).unwrap().set_len(size).unwrap();
        path
    }

    fn disk(&self, name: &str, size: u64) -> Option<Loop> {
        Loop::new(&self.file(name, size))
    }

    fn refused(&self, device: &str, more: &[&str]) -> String {
        let args = [&["iso", "flash", self.image(), device, "--yes"], more].concat();
        self.state.fails(&args)
    }
}

/// True for the test's user, who else could not have a disk.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("flashing a disk", "only root may make loop devices");
    }
    root
}

#[test]
fn an_image_is_on_the_disk_and_the_rest_of_the_disk_is_as_before() {
    if !is_root() {
        return;
    }
    let farm = Farm::new();
    let (size, image) = (16 * MIB, std::fs::read(&farm.image).unwrap());
    let path = farm.file("stick", size);
    let content = File::options().write(true).open(&path).unwrap();
    content.write_all_at(&vec![0xee; size as usize], 0).unwrap();
    // The copy of an older partition table is all that is changed besides.
    content.write_all_at(b"EFI PART", size - 512).unwrap();
    let Some(disk) = Loop::new(&path) else { return };
    let error = farm.refused(&disk.device, &[]);
    assert!(error.contains("is not removable (unknown model, 16.78 MB"), "{error}");
    assert!(std::fs::read(&path).unwrap()[..512].iter().all(|byte| *byte == 0xee));

    // A partition is no place for an image, and says which disk is.
    run("addpart", &[&disk.device, "7", "2048", "4096"]);
    let partition = format!("{}p7", disk.device);
    let error = farm.refused(&partition, &["--force"]);
    assert!(error.contains(&format!("give the whole disk, {}", disk.device)), "{error}");

    let args = ["--json", "iso", "flash", farm.image(), &disk.device, "--force", "--yes"];
    let facts: serde_json::Value = serde_json::from_str(&farm.state.ok(&args)).unwrap();
    assert_eq!(facts["device"], disk.device);
    json::hold("iso flash", std::slice::from_ref(&facts));
    assert_eq!(facts["identity"]["subject"], "CN=lab-1");
    assert_eq!(facts["size"], image.len());
    assert_eq!(facts["compared"], true);
    assert_eq!(facts["cleared_old_table"], true);

    run("sync", &[path.to_str().unwrap()]);
    let disk_now = std::fs::read(&path).unwrap();
    let (end, padded) = (size as usize - 512, image.len().next_multiple_of(512));
    assert!(disk_now[..image.len()] == image, "the image is not on the disk");
    assert!(disk_now[padded..end].iter().all(|byte| *byte == 0xee), "more was written");
    assert!(disk_now[end..].iter().all(|byte| *byte == 0), "the old table is still there");

    // Others see it too: our own reader, and the kernel, which read the partition table again.
    let verified = farm.state.ok(&["iso", "verify", &disk.device]);
    assert!(verified.contains("CN=lab-1"), "{verified}");
    assert!(!Path::new(&partition).exists(), "{partition}: the table was not read again");
}

/// None of these is allowed by --force, and each leaves the disk as it is.
#[test]
fn a_disk_in_use_and_one_that_does_not_fit_are_left_alone() {
    if !is_root() {
        return;
    }
    let farm = Farm::new();
    let Some(disk) = farm.disk("mounted", 16 * MIB) else { return };
    run("mkfs.ext4", &["-q", &disk.device]);
    let place = tempfile::tempdir().unwrap();
    let place_name = place.path().to_str().unwrap();
    run("mount", &[&disk.device, place_name]);
    let error = farm.refused(&disk.device, &["--force"]);
    // What is below a mounted disk is not the state's.
    std::fs::write(place.path().join("image.iso"), std::fs::read(&farm.image).unwrap()).unwrap();
    let inside = place.path().join("image.iso");
    let args = ["iso", "flash", inside.to_str().unwrap(), &disk.device, "--yes", "--force"];
    let same = farm.state.fails(&args);
    run("umount", &[place_name]);
    assert!(error.contains(&format!("is mounted on {place_name} (umount")), "{error}");
    assert!(same.contains("is the disk that holds the image"), "{same}");
    run("fsck.ext4", &["-fn", &disk.device]);

    run("mkswap", &[&disk.device]);
    if Command::new("swapon").arg(&disk.device).status().unwrap().success() {
        let error = farm.refused(&disk.device, &["--force"]);
        run("swapoff", &[&disk.device]);
        assert!(error.contains("is swap (swapoff"), "{error}");
    } else {
        skip("swap on a disk", "swapon is refused here");
    }

    // Somebody has it alone, whom no list of the kernel's names.
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::EXCL;
    let held = rustix::fs::open(&disk.device, flags, rustix::fs::Mode::empty()).unwrap();
    let error = farm.refused(&disk.device, &["--force"]);
    drop(held);
    assert!(error.contains("is in use: the kernel does not say by whom"), "{error}");

    run("blockdev", &["--setro", &disk.device]);
    let error = farm.refused(&disk.device, &["--force"]);
    assert!(error.contains("is read-only"), "{error}");
    run("blockdev", &["--setrw", &disk.device]);

    let Some(small) = farm.disk("small", MIB) else { return };
    let error = farm.refused(&small.device, &["--force"]);
    assert!(error.contains("is too small: it has 1.05 MB, and the image 1."), "{error}");

    // It works where none of that is the case.
    farm.state.ok(&["iso", "flash", farm.image(), &disk.device, "--force", "--yes"]);
}

#[test]
fn only_images_that_boot_are_written() {
    if !is_root() {
        return;
    }
    let farm = Farm::new();
    let Some(disk) = farm.disk("stick", 16 * MIB) else { return };
    let flash = |file: &str, more: &[&str]| {
        let args = [&["iso", "flash", file, &disk.device, "--yes"], more].concat();
        farm.state.run(&args)
    };
    let error = |output: Output| {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let (other, base) = (farm.file("other", MIB), farm.state.dir().parent().unwrap().join("base"));
    let (other, base) = (other.to_str().unwrap(), base.to_str().unwrap());
    farm.state.ok(&["iso", "base", "-o", base]);
    let text = error(flash(other, &[]));
    assert!(text.contains("not an ISO 9660 image"), "{text}");
    let text = error(flash(base, &[]));
    assert!(text.contains("its slot is empty, seal it first"), "{text}");
    for file in [other, base] {
        assert!(flash(file, &["--force"]).status.success(), "{file}");
    }
    let text = error(farm.state.run(&["iso", "flash", farm.image(), "/dev/null", "--yes"]));
    assert!(text.contains("/dev/null is no disk"), "{text}");
    let text = error(farm.state.run(&["iso", "flash", farm.image(), &disk.device, "--force"]));
    assert!(text.contains("Nobody can be asked here: add --yes"), "{text}");
}

/// A disk that takes no more in the middle: its file is on a file system that is full.
#[test]
fn a_disk_that_fails_in_the_middle_gives_one_error() {
    if !is_root() {
        return;
    }
    let farm = Farm::new();
    let full = tempfile::tempdir().unwrap();
    let place = full.path().to_str().unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=512k", "tmpfs", place]);
    let file = full.path().join("stick");
    File::create(&file).unwrap().set_len(16 * MIB).unwrap();
    let disk = Loop::new(&file);
    let error = disk.as_ref().map(|disk| farm.refused(&disk.device, &["--force"]));
    drop(disk);
    run("umount", &["--lazy", place]);
    let Some(error) = error else { return };
    assert!(error.contains("was not written: take another"), "{error}");
    assert!(error.contains("it fails to write at byte"), "{error}");
}

/// The question names the disk, and only a yes is one.
#[test]
fn a_person_is_asked_and_may_say_no() {
    if !is_root() {
        return;
    }
    let farm = Farm::new();
    let Some(disk) = farm.disk("stick", 16 * MIB) else { return };
    let command = format!(
        "{} --state {} iso flash {} {} --force",
        crate::common::BIN,
        farm.state.dir().display(),
        farm.image(),
        disk.device
    );
    let answer = |text: &str| {
        let mut command = on_terminal(&command);
        command.env("FARMGATE_IPXE", stock_dir());
        terminal::answered(command, text)
    };
    let (status, text) = answer("n\n");
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains(&format!("{}: unknown model, 16.78 MB", disk.device)), "{text}");
    assert!(
        text.contains("Everything on it is lost. Write ") && text.contains("CN=lab-1"),
        "{text}"
    );
    assert!(text.contains("nothing was changed"), "{text}");
    let empty = farm.state.run(&["iso", "verify", &disk.device]);
    assert_eq!(empty.status.code(), Some(1));
    let (status, text) = answer("y\n");
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("read back and compared"), "{text}");
    farm.state.ok(&["iso", "verify", &disk.device]);
}
