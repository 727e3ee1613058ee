//! The boot host's own certificates.

use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::Result;
use time::Duration;
use time::OffsetDateTime;

use super::finding::Findings;
use super::finding::Verdict;
use crate::identity::Certificate;
use crate::identity::check_host;
use crate::identity::pki::ALWAYS;
use crate::identity::survives_any_clock;
use crate::server;
use crate::store::State;

const CHECK: &str = "certificates";

/// Folder of the credentials of a running service, by systemd.
const CREDENTIALS: &str = "/run/credentials/farmgate.service";

/// Time of warning before an expiry. New media for a new CA take their time.
const SOON: Duration = Duration::days(60);
const SOON_FOR_A_CA: Duration = Duration::days(365);

/// iPXE before March 2023 reads no longer chain
/// (<https://github.com/ipxe/ipxe/commit/1d1cf74a5>).
pub(super) const LONGEST_CHAIN: usize = 4096;
pub(super) const CHAIN_TOO_LONG: &str = "iPXE before March 2023 reads 4096";

/// All media carry the CA, which cannot be replaced there.
const FOR_BAD_CLOCKS: &str = "set the date in such a machine's firmware, and change its battery; \
                              media whose iPXE has the command `ntp` need neither; what else \
                              helps says docs/operating.md";
const RENEW_CRL: &str =
    "`farmgate pki renew` signs one that begins in 1970, then `systemctl reload nginx`";

pub(super) fn examine(state: &State, now: OffsetDateTime, findings: &mut Findings) {
    let own = server::certificate_file(state);
    let renew = "`farmgate pki renew` renews the server certificate and the CRL; then reload nginx";
    let backup = "restore the state from a backup: media trust this CA and no other";
    let files =
        [(state.pki_file("ca.crt"), backup), (own, renew), (state.pki_file("crl.pem"), renew)];
    let mut all = true;
    for (path, way_out) in files {
        let Err(error) = File::open(&path) else { continue };
        all = false;
        let what = format!("{}: {error}", path.display());
        let credential = path.file_name().map(|name| Path::new(CREDENTIALS).join(name));
        match error.kind() {
            io::ErrorKind::PermissionDenied => findings.unseen(CHECK, what),
            _ if credential.is_some_and(|path| path.exists()) => {
                findings.skipped(CHECK, format!("{what}; the service has it as a credential"));
            }
            _ => findings.error(CHECK, what, way_out),
        }
    }
    if !all {
        return;
    }
    let looked = server::certificate_problems(state, now).and_then(|problems| {
        for problem in problems {
            // The error already says the way out.
            let (what, way_out) = problem.split_once("; ").unwrap_or((&problem, ""));
            findings.error(CHECK, what, way_out);
        }
        look(state, now, findings)
    });
    if let Err(error) = looked {
        findings.error(CHECK, format!("{error:#}"), "restore the state from a backup");
    }
}

fn look(state: &State, now: OffsetDateTime, findings: &mut Findings) -> Result<()> {
    let ca = state.ca_certificate()?;
    let chain = server::server_chain(state)?;
    let server = Certificate::from_der(&chain[0])?;

    let renew = "`farmgate pki renew` makes a new one, then `systemctl reload farmgate nginx`";
    let ca_end = Certificate::from_der(&ca)?.not_after;
    let (crl_begin, crl_end) = state.crl_validity()?;
    let new_fleet = "a new CA means new media for all gateways: plan it now";
    let mut ends = vec![
        ("the CA", ca_end, SOON_FOR_A_CA, new_fleet),
        ("the server's certificate", server.not_after, SOON, renew),
    ];
    ends.extend(crl_end.map(|end| ("the CRL", end, SOON, renew)));
    for (what, end, soon, way_out) in &ends {
        // An expired one is among the problems.
        if (now..now + *soon).contains(end) {
            findings.warning(CHECK, format!("{what} expires on {}", end.date()), *way_out);
        } else if *what == "the CA" && *end < now {
            findings.error(CHECK, format!("the CA expired on {}", end.date()), *way_out);
        }
    }
    if let Err(risk) = survives_any_clock(&ca) {
        findings.warning(CHECK, risk.to_string(), FOR_BAD_CLOCKS);
    }
    if crl_begin > ALWAYS && crl_begin <= now {
        let begin = crl_begin.date();
        findings.warning(
            CHECK,
            format!(
                "should this clock fall behind {begin}, nginx refuses the CRL and every gateway"
            ),
            RENEW_CRL,
        );
    }
    for url in &state.config().media.fallback_urls {
        if let Err(error) = check_host(&chain, &ca, url.host(), now) {
            findings.warning(
                CHECK,
                format!(
                    "media fall back to {url}, but the certificate here does not cover its host: {error}"
                ),
                "`farmgate init --san` names it for all hosts of a fleet; or that host has a \
                 certificate of its own from the same CA",
            );
        }
    }
    let length: usize = chain.iter().map(|der| der.len()).sum();
    if length > LONGEST_CHAIN {
        findings.warning(
            CHECK,
            format!("the chain has {length} bytes: {CHAIN_TOO_LONG}"),
            "fewer names in it, or fewer certificates",
        );
    }
    if !findings.has(CHECK, Verdict::Error) && !findings.has(CHECK, Verdict::Warning) {
        let first = ends.iter().map(|(_, end, ..)| *end).min().unwrap_or(ca_end);
        findings.ok(CHECK, format!("good until {}, {length} bytes", first.date()));
    }
    Ok(())
}
