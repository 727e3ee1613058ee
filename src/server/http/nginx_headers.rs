//! nginx' headers about the client's certificate. No other module reads them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use axum::http::HeaderMap;

use crate::identity::Fingerprint;
use crate::identity::decode_certificate;
use crate::identity::escaped_certificate;
use crate::server::app::Presented;
use crate::server::app::Refusal;
use crate::server::app::Via;

/// See [`crate::config::Listen::proxy_mark`].
const PROXY_MARK: &str = "x_farmgate_proxy";
const VERIFY: &str = "x-ssl-client-verify";
const CERTIFICATE: &str = "x-ssl-client-cert";

/// Cache of certificates that nginx sent lately, decoded.
#[derive(Default)]
pub(super) struct NginxHeaders {
    decoded: Mutex<HashMap<Box<[u8]>, Decoded>>,
}

/// A certificate (DER), and its fingerprint.
type Decoded = (Arc<[u8]>, Fingerprint);

/// Most cached headers, and the longest of them: 4 MiB in all.
const MOST: usize = 1024;
const LONGEST: usize = 4096;

impl NginxHeaders {
    /// The client's certificate, if it sent one.
    pub(super) fn presented(&self, headers: &HeaderMap) -> Result<Option<Presented>, Refusal> {
        let values = |name| headers.get_all(name).iter().map(|value| value.as_bytes());
        let Some(escaped) = escaped_certificate(values(VERIFY), values(CERTIFICATE))? else {
            return Ok(None);
        };
        let known = self.lock().get(escaped).cloned();
        let (der, fingerprint) = match known {
            Some(known) => known,
            None => self.decode(escaped)?,
        };
        let via = Via::Nginx { marks: values(PROXY_MARK).map(<[u8]>::to_vec).collect() };
        Ok(Some(Presented { der, fingerprint, via }))
    }

    fn decode(&self, escaped: &[u8]) -> Result<Decoded, Refusal> {
        let der: Arc<[u8]> = decode_certificate(escaped)?.into();
        let decoded = (der.clone(), Fingerprint::of_der(&der));
        if escaped.len() <= LONGEST {
            let mut known = self.lock();
            if known.len() >= MOST {
                known.clear();
            }
            known.insert(escaped.into(), decoded.clone());
        }
        Ok(decoded)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, Decoded>> {
        // The code under this lock cannot panic.
        self.decoded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
