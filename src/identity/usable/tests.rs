//! The certificates here are made by openssl, the way operators make them. Each refused one was
//! tried with iPXE and never booted.

use std::path::PathBuf;
use std::process::Command;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A directory in which openssl makes certificates.
struct Pki {
    dir: TempDir,
}

/// The extension that `openssl req -x509` adds by itself, and that farmgate's own CA has.
const CA: &str = "basicConstraints=critical,CA:true";

impl Pki {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // An empty configuration adds no extensions.
        std::fs::write(dir.path().join("empty.cnf"), "[req]\ndistinguished_name=dn\n[dn]\n")
            .unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    #[track_caller]
    fn openssl(&self, words: &str, more: &[&str]) {
        let output = Command::new("openssl")
            .current_dir(self.dir.path())
            .args(words.split_whitespace())
            .args(more)
            .output()
            .expect("openssl is needed for this test");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn der(&self, name: &str) -> Vec<u8> {
        let pem = std::fs::read(self.path(name)).unwrap();
        pem::parse(pem).unwrap().into_contents()
    }

    /// Runs `openssl req -x509` with these extensions. Certificate and key are `NAME.crt` and
    /// `NAME.key`.
    #[track_caller]
    fn ca(&self, name: &str, key: &str, extensions: &[&str], more: &str) -> Vec<u8> {
        let mut added = Vec::new();
        for extension in extensions {
            added.extend(["-addext", extension]);
        }
        self.openssl(
            &format!(
                "req -x509 -config empty.cnf -newkey {key} -nodes -subj /CN={name} -days 99 \
                 -keyout {name}.key -out {name}.crt {more}"
            ),
            &added,
        );
        self.der(&format!("{name}.crt"))
    }

    /// Makes a version 1 certificate, as `openssl ca` and `openssl x509 -req` do without
    /// extensions, up to OpenSSL 3.1. It is signed by `issuer`, or self-signed.
    fn v1(&self, name: &str, issuer: Option<&str>) -> Vec<u8> {
        let by = issuer.map_or(String::new(), |by| format!("-CA {by}.crt -CAkey {by}.key"));
        let help = Command::new("openssl").args(["req", "-help"]).output().unwrap();
        let later = String::from_utf8_lossy(&help.stderr).contains("-x509v1");
        self.ca(name, "rsa:2048", &[], &format!("{by} {}", if later { "-x509v1" } else { "" }))
    }

    /// Signs a certificate with `issuer` by `openssl x509 -req`.
    #[track_caller]
    fn signed(&self, name: &str, issuer: &str, key: &str, extensions: &str, more: &str) -> Vec<u8> {
        self.openssl(
            &format!(
                "req -new -config empty.cnf -newkey {key} -nodes -subj /CN={name} \
                 -keyout {name}.key -out {name}.csr"
            ),
            &[],
        );
        let signing = format!(
            "x509 -req -in {name}.csr -CA {issuer}.crt -CAkey {issuer}.key -days 99 \
             -CAcreateserial -out {name}.crt {more}"
        );
        if extensions.is_empty() {
            self.openssl(&signing, &[]);
        } else {
            std::fs::write(self.path("extensions"), extensions).unwrap();
            self.openssl(&format!("{signing} -extfile extensions"), &[]);
        }
        self.der(&format!("{name}.crt"))
    }
}

const P256_KEY: &str = "ec -pkeyopt ec_paramgen_curve:P-256";
const P384_KEY: &str = "ec -pkeyopt ec_paramgen_curve:P-384";

/// All of these but the first used to be accepted as the root of media.
#[test]
fn a_ca() {
    let pki = Pki::new();
    let rsa =
        |name, extensions: &[&str], more| usable_ca(&pki.ca(name, "rsa:2048", extensions, more));
    assert_eq!(rsa("good", &[CA], ""), Ok(Kind::Rsa));
    assert_eq!(rsa("sha512", &[CA], "-sha512"), Ok(Kind::Rsa));
    let usage = "keyUsage=critical,keyCertSign,cRLSign";
    assert_eq!(rsa("usage", &[CA, usage], ""), Ok(Kind::Rsa));
    let names = "nameConstraints=permitted;DNS:example.org";
    assert_eq!(rsa("names", &[CA, names], ""), Ok(Kind::Rsa));
    assert_eq!(usable_ca(&pki.ca("p256", P256_KEY, &[CA], "")), Ok(Kind::Ecdsa));
    assert_eq!(usable_ca(&pki.ca("rsa4096", "rsa:4096", &[CA], "")), Ok(Kind::Rsa));

    assert_eq!(rsa("none", &["keyUsage=keyCertSign"], ""), Err(Unusable::NotCa));
    assert_eq!(rsa("false", &["basicConstraints=CA:false"], ""), Err(Unusable::NotCa));
    assert_eq!(rsa("crl", &[CA, "keyUsage=cRLSign"], ""), Err(Unusable::NoCertSign));
    let critical = "nameConstraints=critical,permitted;DNS:example.org";
    let extension = "nameConstraints".to_owned();
    assert_eq!(rsa("critical", &[CA, critical], ""), Err(Unusable::Critical { extension }));
    let signature = |name: &str| Err(Unusable::Signature { algorithm: name.to_owned() });
    assert_eq!(rsa("pss", &[CA], "-sigopt rsa_padding_mode:pss"), signature("RSASSA-PSS"));
    assert_eq!(rsa("md5", &[CA], "-md5"), signature("RSA with MD5"));
    assert_eq!(rsa("sha1", &[CA], "-sha1"), signature("RSA with SHA-1"));
    assert_eq!(usable_ca(&pki.ca("ed", "ed25519", &[CA], "")), signature("Ed25519"));
    let key = |name: &str| Err(Unusable::Key { key: name.to_owned() });
    let p384 = pki.ca("p384", P384_KEY, &[CA], "-sha384");
    assert_eq!(usable_ca(&p384), key("ECDSA P-384 (secp384r1)"));
    assert_eq!(usable_ca(&pki.ca("small", "rsa:1024", &[CA], "")), key("RSA with 1024 bits"));
    assert_eq!(usable_ca(&pki.v1("v1", None)), Err(Unusable::Version { version: 1 }));
}

/// iPXE signs its handshake with the algorithm of the CA's signature.
#[test]
fn a_gateways_certificate() {
    let pki = Pki::new();
    let (_, p256) = (pki.ca("rsa", "rsa:2048", &[CA], ""), pki.ca("p256", P256_KEY, &[CA], ""));
    let use_of = "extendedKeyUsage=clientAuth";
    assert_eq!(usable_client(&pki.signed("a", "rsa", "rsa:2048", use_of, "")), Ok(()));
    assert_eq!(usable_client(&pki.signed("b", "p256", P256_KEY, use_of, "")), Ok(()));
    // This is what valve-infra issues.
    let v1 = pki.v1("c", Some("rsa"));
    assert_eq!(read(&v1).unwrap().version(), X509Version::V1);
    assert_eq!(usable_client(&v1), Ok(()));

    let other = |key, issuer| Err(Unusable::OtherKind { key, issuer });
    let crossed = pki.signed("d", "rsa", P256_KEY, use_of, "");
    assert_eq!(usable_client(&crossed), other(Kind::Ecdsa, Kind::Rsa));
    let crossed = pki.signed("e", "p256", "rsa:2048", use_of, "");
    assert_eq!(usable_client(&crossed), other(Kind::Rsa, Kind::Ecdsa));
    let pss = pki.signed("f", "rsa", "rsa:2048", use_of, "-sigopt rsa_padding_mode:pss");
    let algorithm = "RSASSA-PSS".to_owned();
    assert_eq!(usable_client(&pss), Err(Unusable::Signature { algorithm }));
    let ed = pki.signed("g", "rsa", "ed25519", use_of, "");
    assert_eq!(usable_client(&ed), Err(Unusable::Key { key: "Ed25519".to_owned() }));
    let policies = "certificatePolicies=critical,1.2.3.4";
    let extension = "certificatePolicies".to_owned();
    let critical = pki.signed("h", "rsa", "rsa:2048", policies, "");
    assert_eq!(usable_client(&critical), Err(Unusable::Critical { extension }));
    // The same applies to a key alone.
    let public_key = |der: &[u8]| read(der).unwrap().public_key().raw.to_vec();
    assert_eq!(usable_client_key(&public_key(&v1), &pki.der("rsa.crt")), Ok(()));
    assert_eq!(
        usable_client_key(&public_key(&v1), &p256),
        Err(Unusable::OtherKind { key: Kind::Rsa, issuer: Kind::Ecdsa })
    );
}

/// Only the leaf used to be checked, whatever else was sent with it.
#[test]
fn a_server_chain() {
    let pki = Pki::new();
    let root = pki.ca("root", "rsa:2048", &[CA], "");
    let ca = "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign";
    let middle = pki.signed("middle", "root", "rsa:2048", ca, "");
    let server = "extendedKeyUsage=serverAuth\nsubjectAltName=DNS:boot.example.org";
    let leaf = pki.signed("leaf", "middle", "rsa:2048", server, "");
    let direct = pki.signed("direct", "root", "rsa:2048", server, "");
    let judge = |chain: &[&Vec<u8>]| usable_chain(chain, &root);
    assert_eq!(judge(&[&direct, &root]), Ok(()));
    assert_eq!(judge(&[&leaf, &middle, &root]), Ok(()));
    // Certificates after the root are ignored.
    assert_eq!(judge(&[&direct, &root, &middle]), Ok(()));

    assert_eq!(judge(&[&direct]), Err(Unusable::NoRoot));
    assert_eq!(judge(&[&leaf, &middle]), Err(Unusable::NoRoot));
    assert_eq!(judge(&[]), Err(Unusable::NoRoot));
    assert_eq!(judge(&[&root, &direct]), Err(Unusable::NoServer));
    assert_eq!(judge(&[&leaf, &root]), Err(Unusable::OutOfOrder { at: 2 }));
    assert_eq!(judge(&[&direct, &middle, &root]), Err(Unusable::OutOfOrder { at: 2 }));
    let ocsp = format!("{server}\nauthorityInfoAccess=OCSP;URI:http://ocsp.example.org");
    let asks = pki.signed("asks", "root", "rsa:2048", &ocsp, "");
    assert_eq!(judge(&[&asks, &root]), Err(Unusable::Ocsp));

    // farmgate's own CA has this extension too: it signs no intermediate CAs.
    let zero = pki.ca("zero", "rsa:2048", &["basicConstraints=critical,CA:true,pathlen:0"], "");
    let below = pki.signed("below", "zero", "rsa:2048", ca, "");
    let leaf = pki.signed("leaf2", "below", "rsa:2048", server, "");
    let direct = pki.signed("direct2", "zero", "rsa:2048", server, "");
    assert_eq!(usable_chain(&[&direct, &zero], &zero), Ok(()));
    let too_long = usable_chain(&[&leaf, &below, &zero], &zero);
    assert_eq!(too_long, Err(Unusable::PathLen { at: 3 }));
    let no_ca = pki.signed("no-ca", "root", "rsa:2048", "basicConstraints=CA:false", "");
    let leaf = pki.signed("leaf3", "no-ca", "rsa:2048", server, "");
    assert_eq!(judge(&[&leaf, &no_ca, &root]), Err(Unusable::NotCa));
}

/// iPXE reads a clock of 1980 as 2080. Some clocks restart in 2000.
#[test]
fn clocks_without_a_battery() {
    use crate::identity::pki::Authority;
    use crate::identity::pki::KeyType;
    use crate::identity::pki::NO_END;
    let der = |end| {
        let ca = Authority::create("CA", KeyType::P256, end).unwrap();
        pem::parse(ca.certificate_pem).unwrap().into_contents()
    };
    assert_eq!(survives_any_clock(&der(NO_END)), Ok(()));
    let end = OffsetDateTime::UNIX_EPOCH + time::Duration::days(86 * 365);
    assert_eq!(survives_any_clock(&der(end)), Err(ClockRisk::Ends(end)));
    let pki = Pki::new();
    let foreign = pki.ca("foreign", "rsa:2048", &[CA], "-days 36500");
    assert!(matches!(survives_any_clock(&foreign), Err(ClockRisk::Begins(_))));
}

#[test]
fn rubbish() {
    assert_eq!(usable_ca(b"rubbish"), Err(Unusable::NotX509));
    let pki = Pki::new();
    let mut longer = pki.ca("good", "rsa:2048", &[CA], "");
    longer.push(0);
    assert_eq!(usable_ca(&longer), Err(Unusable::NotX509));
}

/// webpki does not read version 1, so farmgate checks signature and dates itself.
#[test]
fn a_certificate_of_version_1_with_any_byte_changed_is_not_let_in() {
    use crate::identity::ClientVerifier;
    use rustls::pki_types::UnixTime;
    let pki = Pki::new();
    let verifier = ClientVerifier::new(&pki.ca("ca", "rsa:2048", &[CA], "")).unwrap();
    let good = pki.v1("v1", Some("ca"));
    let now = UnixTime::now();
    verifier.verify(&good, now).unwrap();
    for at in 0..good.len() {
        for change in [1, 0x80, 0xff] {
            let mut changed = good.clone();
            changed[at] ^= change;
            assert!(verifier.verify(&changed, now).is_err(), "byte {at} ^ {change}");
        }
    }
    // The certificate is valid for 99 days from now.
    let in_days = |days: i64| {
        let seconds = (now.as_secs() as i64 + days * 86400) as u64;
        verifier.verify(&good, UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    };
    assert!(in_days(-1).is_err() && in_days(98).is_ok() && in_days(100).is_err());
}

proptest! {
    #[test]
    fn survives_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = (usable_ca(&bytes), usable_client(&bytes), usable_client_key(&bytes, &bytes));
        let _ = (usable_chain(&[&bytes], &bytes), survives_any_clock(&bytes));
    }

    #[test]
    fn survives_damage(at in 0usize..500, byte: u8) {
        let mut ca = own_ca();
        let at = at % ca.len();
        ca[at] = byte;
        let _ = (usable_ca(&ca), usable_client(&ca), survives_any_clock(&ca));
        let _ = (usable_chain(&[&own_ca(), &ca], &ca), usable_client_key(&ca[at..], &ca));
    }
}

fn own_ca() -> Vec<u8> {
    use crate::identity::pki::Authority;
    use crate::identity::pki::KeyType;
    use crate::identity::pki::NO_END;
    static CA: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    let make = || {
        let ca = Authority::create("CA", KeyType::P256, NO_END).unwrap();
        pem::parse(ca.certificate_pem).unwrap().into_contents()
    };
    CA.get_or_init(make).clone()
}
