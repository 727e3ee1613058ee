//! nginx' headers about the client's certificate. No other module reads them.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use axum::http::HeaderMap;

use crate::identity::certificate_from_headers;
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
    decoded: Mutex<HashMap<Box<[u8]>, Presented>>,
}

/// Most cached headers, and the longest of them: 4 MiB in all.
const MOST: usize = 1024;
const LONGEST: usize = 4096;

impl NginxHeaders {
    /// The client's certificate, if it sent one.
    pub(super) fn presented(&self, headers: &HeaderMap) -> Result<Option<Presented>, Refusal> {
        let values = |name| headers.get_all(name).iter().map(|value| value.as_bytes());
        let via = || Via::Nginx { marks: values(PROXY_MARK).map(<[u8]>::to_vec).collect() };
        let (mut certificates, mut verdicts) = (values(CERTIFICATE), values(VERIFY));
        let known =
            match (verdicts.next(), verdicts.next(), certificates.next(), certificates.next()) {
                (Some(b"SUCCESS"), None, Some(escaped), None) => {
                    let decoded = self.decoded.lock().unwrap_or_else(PoisonError::into_inner);
                    decoded.get(escaped).cloned()
                }
                _ => None,
            };
        if let Some(known) = known {
            return Ok(Some(Presented { via: via(), ..known }));
        }
        let Some(der) = certificate_from_headers(values(VERIFY), values(CERTIFICATE))? else {
            return Ok(None);
        };
        let presented = Presented::new(&der, via());
        if let Some(escaped) = values(CERTIFICATE).next().filter(|text| text.len() <= LONGEST) {
            let mut decoded = self.decoded.lock().unwrap_or_else(PoisonError::into_inner);
            if decoded.len() >= MOST {
                decoded.clear();
            }
            let via = Via::Nginx { marks: Vec::new() };
            decoded.insert(escaped.into(), Presented { via, ..presented.clone() });
        }
        Ok(Some(presented))
    }
}
