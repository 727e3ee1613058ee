//! Reads the client certificate from the headers that nginx sends.

use percent_encoding::percent_decode;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Longest header value that is read. nginx escapes a PEM certificate of 1.2 kB to about 1.4 kB; a
/// 4096-bit RSA certificate stays below 4 kB.
const MAX_LEN: usize = 16 * 1024;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----\n";
const END: &str = "-----END CERTIFICATE-----\n";

/// Reads the client certificate (DER): [`escaped_certificate`], then [`decode_certificate`].
pub fn certificate_from_headers<'a>(
    verify: impl IntoIterator<Item = &'a [u8]>,
    certificate: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<Vec<u8>>, HeaderError> {
    escaped_certificate(verify, certificate)?.map(decode_certificate).transpose()
}

/// Finds the client certificate, as nginx escaped it, in the values of `X-SSL-Client-Verify`
/// (`$ssl_client_verify`) and `X-SSL-Client-Cert` (`$ssl_client_escaped_cert`). Returns `None` if
/// the client has no certificate.
///
/// Pass every value of each header. A header that comes twice did not come from nginx alone and is
/// refused. Call this only for requests on the socket that only nginx can open.
pub fn escaped_certificate<'a>(
    verify: impl IntoIterator<Item = &'a [u8]>,
    certificate: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<&'a [u8]>, HeaderError> {
    let verify = at_most_one(verify)?;
    let certificate = at_most_one(certificate)?;
    match (verify, certificate) {
        (None | Some(b"NONE"), None) => Ok(None),
        (Some(b"SUCCESS"), Some(escaped)) => Ok(Some(escaped)),
        (Some(b"SUCCESS"), None) => Err(HeaderError::Contradiction),
        (None | Some(b"NONE"), Some(_)) => Err(HeaderError::Contradiction),
        (Some(_), _) => Err(HeaderError::NotVerified),
    }
}

/// nginx leaves out a header whose value is empty. An empty header counts as absent.
fn at_most_one<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<&'a [u8]>, HeaderError> {
    let mut values = values.into_iter();
    let first = values.next().filter(|value| !value.is_empty());
    if values.next().is_some() { Err(HeaderError::Repeated) } else { Ok(first) }
}

/// Decodes a certificate that nginx escaped to DER.
pub fn decode_certificate(escaped: &[u8]) -> Result<Vec<u8>, HeaderError> {
    if escaped.len() > MAX_LEN {
        return Err(HeaderError::TooLong);
    }
    let pem = percent_decode(escaped).decode_utf8().map_err(|_| HeaderError::NotPem)?;
    let body = pem
        .strip_prefix(BEGIN)
        .and_then(|rest| rest.strip_suffix(END))
        .ok_or(HeaderError::NotPem)?;
    if body.contains("-----") {
        return Err(HeaderError::SeveralBlocks);
    }
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=\n".contains(&byte);
    if !body.bytes().all(base64) {
        return Err(HeaderError::NotPem);
    }
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| HeaderError::NotPem)?;
    Ok(der.to_vec())
}

/// Why the certificate headers were refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("a header about the client certificate came more than once")]
    Repeated,
    /// One of the two headers says that there is a certificate, the other that there is none.
    #[error("X-SSL-Client-Cert and X-SSL-Client-Verify contradict each other")]
    Contradiction,
    /// nginx sent `FAILED:reason`, or a value that it never sends.
    #[error("nginx did not verify the client certificate")]
    NotVerified,
    #[error("X-SSL-Client-Cert is longer than {MAX_LEN} bytes")]
    TooLong,
    #[error("X-SSL-Client-Cert is not a percent-encoded PEM certificate")]
    NotPem,
    #[error("X-SSL-Client-Cert holds more than one certificate")]
    SeveralBlocks,
}

#[cfg(test)]
mod tests {
    use percent_encoding::NON_ALPHANUMERIC;
    use percent_encoding::utf8_percent_encode;
    use proptest::prelude::*;

    use super::*;

    fn read(verify: &str, certificate: &str) -> Result<Option<Vec<u8>>, HeaderError> {
        certificate_from_headers([verify.as_bytes()], [certificate.as_bytes()])
    }

    fn escaped(pem: &str) -> String {
        utf8_percent_encode(pem, NON_ALPHANUMERIC).to_string()
    }

    fn pem() -> String {
        format!("{BEGIN}AQID\n{END}")
    }

    #[test]
    fn reads_what_nginx_writes() {
        assert_eq!(read("SUCCESS", &escaped(&pem())), Ok(Some(vec![1, 2, 3])));
        assert_eq!(read("NONE", ""), Ok(None));
        assert_eq!(certificate_from_headers([], []), Ok(None));
    }

    #[test]
    fn refuses_what_nginx_never_writes() {
        let good = escaped(&pem());
        let two = escaped(&format!("{}{}", pem(), pem()));
        for (verify, certificate, expected) in [
            ("SUCCESS", "", HeaderError::Contradiction),
            ("NONE", &*good, HeaderError::Contradiction),
            ("", &*good, HeaderError::Contradiction),
            ("FAILED:certificate has expired", &*good, HeaderError::NotVerified),
            ("success", &*good, HeaderError::NotVerified),
            ("SUCCESS ", &*good, HeaderError::NotVerified),
            ("SUCCESS", "rubbish", HeaderError::NotPem),
            ("SUCCESS", "%", HeaderError::NotPem),
            ("SUCCESS", "%ff%fe", HeaderError::NotPem),
            ("SUCCESS", &*escaped(&good), HeaderError::NotPem),
            ("SUCCESS", &*format!("{good}%00"), HeaderError::NotPem),
            ("SUCCESS", &*format!(" {good}"), HeaderError::NotPem),
            ("SUCCESS", &*escaped(&format!("{BEGIN}A%51ID\n{END}")), HeaderError::NotPem),
            ("SUCCESS", &*two, HeaderError::SeveralBlocks),
            ("SUCCESS", &*"A".repeat(1024 * 1024), HeaderError::TooLong),
        ] {
            assert_eq!(read(verify, certificate), Err(expected), "{verify} {certificate:.60}");
        }
        let one = good.as_bytes();
        assert_eq!(
            certificate_from_headers([&b"SUCCESS"[..]; 2], [one]),
            Err(HeaderError::Repeated)
        );
        assert_eq!(
            certificate_from_headers([&b"SUCCESS"[..]], [one, one]),
            Err(HeaderError::Repeated)
        );
        assert_eq!(
            certificate_from_headers([&b""[..], b"SUCCESS"], [one]),
            Err(HeaderError::Repeated)
        );
    }

    proptest! {
        #[test]
        fn never_panics_and_needs_the_word_success(
            verify in proptest::collection::vec(any::<u8>(), 0..12),
            certificate in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let read = certificate_from_headers([&verify[..]], [&certificate[..]]);
            if verify != b"SUCCESS" {
                prop_assert!(!matches!(read, Ok(Some(_))));
            }
        }
    }
}
