//! Tests: the slot returns what was sealed, and nothing in it can run as a command.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

fn image() -> Vec<u8> {
    [b"#!ipxe\n", empty().as_slice(), b"echo boot ||\n"].concat()
}

fn contents() -> impl Strategy<Value = Contents> {
    let der = |most| prop::collection::vec(any::<u8>(), 0..most);
    (der(2000), der(2000))
        .prop_map(|(certificate, private_key)| Contents { certificate, private_key })
}

proptest! {
    #[test]
    fn holds_what_was_sealed_and_nothing_of_what_was_before(a in contents(), b in contents()) {
        let once = seal(&image(), &a).unwrap();
        prop_assert_eq!(read(&once).unwrap(), Some(a));
        prop_assert_eq!(seal(&once, &b).unwrap(), seal(&image(), &b).unwrap());
    }

    #[test]
    fn only_the_slot_changes(a in contents()) {
        let (before, after) = (image(), seal(&image(), &a).unwrap());
        let place = find(&before).unwrap();
        prop_assert_eq!(&before[..place.start], &after[..place.start]);
        prop_assert_eq!(&before[place.end..], &after[place.end..]);
        prop_assert_eq!(find(&after).unwrap(), place);
    }

    #[test]
    fn no_line_can_end_the_script(a in contents()) {
        let sealed = seal(&image(), &a).unwrap();
        for line in sealed[find(&sealed).unwrap()].split(|byte| *byte == b'\n') {
            prop_assert!(line.is_empty() || line[0] == b'#' || line.ends_with(b" ||"));
        }
    }

    #[test]
    fn survives_any_bytes(
        mut bytes in prop::collection::vec(any::<u8>(), 0..600),
        at in any::<prop::sample::Index>(),
        cut in 0..LEN + 200,
    ) {
        let _ = read(&bytes);
        let at = at.index(bytes.len() + 1);
        bytes.splice(at..at, empty());
        bytes.truncate(bytes.len().saturating_sub(cut));
        let _ = read(&bytes);
    }
}

#[test]
fn an_empty_slot_reads_as_empty() {
    assert_eq!(read(&image()), Ok(None));
    assert_eq!(empty().len(), BEGIN.len() + LEN + END.len());
}

fn example() -> Contents {
    static CERTIFICATE: LazyLock<Vec<u8>> = LazyLock::new(|| certificate("lab-1"));
    Contents { certificate: CERTIFICATE.clone(), private_key: vec![7; 1200] }
}

fn certificate(name: &str) -> Vec<u8> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let key = rcgen::KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().der().to_vec()
}

fn text(image: &[u8]) -> &str {
    std::str::from_utf8(&image[find(image).unwrap()]).unwrap()
}

#[test]
fn the_screen_is_told_whose_medium_it_is() {
    let sealed = seal(&image(), &example()).unwrap();
    let fingerprint = Fingerprint::of_der(&example().certificate).to_string();
    assert!(text(&sealed).contains("\nset fg-name lab-1 ||\n"));
    let digits = format!("\nset fg-certificate {} ||\n", &fingerprint[..12]);
    assert!(text(&sealed).contains(&digits));
    assert_eq!(read(&sealed), Ok(Some(example())));
}

#[test]
fn a_name_is_no_command() {
    for (name, shown) in [("x ||\nreboot", "x????reboot"), ("${privkey}", "??privkey?"), ("ä", "?")]
    {
        assert_eq!(common_name(&certificate(name)).as_deref(), Some(shown));
    }
}

/// Media in the field were sealed without lines for the screen.
#[test]
fn media_of_older_versions_are_read_and_sealed_anew() {
    let mut old = image();
    let place = find(&old).unwrap();
    old[place].copy_from_slice(&fit(identity_lines(&example())).unwrap());
    assert!(!text(&old).contains("fg-name"));
    assert_eq!(read(&old), Ok(Some(example())));
    assert_eq!(seal(&old, &example()), seal(&image(), &example()));
}

#[test]
fn another_name_than_the_certificates_is_damage() {
    let mut sealed = seal(&image(), &example()).unwrap();
    let at = memmem::find(&sealed, b"lab-1").unwrap();
    sealed[at..at + 5].copy_from_slice(b"lab-2");
    assert_eq!(read(&sealed), Err(Error::Damaged));
}

#[test]
fn an_identity_that_just_fits_is_sealed_without_words() {
    let full = Contents { private_key: vec![7; 4900], ..example() };
    let full = (0..2000)
        .map(|more| Contents {
            private_key: vec![7; full.private_key.len() + more],
            ..full.clone()
        })
        .take_while(|contents| fit(identity_lines(contents)).is_ok())
        .last()
        .unwrap();
    let sealed = seal(&image(), &full).unwrap();
    assert!(!text(&sealed).contains("fg-name"));
    assert_eq!(read(&sealed), Ok(Some(full)));
}

#[test]
fn what_is_no_slot_is_refused() {
    let whole = image();
    let slot = find(&whole).unwrap();
    assert_eq!(read(b"#!ipxe\n"), Err(Error::NoSlot));
    assert_eq!(read(b""), Err(Error::NoSlot));
    assert_eq!(read(&[image(), image()].concat()), Err(Error::SeveralSlots));
    assert_eq!(read(&whole[..slot.end]), Err(Error::Truncated));
    let mut shifted = whole.clone();
    shifted.remove(slot.start);
    assert_eq!(read(&shifted), Err(Error::Damaged));
    let mut foreign = whole;
    foreign[slot.start..][..5].copy_from_slice(b"exit\n");
    assert_eq!(read(&foreign), Err(Error::Damaged));
}

#[test]
fn an_identity_that_is_too_large_is_refused_by_its_size() {
    let large = |len| Contents { certificate: vec![1; len], private_key: vec![2; 3000] };
    assert!(matches!(
        seal(&image(), &large(4000)),
        Err(Error::TooLarge { need, have: LEN }) if need > LEN
    ));
    assert!(seal(&image(), &large(3000)).is_ok());
}
