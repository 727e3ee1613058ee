use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use clap::Subcommand;
use rustls::pki_types::UnixTime;
use serde::Serialize;
use time::Duration;
use time::OffsetDateTime;

use super::Context;
use super::damage::Damage;
use super::now;
use crate::fleet::Assessment;
use crate::fleet::OwnedCertificate;
use crate::fleet::Record;
use crate::identity::Certificate;
use crate::identity::ClientVerifier;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;
use crate::identity::pki::ALWAYS;
use crate::identity::pki::NO_END;
use crate::identity::pki::Validity;
use crate::identity::usable_client;
use crate::store::State;
use crate::store::files;
use crate::store::generations::Generations;
use crate::store::generations::Readable;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Register a gateway and issue (or take over) its certificate
    Add {
        #[command(flatten)]
        gateway: super::Gateway,
        #[command(flatten)]
        source: Source,
        /// Leave a gateway that is there already as it is; with --cert, see that it has
        /// this certificate
        #[arg(long, conflicts_with = "csr")]
        if_missing: bool,
    },
    /// Show all gateways
    List,
    /// Show one gateway and its certificates
    Show {
        #[command(flatten)]
        gateway: super::Gateway,
    },
    /// Give a gateway a new certificate; those it has stay good until revoked
    Renew {
        #[command(flatten)]
        gateway: super::Gateway,
        #[command(flatten)]
        source: Source,
    },
    /// Change how a gateway is treated
    Set {
        #[command(flatten)]
        gateway: super::Gateway,
        /// "none" if its system never acknowledges a boot, else "default"
        #[arg(long, value_name = "HOW")]
        assessment: Assessment,
    },
    /// Shut out certificates of a gateway, at once and for good
    Revoke {
        #[command(flatten)]
        gateway: super::Gateway,
        /// Only the certificate with this fingerprint, not all
        #[arg(long, value_name = "FP")]
        fingerprint: Option<Fingerprint>,
    },
    /// Revoke all certificates of a gateway and forget it, its keys and generations
    Remove {
        #[command(flatten)]
        gateway: super::Gateway,
    },
}

/// Where a certificate comes from.
#[derive(clap::Args)]
pub(super) struct Source {
    /// Take over this certificate (PEM), which the CA of this state has signed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["csr", "days"])]
    cert: Option<PathBuf>,
    /// Issue a certificate for this signing request (PEM); its key stays where it is
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,
    /// Days until the certificate runs out, and its medium with it [default: never; revoking
    /// ends it]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    days: Option<u16>,
}

impl Source {
    /// Reads what is given, before anybody has to wait for this.
    fn read(self) -> Result<Given> {
        let read = |path: Option<PathBuf>| {
            path.map(|path| Ok::<_, anyhow::Error>((files::read_given(&path)?, path))).transpose()
        };
        Ok(Given { cert: read(self.cert)?, csr: read(self.csr)?, days: self.days })
    }
}

/// What [`Source`] names, with where it was.
struct Given {
    cert: Option<(Vec<u8>, PathBuf)>,
    csr: Option<(Vec<u8>, PathBuf)>,
    days: Option<u16>,
}

impl Given {
    /// Whether the gateway has the certificate that is given, if one is.
    fn is_known(&self, record: &Record) -> Result<bool> {
        let Some((pem, path)) = &self.cert else { return Ok(true) };
        let certificate =
            Certificate::from_pem(pem).with_context(|| format!("cannot use {}", path.display()))?;
        Ok(record.certificate(&certificate.fingerprint).is_some())
    }

