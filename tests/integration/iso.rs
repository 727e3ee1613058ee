//! Boot images, as the program makes them.

mod seal;
mod verify;

use std::process::Command;
use std::process::Output;

use tempfile::TempDir;

use crate::reroot::stock_dir;

/// DESIGN: at most 1.7 MiB with Debian's iPXE.
const MOST: u64 = 17 * 1024 * 1024 / 10;

/// A state with one gateway, in a folder of its own.
struct Farm {
    dir: TempDir,
}

impl Farm {
    fn new() -> Self {
        Self::with_key_type("rsa2048")
    }

    fn with_key_type(key_type: &str) -> Self {
        let farm = Self { dir: TempDir::new().unwrap() };
        let url = "https://boot.example.org";
        farm.ok(&["init", "--url", url, "--key-type", key_type]);
        farm.ok(&["gateway", "add", "lab-1"]);
        farm
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_farmgate"))
            .current_dir(&self.dir)
            .env("FARMGATE_IPXE", stock_dir())
            .env_remove("FARMGATE_STATE")
            .arg("--state")
            .arg(self.path("state"))
            .args(args)
            .output()
            .unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Fails with one line, which is given back.
    fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?} did not fail as it should");
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(line.lines().count(), 1, "{line}");
        line
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn verified(&self, name: &str) -> serde_json::Value {
        serde_json::from_str(&self.ok(&["--json", "iso", "verify", name])).unwrap()
    }
}

/// The PEM files of a gateway in a farm's state.
fn pem(farm: &Farm, gateway: &str, end: &str) -> String {
    let mut files = std::fs::read_dir(farm.path(&format!("state/gateways/{gateway}"))).unwrap();
    let file = files.find_map(|f| f.ok().filter(|f| f.path().to_string_lossy().ends_with(end)));
    file.unwrap().path().to_str().unwrap().to_owned()
}

