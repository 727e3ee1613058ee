//! Checks gateways one by one: would the next boot find everything it needs? Reads the state.

use std::io;

use anyhow::Result;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::UnixTime;
use rustls::pki_types::pem::PemObject;
use time::Duration;
use time::OffsetDateTime;

use super::finding::Findings;
use super::finding::Verdict;
use crate::fleet::CertificateState;
use crate::fleet::Decision;
use crate::fleet::Generation;
use crate::fleet::OwnedCertificate;
use crate::fleet::Reason;
use crate::fleet::Record;
use crate::fleet::decide;
use crate::identity::ClientVerifier;
use crate::identity::usable_client;
use crate::store::State;
use crate::store::blobs::Access;
use crate::store::blobs::Fault;
use crate::store::generations::Generations;
use crate::store::generations::Readable;

const CHECK: &str = "gateways";

/// Media take this long to arrive by mail.
const SOON: Duration = Duration::days(60);

pub(super) fn examine(state: &State, now: OffsetDateTime, findings: &mut Findings) {
    for missing in state.missing_folders() {
        let (what, way_out) = missing.split_once("; ").unwrap_or((&missing, ""));
        findings.error(CHECK, what, way_out);
    }
    let generations = Generations::new(state);
    let gateways = state.gateways();
    let names = match gateways.names() {
        Ok(names) => names,
        Err(error) => return unseen(&error, findings),
    };
    for name in &names {
        let record = gateways.load(name);
        let looked = record.and_then(|record| look(state, &generations, &record, now, findings));
        if let Err(error) = looked {
            if is_denied(&error) {
                return unseen(&error, findings);
            }
            findings.error(CHECK, format!("{name}: {error:#}"), "restore it from a backup");
        }
    }
    let bad = |verdict| findings.has(CHECK, verdict);
    match names.len() {
        0 => findings.warning(CHECK, "there are none", "`farmgate gateway add NAME` makes one"),
        _ if bad(Verdict::Error) || bad(Verdict::Warning) => {}
        1 => findings.ok(CHECK, "the one gateway has all that its next boot needs"),
        count => findings.ok(CHECK, format!("all {count} have what their next boot needs")),
    }
}

fn unseen(error: &anyhow::Error, findings: &mut Findings) {
    match is_denied(error) {
        true => findings.unseen(CHECK, format!("{error:#}")),
        false => findings.skipped(CHECK, format!("{error:#}")),
    }
}

fn is_denied(error: &anyhow::Error) -> bool {
    let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    error.chain().filter_map(|cause| cause.downcast_ref()).any(denied)
}

fn look(
    state: &State,
    generations: &Generations,
    record: &Record,
    now: OffsetDateTime,
    findings: &mut Findings,
) -> Result<()> {
    certificates(state, record, now, findings)?;
    let name = &record.name;
    let Readable { history, damaged } = generations.readable(&record.id)?;
    for error in damaged {
        let what = format!("{name}: {error:#}");
        let (what, way_out) = what.split_once("; ").unwrap_or((&what, "restore it from a backup"));
        findings.warning(CHECK, format!("{what}: the server ignores it"), way_out);
    }
    let policy = record.policy(state.config().assessment.tries);
    let Some(Decision { generation, reason }) = decide(&history, policy) else {
        let way_out = format!("`farmgate publish {name} DIR`");
        if generations.has_folder(&record.id) {
            findings.warning(CHECK, format!("{name} has nothing to boot"), way_out);
        } else {
            let folder = state.store_dir().join("gateways").join(&record.id);
            findings.warning(
                CHECK,
                format!("{name} has nothing to boot: there is no {}", folder.display()),
                format!("{way_out}, or restore that folder if something was published before"),
            );
        }
        return Ok(());
    };
    if let Reason::FellBack { .. } | Reason::NothingBetter { .. } = reason {
        let way_out = format!("`farmgate status {name}` shows how far its boots came");
        findings.warning(CHECK, format!("{name}: {reason}"), way_out);
    }
    files(state, generations, record, &generation, Verdict::Error, findings);
    // The generation that it falls back to if the next one is bad.
    if let Some(good) = history.last_good().filter(|good| good.number != generation.number) {
        files(state, generations, record, good, Verdict::Warning, findings);
    }
    Ok(())
}

