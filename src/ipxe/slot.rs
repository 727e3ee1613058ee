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
    #[error("no slot for an identity found: not an image that farmgate made")]
    NoSlot,
    #[error("more than one slot for an identity found")]
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
mod tests;
