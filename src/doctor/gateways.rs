//! Gateways one by one: would the next boot find all it needs?

use std::io;

use anyhow::Result;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::UnixTime;
use rustls::pki_types::pem::PemObject;
use time::Duration;
use time::OffsetDateTime;

use super::finding::Findings;
use super::finding::Verdict;
use crate::boot::Decision;
use crate::boot::Reason;
use crate::boot::decide;
use crate::identity::ClientVerifier;
use crate::store::State;
use crate::store::gateways::Record;
use crate::store::generations::Generations;
use crate::store::history::Generation;

const CHECK: &str = "gateways";

/// Media are sent by mail.
const SOON: Duration = Duration::days(60);

pub(super) fn examine(state: &State, now: OffsetDateTime, findings: &mut Findings) {
    let gateways = state.gateways();
    let names = match gateways.names() {
        Ok(names) => names,
        Err(error) => return unseen(&error, findings),
    };
    for name in &names {
        let looked = gateways.load(name).and_then(|record| look(state, &record, now, findings));
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
    record: &Record,
    now: OffsetDateTime,
    findings: &mut Findings,
) -> Result<()> {
    certificate(state, record, now, findings)?;
    let name = &record.name;
    let history = Generations::new(state).history(&record.id)?;
    let policy = record.policy(state.config().assessment.tries);
    let Some(Decision { generation, reason }) = decide(&history, policy) else {
        let way_out = format!("`farmgate publish {name} DIR`");
        findings.warning(CHECK, format!("{name} has nothing to boot"), way_out);
        return Ok(());
    };
    if let Reason::FellBack { .. } | Reason::NothingBetter { .. } = reason {
        let way_out = format!("`farmgate status {name}` shows how far its boots came");
        findings.warning(CHECK, format!("{name}: {reason}"), way_out);
    }
    files(state, record, &generation, Verdict::Error, findings)?;
    // What it falls back to should the next one be bad.
    if let Some(good) = history.last_good().filter(|good| good.number != generation.number) {
        files(state, record, good, Verdict::Warning, findings)?;
    }
    Ok(())
}

fn certificate(
    state: &State,
    record: &Record,
    now: OffsetDateTime,
    findings: &mut Findings,
) -> Result<()> {
    let (gateways, name) = (state.gateways(), &record.name);
    let way_out = format!("`farmgate gateway renew {name}`, then a new medium");
    let Some(active) = record.active() else {
        findings.warning(CHECK, format!("{name} has no active certificate"), way_out);
        return Ok(());
    };
    let pem = gateways.certificate_pem(record, &active.fingerprint)?;
    let der = CertificateDer::from_pem_slice(pem.as_bytes())?;
    let seconds = now.unix_timestamp().try_into().unwrap_or(0);
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    if let Err(error) = ClientVerifier::new(&state.ca_certificate()?)?.verify(&der, at) {
        findings.error(CHECK, format!("{name} is not let in: {error}"), way_out);
    } else if active.not_after - now < SOON {
        let what = format!("the certificate of {name} runs out on {}", active.not_after.date());
        findings.warning(CHECK, what, way_out);
    }
    let owner = gateways.owner(&active.fingerprint)?;
    if owner.is_none_or(|owner| owner.id != record.id) {
        let index =
            state.dir().join("gateways/.by-fingerprint").join(active.fingerprint.to_string());
        findings.error(
            CHECK,
            format!(
                "the certificate of {name} is not found: {} does not lead there",
                index.display()
            ),
            format!("ln -sfn ../{name} {}", index.display()),
        );
    }
    Ok(())
}

/// Whether the files of a generation are here.
fn files(
    state: &State,
    record: &Record,
    generation: &Generation,
    verdict: Verdict,
    findings: &mut Findings,
) -> Result<()> {
    let (generations, name) = (Generations::new(state), &record.name);
    for (path, asset) in generation.files() {
        let found = match generations.blobs().size(&asset.sha256) {
            Ok(size) if size == asset.size => continue,
            Ok(size) => format!("has {size} of {} bytes", asset.size),
            Err(error) if error.kind() == io::ErrorKind::NotFound => "is missing".to_owned(),
            Err(error) => return Err(error.into()),
        };
        let number = generation.number;
        let what = format!("{name}: {path} of generation {number} {found}");
        if state.config().store.url.is_some() {
            let way_out =
                "it is fetched from the store as soon as that has it; `farmgate store sync`";
            findings.warning(CHECK, what, way_out);
        } else if verdict == Verdict::Error {
            let way_out = format!("publish it again, or `farmgate rollback {name}`");
            findings.error(CHECK, what, way_out);
        } else {
            let what = format!("{what}, and that is what is fallen back to");
            findings.warning(CHECK, what, "publish it again");
        }
    }
    Ok(())
}
