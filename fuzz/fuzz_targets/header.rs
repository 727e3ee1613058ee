//! The headers about client certificates: no panic, and no certificate without the
//! one verdict that nginx gives.
#![no_main]

use farmgate::identity::Certificate;
use farmgate::identity::certificate_from_headers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<Vec<u8>>, Vec<Vec<u8>>)| {
    let (verify, certificate) = &input;
    let read = certificate_from_headers(
        verify.iter().map(Vec::as_slice),
        certificate.iter().map(Vec::as_slice),
    );
    if let Ok(Some(der)) = read {
        assert!(verify.len() == 1 && verify[0] == b"SUCCESS" && certificate.len() == 1);
        if let Ok(parsed) = Certificate::from_der(&der) {
            assert_eq!(parsed.der, der);
        }
    }
});
