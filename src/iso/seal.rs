//! Writes an identity into the slot of an image. Pure: bytes in, bytes out.

use std::time::Duration;

use rustls::pki_types::UnixTime;
use x509_parser::oid_registry::OID_KEY_TYPE_EC_PUBLIC_KEY;
use x509_parser::parse_x509_certificate;

use super::BLOCK;
use super::read;
use crate::identity::Certificate;
use crate::identity::ClientVerifier;
use crate::identity::Fingerprint;
use crate::identity::Identity;
use crate::identity::Unusable;
use crate::identity::VerifyError;
use crate::identity::usable_client;
use crate::ipxe::media::Facts;
use crate::ipxe::media::FactsError;
use crate::ipxe::slot;

/// Returns the image with this identity in its slot, in place of any earlier one.
///
/// `ca` is the certificate (DER) of a CA that the image may be for. It is used when the image does
/// not carry its own CA. An identity of another CA is refused: every boot host of the image's fleet
/// would always refuse it.
pub fn seal(image: &[u8], identity: &Identity, ca: Option<&[u8]>) -> Result<Vec<u8>, Error> {
    whole(image)?;
    usable_client(&identity.certificate)?;
    let facts = Facts::read(&image[script_start(image)?..])?;
    if uses_ecdsa(&identity.certificate) && !facts.ecdsa {
        let version = facts.ipxe.unwrap_or_else(|| "unknown".to_owned());
        return Err(Error::NoEcdsa { version });
    }
    let issued = issued_by_root(&identity.certificate, &facts, ca);
    match issued.ok_or(Error::UnknownRoot { root: facts.root })? {
        Ok(()) => {}
        Err(source) => return Err(Error::NotIssued { root: facts.root, source }),
    }
    let contents = slot::Contents {
        certificate: identity.certificate.clone(),
        private_key: identity.private_key.clone(),
    };
    Ok(slot::seal(image, &contents)?)
}

/// True if the certificate's key or its issuer's signature is ECDSA.
pub fn uses_ecdsa(certificate: &[u8]) -> bool {
    /// Common prefix of ecdsa-with-SHA1, -SHA224, -SHA256 and so on (RFC 5758).
    const ECDSA_WITH: &str = "1.2.840.10045.4.";
    parse_x509_certificate(certificate).is_ok_and(|(_, certificate)| {
        certificate.public_key().algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
            || certificate.signature_algorithm.algorithm.to_id_string().starts_with(ECDSA_WITH)
    })
}

/// Checks that the root of an image issued a client certificate. Returns `None` if the root's
/// certificate is not known. Ignores the validity dates.
pub(super) fn issued_by_root(
    certificate: &[u8],
    facts: &Facts,
    ca: Option<&[u8]>,
) -> Option<Result<(), VerifyError>> {
    let known = facts.ca.as_deref().into_iter().chain(ca);
    let ca = known.into_iter().find(|ca| Fingerprint::of_der(ca) == facts.root)?;
    let issued = || {
        let begin = Certificate::from_der(certificate).map_err(|_| VerifyError::Malformed)?;
        let begin = begin.not_before.unix_timestamp().try_into().unwrap_or(0);
        let begin = UnixTime::since_unix_epoch(Duration::from_secs(begin));
        ClientVerifier::new(ca)?.verify(certificate, begin).map(drop)
    };
    Some(issued())
}

/// Refuses a truncated image. It could still contain a complete slot.
fn whole(image: &[u8]) -> Result<(), Error> {
    let size = read::volume_len(image).ok_or(Error::NotIso9660)?;
    if size > image.len() {
        return Err(Error::Truncated { need: size, have: image.len() });
    }
    Ok(())
}

/// The block, before the slot, at which the script begins.
fn script_start(image: &[u8]) -> Result<usize, Error> {
    const FARTHEST: usize = 4;
    let slot = slot::find(image)?;
    let block = slot.start / BLOCK;
    (block.saturating_sub(FARTHEST)..=block)
        .rev()
        .map(|block| block * BLOCK)
        .find(|start| image[*start..].starts_with(b"#!ipxe\n"))
        .ok_or(Error::Facts(FactsError::NotOurs))
}

/// The reason for an image not to be sealed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("not an ISO 9660 image")]
    NotIso9660,
    #[error("the image is truncated: it has {have} of {need} bytes")]
    Truncated {
        /// Length that the image claims.
        need: usize,
        /// Length of the file.
        have: usize,
    },
    #[error("no gateway could boot with this certificate")]
    Unusable(#[from] Unusable),
    #[error(transparent)]
    Slot(#[from] slot::Error),
    #[error(transparent)]
    Facts(#[from] FactsError),
    #[error(
        "the CA that this image trusts ({root}) did not issue the certificate, so its boot hosts \
         would always refuse it: use the base image of the gateway's own fleet"
    )]
    NotIssued {
        /// The CA that the image trusts.
        root: Fingerprint,
        source: VerifyError,
    },
    #[error(
        "the image trusts the CA {root}, whose certificate is neither on the image nor in this \
         state, so it is unknown whether its boot hosts would accept the identity: give --ca FILE, \
         or make the base image again"
    )]
    UnknownRoot {
        /// The CA that the image trusts.
        root: Fingerprint,
    },
    #[error(
        "a P-256 identity needs an image with iPXE 2.0 or later, but this one has {version}: make \
         the base image with a later iPXE, or give the gateway an RSA certificate"
    )]
    NoEcdsa {
        /// Version of the image's iPXE.
        version: String,
    },
}