/// The same without a state: a machine that only seals.
fn seal_elsewhere(farm: &Farm, args: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_farmgate"))
        .current_dir(&farm.dir)
        .args(["--state", "/nonexistent", "iso", "seal"])
        .args(args)
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn an_image_says_what_is_on_it_and_keeps_its_key_to_itself() {
    let farm = Farm::new();
    farm.ok(&["iso", "make", "lab-1"]);
    let report = farm.verified("lab-1.iso");
    assert_eq!(report["identity"]["subject"], "CN=lab-1");
    assert_eq!(report["identity"]["key_fits"], true);
    assert_eq!(report["root_is_this_ca"], true);
    assert_eq!(report["urls"][0], "https://boot.example.org");
    let starts = serde_json::json!(["bios-cd", "uefi-cd", "bios-usb", "uefi-usb"]);
    assert_eq!(report["starts"], starts);
    let image = std::fs::metadata(farm.path("lab-1.iso")).unwrap();
    assert!(image.len() <= MOST, "{} bytes", image.len());
    let mode = std::os::unix::fs::PermissionsExt::mode(&image.permissions());
    assert_eq!(mode & 0o777, 0o600, "it holds a private key");
    let text = farm.ok(&["iso", "verify", "lab-1.iso"]);
    for word in ["PRIVATE", "privkey", "MII"] {
        assert!(!text.contains(word) && !report.to_string().contains(word));
    }
    // Without a state, everything but whose root it is.
    let bare = Command::new(env!("CARGO_BIN_EXE_farmgate"))
        .args(["--state", "/nonexistent", "--json", "iso", "verify"])
        .arg(farm.path("lab-1.iso"))
        .output()
        .unwrap();
    let bare: serde_json::Value = serde_json::from_slice(&bare.stdout).unwrap();
    assert_eq!(bare["root_is_this_ca"], serde_json::Value::Null);
    assert_eq!(bare["identity"]["subject"], "CN=lab-1");
}

/// Whoever stands in front of a gateway sees whose it is, and whom to call.
#[test]
fn the_medium_names_its_gateway_and_a_contact() {
    let farm = Farm::new();
    let named =
        |file: &str, text: &str| memchr::memmem::find(&farm.bytes(file), text.as_bytes()).is_some();
    farm.ok(&["iso", "make", "lab-1", "-o", "nobody.iso"]);
    assert!(named("nobody.iso", "\nset fg-name lab-1 ||\n"));
    assert!(!named("nobody.iso", "\nset fg-contact"));
    let config = farm.path("state/farmgate.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let called = text.replace("[media]\n", "[media]\ncontact = \"farm team, +49 30 1234\"\n");
    assert_ne!(called, text);
    std::fs::write(&config, called).unwrap();
    farm.ok(&["iso", "make", "lab-1", "-o", "team.iso"]);
    assert!(named("team.iso", "\nset fg-contact farm team, +49 30 1234 ||\n"));
    farm.ok(&["iso", "make", "lab-1", "-o", "other.iso", "--contact", "room 101"]);
    assert!(named("other.iso", "\nset fg-contact room 101 ||\n"));
    assert_eq!(
        farm.run(&["iso", "make", "lab-1", "--contact", "${privkey}"]).status.code(),
        Some(2)
    );
}

/// Another day, another folder, another umask, without the cache.
#[test]
fn the_same_input_gives_the_same_bytes() {
    let farm = Farm::new();
    farm.ok(&["iso", "make", "lab-1"]);
    farm.ok(&["iso", "make", "lab-1", "-o", "cached.iso"]);
    std::fs::remove_dir_all(farm.path("state/cache")).unwrap();
    std::fs::create_dir(farm.path("state/cache")).unwrap();
    std::fs::create_dir(farm.path("elsewhere")).unwrap();
    let later = crate::clock::shifted("+400d").unwrap_or_default();
    let status = Command::new(env!("CARGO_BIN_EXE_farmgate"))
        .envs(later)
        .current_dir(farm.path("elsewhere"))
        .env("FARMGATE_IPXE", stock_dir())
        .env("TZ", "Asia/Tokyo")
        .env("LC_ALL", "C")
        .env("USER", "somebody")
        .args(["--state", &farm.path("state"), "iso", "make", "lab-1"])
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(farm.bytes("lab-1.iso"), farm.bytes("cached.iso"));
    assert_eq!(farm.bytes("lab-1.iso"), farm.bytes("elsewhere/lab-1.iso"));
}

#[test]
fn what_is_no_image_is_refused_and_what_stood_there_stays() {
    let farm = Farm::new();
    farm.ok(&["iso", "make", "lab-1", "-o", "good.iso"]);
    let good = farm.bytes("good.iso");
    let slot = memchr::memmem::find(&good, b"slot 1 begins").unwrap();
    let twice = [good.as_slice(), b"# farmgate slot 1 begins\n"].concat();
    let mut damaged = good.clone();
    damaged[slot + 8192 + 30] ^= 1;
    let mut no_slot = good.clone();
    no_slot[slot] ^= 1;
    for (name, bytes, reason) in [
        ("empty", &b""[..], "not an ISO 9660 image"),
        ("foreign", b"hello", "not an ISO 9660 image"),
        ("cut", &good[..good.len() - 5000], "truncated"),
        ("slotless", &no_slot, "no slot"),
        ("doubled", &twice, "more than one slot"),
        ("damaged", &damaged, "slot is damaged"),
    ] {
        farm.write(name, bytes);
        farm.write("out.iso", b"what stood there");
        let line = farm.refused(&["iso", "seal", name, "--gateway", "lab-1", "-o", "out.iso"]);
        assert!(line.contains(name) && line.contains(reason), "{name}: {line}");
        assert_eq!(farm.bytes("out.iso"), b"what stood there");
        let line = farm.refused(&["iso", "verify", name]);
        assert!(line.contains(name), "{name}: {line}");
    }
    farm.ok(&["iso", "seal", "good.iso", "--gateway", "lab-1", "-o", "out.iso"]);
    assert_eq!(farm.bytes("out.iso"), good);
}

#[test]
fn a_p256_farm_needs_an_ipxe_that_can() {
    let farm = Farm::with_key_type("p256");
    let kernel = std::fs::read(stock_dir().join("ipxe.lkrn")).unwrap();
    let binary = farmgate::ipxe::Binary::read(farmgate::ipxe::Kind::Bios, &kernel).unwrap();
    let able = binary.has_ecdsa();
    let version = binary.version().unwrap();
    assert_eq!(able, !version.starts_with("1."), "{version}");
    if able {
        farm.ok(&["iso", "make", "lab-1"]);
        assert_eq!(farm.verified("lab-1.iso")["ecdsa"], true);
    } else {
        let line = farm.refused(&["iso", "make", "lab-1"]);
        assert!(line.contains("iPXE 2.0 or later") && line.contains(&version), "{line}");
        // Nor can it be sealed into an image of an RSA farm.
        let rsa = Farm::new();
        rsa.ok(&["iso", "base", "-o", "base.iso"]);
        let base = rsa.path("base.iso");
        let line = farm.refused(&["iso", "seal", &base, "--gateway", "lab-1", "-o", "x.iso"]);
        assert!(line.contains("iPXE 2.0 or later"), "{line}");
    }
}

#[test]
fn what_is_missing_is_named_with_its_package() {
    let farm = Farm::new();
    std::fs::create_dir(farm.path("nothing")).unwrap();
    for (flag, package) in [("--ipxe", "package ipxe"), ("--syslinux", "package isolinux")] {
        let line = farm.refused(&["iso", "make", "lab-1", flag, "nothing"]);
        assert!(line.contains(package) && line.contains(flag), "{line}");
    }
    let line = farm.refused(&["iso", "make", "lab-1", "--ipxe", "nothing"]);
    assert!(line.contains("trixie"), "{line}");
    let bare = Command::new(env!("CARGO_BIN_EXE_farmgate"))
        .args(["--state", &farm.path("state"), "iso", "make", "lab-1"])
        .args(["--ipxe-source", &farm.path("nothing"), "-o", &farm.path("x.iso")])
        .env_remove("FARMGATE_IPXE")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&bare.stderr).contains("not an iPXE source tree"));
}

