//! What gateways or nginx would refuse now. Each problem says the way out after a semicolon.

use anyhow::Result;
use time::OffsetDateTime;

use super::pki;
use crate::fleet::CertificateState;
use crate::identity::Certificate;
use crate::identity::HostError;
use crate::identity::check_host;
use crate::identity::usable_ca;
use crate::store::State;

/// So many gateways are named.
const SHOWN: usize = 3;

/// What concerns more than single gateways. The clock first: when that is wrong, so is what is
/// said of certificates.
pub(super) fn fleet_problems(state: &State, now: OffsetDateTime) -> Result<Vec<String>> {
    let late = late_gateways(state, now).filter(|late| late.all);
    let mut problems = late_problems(state, now, late)?;
    problems.extend(certificate_problems(state, now)?);
    Ok(problems)
}

/// Also what concerns a single gateway, which should keep nobody from a reload.
pub(super) fn all_problems(state: &State, now: OffsetDateTime) -> Result<Vec<String>> {
    let mut problems = clock_problems(state, now)?;
    problems.extend(certificate_problems(state, now)?);
    Ok(problems)
}

/// What begins only after `now`. It is the clock that is behind, or it was ahead.
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
    // No time of day: who watches would take the next minute's for news.
    let problem = |(what, begin): (String, OffsetDateTime)| {
        format!(
            "this host's clock says {}, but {what} begins on {}: the clock is behind, or was ahead \
             when that was made; set the clock right, and where it is, `farmgate pki renew`, then \
             `systemctl reload farmgate nginx`",
            now.date(),
            minute(begin),
        )
    };
    Ok(late.into_iter().map(problem).collect())
}

/// All else.
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
            // Told of as the clock's.
            Ok(()) | Err(HostError::NotYet { .. }) => {}
            Err(error) => problems.push(format!(
                "no gateway trusts {}: {error}; `farmgate pki renew` makes a new one",
                pki::certificate_file(state).display(),
            )),
        }
    }
    match state.crl_validity()? {
        (_, Some(end)) if end < now => problems.push(format!(
            "{} ran out on {}, and nginx refuses every gateway; \
             `farmgate pki renew` makes a new one, then reload nginx",
            state.pki_file("crl.pem").display(),
            end.date()
        )),
        _ => {}
    }
    Ok(problems)
}

/// Gateways that would be let in, were it not for the clock.
struct Late {
    /// Some names.
    gateways: String,
    /// The last beginning.
    begin: OffsetDateTime,
    /// Whether no gateway is let in.
    all: bool,
}

/// Certificates that were made by earlier versions begin a day before they were made.
fn late_gateways(state: &State, now: OffsetDateTime) -> Option<Late> {
    let gateways = state.gateways();
    let (mut names, mut last, mut all) = (Vec::new(), now, true);
    // What cannot be read is told of elsewhere.
    for name in gateways.names().unwrap_or_default() {
        let Ok(record) = gateways.load(&name) else { continue };
        let good = record.certificates.iter().filter(|o| o.state != CertificateState::Revoked);
        for owned in good {
            let Ok(pem) = gateways.certificate_pem(&record, &owned.fingerprint) else { continue };
            let Ok(certificate) = Certificate::from_pem(pem.as_bytes()) else { continue };
            if certificate.not_before <= now {
                all = false;
            } else if owned.state == CertificateState::Active {
                names.push(name.to_string());
                last = last.max(certificate.not_before);
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

fn minute(time: OffsetDateTime) -> String {
    format!("{} {:02}:{:02} UTC", time.date(), time.hour(), time.minute())
}