    /// The certificate (PEM), and its key if it was made here.
    fn certificate(&self, state: &State, name: &GatewayName) -> Result<(String, Option<String>)> {
        let not_after = self.days.map_or(NO_END, |days| now() + Duration::days(days.into()));
        let validity = Validity { not_before: ALWAYS, not_after };
        let text = |pem: &[u8], path: &Path| {
            String::from_utf8(pem.to_vec())
                .with_context(|| format!("cannot use {}", path.display()))
        };
        if let Some((pem, path)) = &self.cert {
            let pem = text(pem, path)?;
            let certificate = Certificate::from_pem(pem.as_bytes())
                .with_context(|| format!("cannot use {}", path.display()))?;
            usable_client(&certificate.der).with_context(|| {
                format!("no gateway could boot with {}: not taken over", path.display())
            })?;
            ClientVerifier::new(&state.ca_certificate()?)?
                .verify(&certificate.der, UnixTime::now())
                .with_context(|| {
                    format!("{} would not be let in: not taken over", path.display())
                })?;
            state.ensure_not_revoked(&certificate)?;
            return Ok((pem, None));
        }
        let authority = state.authority()?;
        if let Some((request, path)) = &self.csr {
            let pem = authority
                .sign_request(name, &text(request, path)?, validity)
                .with_context(|| format!("cannot use {}", path.display()))?;
            return Ok((pem, None));
        }
        let issued = authority.issue_client(name, state.config().key_type, validity)?;
        Ok((issued.certificate_pem, Some(issued.private_key_pem)))
    }
}

impl Command {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let gateways = state.gateways();
        match self {
            Self::Add { gateway, source, if_missing } => {
                let source = source.read()?;
                let _lock = state.lock()?;
                if if_missing && gateways.names()?.contains(&gateway.name) {
                    let record = gateways.load(&gateway.name)?;
                    if source.is_known(&record)? {
                        return context.print(&Changed::of(&record, "unchanged"));
                    }
                    let (pem, key) = source.certificate(&state, &gateway.name)?;
                    let record = gateways.renew(&gateway.name, &pem, key.as_deref())?;
                    return context.print(&Changed::of(&record, "renewed"));
                }
                // Before a key is made for nothing.
                gateways.ensure_free(&gateway.name)?;
                let (pem, key) = source.certificate(&state, &gateway.name)?;
                let record = gateways.add(&gateway.name, &pem, key.as_deref(), now())?;
                context.print(&Changed::of(&record, "added"))
            }
            Self::Renew { gateway, source } => {
                let source = source.read()?;
                let _lock = state.lock()?;
                gateways.load(&gateway.name)?;
                let (pem, key) = source.certificate(&state, &gateway.name)?;
                let record = gateways.renew(&gateway.name, &pem, key.as_deref())?;
                context.print(&Changed::of(&record, "renewed"))
            }
            Self::Set { gateway, assessment } => {
                let _lock = state.lock()?;
                let mut record = gateways.load(&gateway.name)?;
                record.assessment = assessment;
                gateways.save(&record)?;
                let mut damage = Damage::default();
                context.print(&Shown::of(&state, record, &mut damage)?)?;
                damage.result()
            }
            Self::List => {
                let (mut rows, mut damage) = (Vec::new(), Damage::default());
                for name in gateways.names()? {
                    let record = gateways.load(&name);
                    let shown = record.and_then(|record| Shown::of(&state, record, &mut damage));
                    rows.push(shown.map_or_else(
                        |error| Listed::Damaged {
                            error: damage.note(&name, &error),
                            gateway: name,
                        },
                        Listed::Shown,
                    ));
                }
                context.print(&List(rows))?;
                damage.result()
            }
            Self::Show { gateway } => {
                let mut damage = Damage::default();
                let record = gateways.load(&gateway.name)?;
                context.print(&Shown::of(&state, record, &mut damage)?)?;
                damage.result()
            }
            Self::Revoke { gateway, fingerprint } => {
                let revoked = state.revoke(&gateway.name, fingerprint.as_ref(), now())?;
                context.print(&Revoked { gateway: gateway.name, revoked })
            }
            Self::Remove { gateway } => {
                state.remove_gateway(&gateway.name, now())?;
                context.print(&Removed { removed: gateway.name })
            }
        }
    }
}

#[derive(Serialize)]
struct Changed {
    gateway: GatewayName,
    done: &'static str,
    fingerprint: Option<Fingerprint>,
}

impl Changed {
    fn of(record: &Record, done: &'static str) -> Self {
        let fingerprint = record.active().map(|active| active.fingerprint);
        Self { gateway: record.name.clone(), done, fingerprint }
    }
}