/// All certificates: media in the field may have any that was not revoked.
fn certificates(
    state: &State,
    record: &Record,
    now: OffsetDateTime,
    findings: &mut Findings,
) -> Result<()> {
    let name = &record.name;
    if record.active().is_none() {
        let way_out = format!("`farmgate gateway renew {name}`, then a new medium");
        findings.warning(CHECK, format!("{name} has no active certificate"), way_out);
    }
    let verifier = ClientVerifier::new(&state.ca_certificate()?)?;
    let good = |owned: &&OwnedCertificate| owned.state != CertificateState::Revoked;
    for owned in record.certificates.iter().filter(good) {
        if let Err(error) = certificate(state, &verifier, record, owned, now, findings) {
            findings.error(CHECK, format!("{name}: {error:#}"), "restore it from a backup");
        }
    }
    Ok(())
}

fn certificate(
    state: &State,
    verifier: &ClientVerifier,
    record: &Record,
    owned: &OwnedCertificate,
    now: OffsetDateTime,
    findings: &mut Findings,
) -> Result<()> {
    let (gateways, name) = (state.gateways(), &record.name);
    let active = owned.state == CertificateState::Active;
    let which = if active { "" } else { "retiring " };
    let way_out = format!("`farmgate gateway renew {name}`, then a new medium");
    let pem = gateways.certificate_pem(record, &owned.fingerprint)?;
    let der = CertificateDer::from_pem_slice(pem.as_bytes())?;
    let seconds = now.unix_timestamp().try_into().unwrap_or(0);
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    if let Err(error) = usable_client(&der) {
        let what = format!("no medium boots with a certificate of {name}: {error}");
        if active {
            findings.error(CHECK, what, way_out);
        } else {
            findings.warning(CHECK, what, way_out);
        }
    } else if let Err(error) = verifier.verify(&der, at) {
        // A replaced certificate may expire.
        if active {
            findings.error(CHECK, format!("{name} is not let in: {error}"), way_out);
        } else if owned.not_after > now {
            let what = format!("a medium of {name} with its retiring certificate is not let in");
            findings.warning(CHECK, format!("{what}: {error}"), way_out);
        }
    } else if active && owned.not_after - now < SOON {
        let what = format!("the certificate of {name} expires on {}", owned.not_after.date());
        findings.warning(CHECK, what, way_out);
    }
    if !gateways.is_indexed(&owned.fingerprint, name) {
        let index = state.dir().join("gateways/.by-fingerprint");
        findings.error(
            CHECK,
            format!(
                "the {which}certificate of {name} is not found: {} does not lead there",
                index.join(owned.fingerprint.to_string()).display()
            ),
            "the server makes the index from the records, when it starts and every half minute: \
             systemctl restart farmgate",
        );
    }
    Ok(())
}

/// Checks that the files of a generation are here, with the published bytes.
fn files(
    state: &State,
    generations: &Generations,
    record: &Record,
    generation: &Generation,
    verdict: Verdict,
    findings: &mut Findings,
) {
    let (name, number) = (&record.name, generation.number);
    for (path, asset) in generation.files() {
        let found = match generations.blobs_of(Access::to(path)).verify(asset) {
            Ok(()) => continue,
            Err(Fault::Size { found, size, .. }) => format!("has {found} of {size} bytes"),
            Err(Fault::Missing(_)) => "is missing".to_owned(),
            Err(Fault::Digest(_)) => "has other bytes than those that were published".to_owned(),
            Err(Fault::Unreadable(_, error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                let what = format!("{name}: {path} of generation {number}: {error}");
                findings.unseen(CHECK, what);
                continue;
            }
            Err(Fault::Unreadable(_, error)) => format!("cannot be read: {error}"),
        };
        let what = format!("{name}: {path} of generation {number} {found}");
        let again = "publish its folder again to repair it";
        if state.config().store.url.is_some() {
            let way_out = "`farmgate store sync` fetches it from the store, if that or another \
                           host has it; else publish its folder again";
            findings.warning(CHECK, what, way_out);
        } else if verdict == Verdict::Error {
            findings.error(CHECK, what, format!("{again}; or `farmgate rollback {name}`"));
        } else {
            let what = format!("{what}, and it is the fallback");
            findings.warning(CHECK, what, again);
        }
    }
}
