//! The identity in an image: which one, whose, and when it is refused.

use std::path::Path;
use std::process::Command;

use super::Farm;
use super::pem;
use super::seal_elsewhere;

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
