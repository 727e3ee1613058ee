//! Finds problems that make gateways or nginx refuse now. Each message ends with the way out, after
//! a semicolon. Reads certificates, the CRL and the records; the caller gives the time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::Result;
use time::OffsetDateTime;

use super::pki;
use crate::fleet::CertificateState;
use crate::fleet::Record;
use crate::identity::Certificate;
use crate::identity::Fingerprint;
use crate::identity::HostError;
use crate::identity::check_host;
use crate::identity::usable_ca;
use crate::store::State;
use crate::store::gateways::Gateways;

/// Most gateways that a message names.
const SHOWN: usize = 3;

/// Problems that concern the whole fleet. The clock comes first: if it is wrong, nothing that is
/// said about certificates can be trusted.
pub(super) fn fleet_problems(state: &State, now: OffsetDateTime) -> Result<Vec<String>> {
    let late = late_gateways(state, now).filter(|late| late.all);
    let mut problems = late_problems(state, now, late)?;
    problems.extend(certificate_problems(state, now)?);
    Ok(problems)
}

/// All problems, including those of single gateways. A problem of one gateway does not stop a
/// reload.
pub(super) fn all_problems(state: &State, now: OffsetDateTime) -> Result<Vec<String>> {
    let mut problems = clock_problems(state, now)?;
    problems.extend(certificate_problems(state, now)?);
    Ok(problems)
}

/// Certificates and CRLs that begin only after `now`. Either the clock is behind now, or it was
/// ahead when they were made.
pub fn clock_problems(state: &State, now: OffsetDateTime) -> Result<Vec<String>> {
    late_problems(state, now, late_gateways(state, now))
}

fn late_problems(
    state: &State,
    now: OffsetDateTime,
    gateways: Option<Late>,
) -> Result<Vec<String>> {
    let mut late = Vec::new();
    let mut see = |what: String, begin: OffsetDateTime| {
        if begin > now {
            late.push((what, begin));
        }
    };
    for der in pki::server_chain(state)? {
        if let Ok(certificate) = Certificate::from_der(&der) {
            let file = pki::certificate_file(state);
            see(format!("{} ({})", file.display(), certificate.subject), certificate.not_before);
        }
    }
    let (begin, _) = state.crl_validity()?;
    see(
        format!("{}, and nginx refuses every gateway,", state.pki_file("crl.pem").display()),
        begin,
    );
    if let Some(Late { gateways, begin, .. }) = gateways {
        see(format!("the certificate of {gateways}, refused until then,"), begin);
    }
    // Minutes but no current time: a text that changes each minute would look like a new problem.
    let problem = |(what, begin): (String, OffsetDateTime)| {
        format!(
            "this host's clock says {}, but {what} begins on {}: the clock is behind, or was ahead \
             when that was made; set the clock, or if it is right, run `farmgate pki renew`, then \
             `systemctl reload farmgate nginx`",
            now.date(),
            minute(begin),
        )
    };
    Ok(late.into_iter().map(problem).collect())
}

/// Problems of certificates that have nothing to do with a wrong clock.
pub fn certificate_problems(state: &State, now: OffsetDateTime) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let (ca, chain) = (state.ca_certificate()?, pki::server_chain(state)?);
    let host = state.config().url.host();
    if let Err(error) = usable_ca(&ca) {
        problems.push(format!(
            "no gateway can have {} as its root: {error}; make a state with `farmgate init`, and \
             new media",
            state.pki_file("ca.crt").display(),
        ));
    } else {
        match check_host(&chain, &ca, host, now) {
            // `clock_problems` reports this one.
            Ok(()) | Err(HostError::NotYet { .. }) => {}
            Err(error) => problems.push(format!(
                "no gateway trusts {}: {error}; `farmgate pki renew` makes a new one",
                pki::certificate_file(state).display(),
            )),
        }
    }
    match state.crl_validity()? {
        (_, Some(end)) if end < now => problems.push(format!(
            "{} expired on {}, and nginx refuses every gateway; \
             `farmgate pki renew` makes a new one, then reload nginx",
            state.pki_file("crl.pem").display(),
            end.date()
        )),
        _ => {}
    }
    Ok(problems)
}

/// Gateways that only the clock keeps out.
struct Late {
    /// Some of their names.
    gateways: String,
    /// The latest of their beginnings.
    begin: OffsetDateTime,
    /// No gateway is let in at all.
    all: bool,
}

/// Earlier versions dated the beginning of a certificate one day back.
fn late_gateways(state: &State, now: OffsetDateTime) -> Option<Late> {
    let gateways = state.gateways();
    let (mut names, mut last, mut all) = (Vec::new(), now, true);
    // Other checks report records that cannot be read.
    for name in gateways.names().unwrap_or_default() {
        let Ok(record) = gateways.load(&name) else { continue };
        let good = record.certificates.iter().filter(|o| o.state != CertificateState::Revoked);
        for owned in good {
            let Some(begin) = beginning(&gateways, &record, &owned.fingerprint) else { continue };
            if begin <= now {
                all = false;
            } else if owned.state == CertificateState::Active {
                names.push(name.to_string());
                last = last.max(begin);
            }
        }
    }
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let gateways = match names.len() {
        0 => return None,
        count if count <= SHOWN => shown,
        count => format!("{shown} and {} more", count - SHOWN),
    };
    Some(Late { gateways, begin: last, all })
}

/// Beginnings of certificates by fingerprint, which is the digest of all that they say: what was
/// read once stays true. Reading each certificate of a large fleet again for each page and each
/// scrape took most of their time.
static BEGINNINGS: Mutex<BTreeMap<Fingerprint, OffsetDateTime>> = Mutex::new(BTreeMap::new());

/// Most certificates that are remembered.
const MOST_BEGINNINGS: usize = 64 * 1024;

fn beginning(
    gateways: &Gateways,
    record: &Record,
    fingerprint: &Fingerprint,
) -> Option<OffsetDateTime> {
    let known = || BEGINNINGS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(begin) = known().get(fingerprint) {
        return Some(*begin);
    }
    let pem = gateways.certificate_pem(record, fingerprint).ok()?;
    let certificate = Certificate::from_pem(pem.as_bytes()).ok()?;
    let mut known = known();
    // Another certificate under this name says nothing of it.
    if certificate.fingerprint == *fingerprint && known.len() < MOST_BEGINNINGS {
        known.insert(*fingerprint, certificate.not_before);
    }
    Some(certificate.not_before)
}

fn minute(time: OffsetDateTime) -> String {
    format!("{} {:02}:{:02} UTC", time.date(), time.hour(), time.minute())
}