#[test]
fn the_script_follows_the_flags() {
    let farm = Farm::new();
    let script = |extra: &[&str]| {
        farm.ok(&[&["iso", "base", "-o", "base.iso"], extra].concat());
        let image = farm.bytes("base.iso");
        let start = memchr::memmem::find(&image, b"#!ipxe\n").unwrap();
        String::from_utf8_lossy(&image[start..start + 16_000]).into_owned()
    };
    let plain = script(&[]);
    assert!(plain.contains("\nifconf -c dhcp ") && !plain.contains("\nshell"));
    let two = script(&["--url", "https://a.example", "--url", "https://b.example:8443"]);
    assert!(
        two.find("chain --timeout 30000 https://a.example/boot/ipxe").unwrap()
            < two.find("chain --timeout 30000 https://b.example:8443/boot/ipxe").unwrap()
    );
    assert!(!two.contains("boot.example.org"));
    assert!(script(&["--ntp", "time.example"]).contains("\nntp time.example || "));
    assert!(!script(&["--ntp", "none"]).contains("\nntp "));
    assert!(script(&["--debug"]).contains("\nshell ||"));
    let fixed = script(&["--address", "192.0.2.9/24", "--router", "192.0.2.1"]);
    assert!(fixed.contains("/gateway 192.0.2.1 ||") && !fixed.contains("\ndhcp "));
    for bad in
        [["--url", "http://a.example"], ["--url", "https://a/${x}"], ["--address", "1.2.3.4"]]
    {
        let output = farm.run(&["iso", "base", "-o", "x.iso", bad[0], bad[1]]);
        assert_eq!(output.status.code(), Some(2), "{bad:?}");
    }
}

/// A derivation has no state: the CA's certificate and the address are all it knows.
#[test]
fn a_base_image_needs_no_state() {
    let farm = Farm::new();
    farm.ok(&["iso", "base", "--ntp", "none", "-o", &farm.path("with.iso")]);
    std::fs::rename(farm.path("state"), farm.path("elsewhere")).unwrap();
    let (ca, output) = (farm.path("elsewhere/pki/ca.crt"), farm.path("without.iso"));
    let args = ["iso", "base", "--ca", &ca, "--ntp", "none", "-o", &output];
    let url = ["--url", "https://boot.example.org"];
    farm.ok(&[&args[..], &url].concat());
    assert!(farm.bytes("with.iso") == farm.bytes("without.iso"));
    assert!(farm.refused(&args).contains("give --url"));
}
