//! The slot: the fixed-size part of the media's script that holds an identity. Pure.
//!
//! The slot lies between two marker lines, which iPXE takes for comments. An empty slot is filled
//! with comments. A sealed slot holds the two `set` lines that give iPXE a client certificate and
//! its key, lines that tell the screen about them, and comments after that. Its length never
//! changes, so sealing copies the image and overwrites one part.

use std::ops::Range;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use memchr::memmem;
use x509_parser::parse_x509_certificate;

use crate::identity::Fingerprint;

/// Bytes between the marker lines.
pub const LEN: usize = 8192;

const BEGIN: &[u8] = b"# farmgate slot 1 begins\n";
const END: &[u8] = b"# farmgate slot 1 ends\n";

const CERTIFICATE: &str = "set cert:base64 ";
const PRIVATE_KEY: &str = "set privkey:base64 ";
/// For the screen: the certificate's common name, and the first digits of its fingerprint.
const NAME: &str = "set fg-name ";
const FINGERPRINT: &str = "set fg-certificate ";
const FINGERPRINT_DIGITS: usize = 12;
/// Every line ends in this guard, because iPXE ends a script at a line that fails.
const GUARD: &str = " ||\n";

/// A certificate and its private key, both DER.
#[derive(Clone, PartialEq, Eq)]
pub struct Contents {
    pub certificate: Vec<u8>,
    pub private_key: Vec<u8>,
}

impl std::fmt::Debug for Contents {
    /// Hides the private key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contents").finish_non_exhaustive()
    }
}

/// An empty slot with its marker lines, to be put into a script.
pub fn empty() -> Vec<u8> {
    let mut text = BEGIN.to_vec();
    fill(&mut text, LEN);
    text.extend_from_slice(END);
    text
}

/// Position of the image's only slot, without the marker lines.
pub fn find(image: &[u8]) -> Result<Range<usize>, Error> {
    let mut places = memmem::find_iter(image, BEGIN);
    let start = places.next().ok_or(Error::NoSlot)? + BEGIN.len();
    if places.next().is_some() {
        return Err(Error::SeveralSlots);
    }
    let end = start + LEN;
    match image.get(end..end + END.len()) {
        None => Err(Error::Truncated),
        Some(END) => Ok(start..end),
        Some(_) => Err(Error::Damaged),
    }
}

/// The identity in the image's slot; `None` if the slot is empty.
pub fn read(image: &[u8]) -> Result<Option<Contents>, Error> {
    let slot = &image[find(image)?];
    if *slot == empty()[BEGIN.len()..][..LEN] {
        return Ok(None);
    }
    let line = |line: Option<&[u8]>, before: &str| {
        let text = std::str::from_utf8(line?).ok()?;
        let value = text.strip_prefix(before)?.strip_suffix(GUARD.trim_end())?;
        BASE64_STANDARD.decode(value.trim_end()).ok()
    };
    let mut lines = slot.split(|byte| *byte == b'\n');
    let certificate = line(lines.next(), CERTIFICATE).ok_or(Error::Damaged)?;
    let private_key = line(lines.next(), PRIVATE_KEY).ok_or(Error::Damaged)?;
    let contents = Contents { certificate, private_key };
    // Refuse anything else in the slot, because it would run. Older media have no lines for the
    // screen.
    let allowed = [render(&contents)?, fit(identity_lines(&contents))?];
    if !allowed.iter().any(|allowed| allowed == slot) {
        return Err(Error::Damaged);
    }
    Ok(Some(contents))
}

/// Returns the image with this identity in its slot, in place of any earlier one.
pub fn seal(image: &[u8], contents: &Contents) -> Result<Vec<u8>, Error> {
    let place = find(image)?;
    let slot = render(contents)?;
    let mut sealed = image.to_vec();
    sealed[place].copy_from_slice(&slot);
    Ok(sealed)
}

fn render(contents: &Contents) -> Result<Vec<u8>, Error> {
    let bare = identity_lines(contents);
    // An identity that leaves no room for the screen's lines still boots.
    let labelled = format!("{bare}{}", labels(&contents.certificate));
    fit(labelled).or_else(|_| fit(bare))
}

fn identity_lines(contents: &Contents) -> String {
    let mut text = String::new();
    for (command, value) in
        [(CERTIFICATE, &contents.certificate), (PRIVATE_KEY, &contents.private_key)]
    {
        text.push_str(command);
        BASE64_STANDARD.encode_string(value, &mut text);
        text.push_str(GUARD);
    }
    text
}

/// The lines that tell the screen about a certificate. The certificate is untrusted.
fn labels(certificate: &[u8]) -> String {
    let digits = &Fingerprint::of_der(certificate).to_string()[..FINGERPRINT_DIGITS];
    let mut text = format!("{FINGERPRINT}{digits}{GUARD}");
    if let Some(name) = common_name(certificate) {
        text.insert_str(0, &format!("{NAME}{name}{GUARD}"));
    }
    text
}

/// The common name, without anything that iPXE would interpret.
fn common_name(certificate: &[u8]) -> Option<String> {
    /// RFC 5280, ub-common-name.
    const MOST: usize = 64;
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name: String = name.chars().take(MOST).map(|c| if harmless(c) { c } else { '?' }).collect();
    (!name.is_empty()).then_some(name)
}

fn fit(text: String) -> Result<Vec<u8>, Error> {
    let mut text = text.into_bytes();
    let left =
        LEN.checked_sub(text.len()).ok_or(Error::TooLarge { need: text.len(), have: LEN })?;
    fill(&mut text, left);
    Ok(text)
}

/// Fills the rest with comment lines. They contain no spaces, because iPXE keeps a pointer for each
/// word on its small stack.
fn fill(text: &mut Vec<u8>, mut left: usize) {
    const WIDTH: usize = 64;
    while left > 0 {
        let line = left.min(WIDTH);
        text.resize(text.len() + line - 1, b'#');
        text.push(b'\n');
        left -= line;
    }
}

/// Why a slot was not read or written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("no slot for an identity is in it: not an image that farmgate made")]
    NoSlot,
    #[error("more than one slot for an identity is in it")]
    SeveralSlots,
    #[error("it ends inside the slot: the image is truncated")]
    Truncated,
    #[error("its slot is damaged")]
    Damaged,
    #[error("the identity needs {need} bytes, but the slot holds {have}")]
    TooLarge {
        /// Bytes that certificate and key need.
        need: usize,
        /// Bytes of the slot.
        have: usize,
    },
}

#[cfg(test)]
mod tests {
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
        for (name, shown) in
            [("x ||\nreboot", "x????reboot"), ("${privkey}", "??privkey?"), ("ä", "?")]
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
}