impl std::fmt::Display for Changed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.done, self.gateway)?;
        self.fingerprint.map_or(Ok(()), |fingerprint| write!(f, "\n{fingerprint}"))
    }
}

#[derive(Serialize)]
struct Revoked {
    gateway: GatewayName,
    revoked: Vec<Fingerprint>,
}

impl std::fmt::Display for Revoked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.revoked.is_empty() {
            return write!(f, "{}: revoked already", self.gateway);
        }
        write!(f, "revoked {}", self.gateway)?;
        self.revoked.iter().try_for_each(|fingerprint| write!(f, "\n{fingerprint}"))
    }
}

#[derive(Serialize)]
struct Removed {
    removed: GatewayName,
}

impl std::fmt::Display for Removed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "removed {}", self.removed)
    }
}

#[derive(Serialize)]
struct Shown {
    gateway: GatewayName,
    #[serde(with = "time::serde::rfc3339")]
    added: OffsetDateTime,
    generation: Option<u64>,
    assessment: Assessment,
    certificates: Vec<ShownCertificate>,
    /// What cannot be read of it, and is not in the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct ShownCertificate {
    #[serde(flatten)]
    owned: OwnedCertificate,
    key_kept_here: bool,
}

impl Shown {
    fn of(state: &State, record: Record, damage: &mut Damage) -> Result<Self> {
        let Readable { history, damaged } = Generations::new(state).readable(&record.id)?;
        let wrong: Vec<_> = damaged.iter().map(|error| damage.note(&record.name, error)).collect();
        let gateways = state.gateways();
        let certificate = |owned: OwnedCertificate| ShownCertificate {
            key_kept_here: gateways.has_key(&record.name, &owned.fingerprint),
            owned,
        };
        Ok(Self {
            certificates: record.certificates.iter().cloned().map(certificate).collect(),
            added: record.added,
            assessment: record.assessment,
            generation: history.current().map(|generation| generation.number),
            error: (!wrong.is_empty()).then(|| wrong.join("; ")),
            gateway: record.name,
        })
    }
}

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let generation = self.generation.map_or("none".to_owned(), |number| number.to_string());
        write!(f, "{}\n  added       {}", self.gateway, self.added.date())?;
        write!(f, "\n  generation  {generation}")?;
        if self.assessment == Assessment::None {
            write!(f, ", not assessed")?;
        }
        for ShownCertificate { owned, key_kept_here } in &self.certificates {
            let key = if *key_kept_here { ", key kept here" } else { "" };
            let (state, until) = (owned.state, owned.not_after.date());
            write!(f, "\n  {state:<10}  {}  until {until}{key}", owned.fingerprint)?;
        }
        self.error.as_ref().map_or(Ok(()), |error| write!(f, "\n  {error}"))
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct List(Vec<Listed>);

/// A gateway in the list.
#[derive(Serialize)]
#[serde(untagged)]
enum Listed {
    Shown(Shown),
    /// Its record cannot be read.
    Damaged {
        gateway: GatewayName,
        error: String,
    },
}

impl std::fmt::Display for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return write!(f, "no gateways yet; `farmgate gateway add NAME` makes one");
        }
        write!(f, "{:<24} {:>10}  {:<10}  {:<10}", "GATEWAY", "GENERATION", "CERT UNTIL", "STATE")?;
        for listed in &self.0 {
            let shown = match listed {
                Listed::Shown(shown) => shown,
                Listed::Damaged { gateway, error } => {
                    write!(f, "\n{:<24} {error}", gateway.as_str())?;
                    continue;
                }
            };
            let generation = shown.generation.map_or("-".to_owned(), |number| number.to_string());
            let (until, state) = shown.certificates.last().map_or_else(
                || ("-".to_owned(), "-".to_owned()),
                |last| (last.owned.not_after.date().to_string(), last.owned.state.to_string()),
            );
            write!(
                f,
                "\n{:<24} {generation:>10}  {until:<10}  {state:<10}",
                shown.gateway.as_str()
            )?;
            if let Some(error) = &shown.error {
                write!(f, "\n{:<24} {error}", "")?;
            }
        }
        Ok(())
    }
}
