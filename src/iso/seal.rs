use x509_parser::oid_registry::OID_KEY_TYPE_EC_PUBLIC_KEY;
use x509_parser::parse_x509_certificate;

use super::BLOCK;
use super::read;
use crate::identity::Identity;
use crate::ipxe::media::Facts;
use crate::ipxe::media::FactsError;
use crate::ipxe::slot;

/// The image with this identity in its slot, in place of what was there.
pub fn seal(image: &[u8], identity: &Identity) -> Result<Vec<u8>, Error> {
    whole(image)?;
    let facts = Facts::read(&image[script_start(image)?..])?;
    if uses_ecdsa(&identity.certificate) && !facts.ecdsa {
        let version = facts.ipxe.unwrap_or_else(|| "unknown".to_owned());
        return Err(Error::NoEcdsa { version });
    }
    let contents = slot::Contents {
        certificate: identity.certificate.clone(),
        private_key: identity.private_key.clone(),
    };
    Ok(slot::seal(image, &contents)?)
}

/// Whether a certificate's key or its issuer's signature is ECDSA.
pub fn uses_ecdsa(certificate: &[u8]) -> bool {
    /// ecdsa-with-SHA1, -SHA224, -SHA256 ... begin so (RFC 5758).
    const ECDSA_WITH: &str = "1.2.840.10045.4.";
    parse_x509_certificate(certificate).is_ok_and(|(_, certificate)| {
        certificate.public_key().algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
            || certificate.signature_algorithm.algorithm.to_id_string().starts_with(ECDSA_WITH)
    })
}

/// A file that lost its end would still have a slot.
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

/// Why an image was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an image at all.
    #[error("not an ISO 9660 image")]
    NotIso9660,
    /// The end is missing.
    #[error("the image is truncated: it has {have} of {need} bytes")]
    Truncated {
        /// Bytes it says it has.
        need: usize,
        /// Bytes it has.
        have: usize,
    },
    /// The slot cannot be used.
    #[error(transparent)]
    Slot(#[from] slot::Error),
    /// The script cannot be read.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// A P-256 identity for an iPXE that has no ECDSA.
    #[error(
        "a P-256 identity needs an image with iPXE 2.0 or later, but this one has {version}: make \
         the base image with a later iPXE, or give the gateway an RSA certificate"
    )]
    NoEcdsa {
        /// The version of the image's iPXE.
        version: String,
    },
}
