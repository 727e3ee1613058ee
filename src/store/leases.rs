//! Leases of secrets: `STATE/leases/`. A lease lets whoever has its token read the
//! secrets of one boot, a few times and for a short while. The disk knows the
//! SHA-256 of the token only, and no secret.

use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Serialize;
use sha2::Digest;
use sha2::Sha256;
use time::Duration;
use time::OffsetDateTime;

use super::events::EventId;
use super::files;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;

/// Bytes of a token: nobody guesses 256 random bits.
const TOKEN_LEN: usize = 32;

const LEASE: &str = "lease.json";
// No SHA-256 begins like this.
const UNBORN: &str = "new-";
const GONE: &str = "gone-";

/// What a lease is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lease {
    /// Whose secrets.
    pub gateway: GatewayName,
    /// Its id: the name alone could have gone to another one meanwhile.
    pub gateway_id: String,
    /// The certificate that the boot came with.
    pub fingerprint: Fingerprint,
    /// The generation whose template it is.
    pub generation: EventId,
    /// The boot, if it could be recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<EventId>,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    made: OffsetDateTime,
    /// How long it lasts, in seconds.
    seconds: u32,
    /// How often it may be read.
    max_reads: u32,
}

impl Lease {
    /// A clock that stands before the lease was made says nothing about its age, so
    /// that too ends it.
    fn lasts(&self, now: OffsetDateTime) -> bool {
        let age = now - self.made;
        (Duration::ZERO..Duration::seconds(self.seconds.into())).contains(&age)
    }
}

/// All leases.
#[derive(Clone, Debug)]
pub struct Leases {
    dir: PathBuf,
}

/// How long leases last and how often they can be read.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// In seconds.
    pub seconds: u32,
    /// At least 1.
    pub max_reads: u32,
}

impl Leases {
    /// The leases in `dir`, which is made if it is not there. Nobody else may be
    /// granting any meanwhile.
    pub fn open(dir: PathBuf) -> Result<Self> {
        files::create_dir(&dir, 0o700)?;
        let leases = Self { dir };
        leases.clear(|name| name.starts_with(UNBORN) || name.starts_with(GONE))?;
        Ok(leases)
    }

    /// Makes a lease, and returns its token: 43 letters, digits, `-` and `_`.
    pub fn grant(
        &self,
        gateway: (&GatewayName, &str),
        fingerprint: Fingerprint,
        generation: EventId,
        boot: Option<EventId>,
        terms: Terms,
        now: OffsetDateTime,
    ) -> Result<String> {
        let mut token = [0; TOKEN_LEN];
        getrandom::fill(&mut token).context("no randomness for a token")?;
        let token = BASE64_URL_SAFE_NO_PAD.encode(token);
        let lease = Lease {
            gateway: gateway.0.clone(),
            gateway_id: gateway.1.to_owned(),
            fingerprint,
            generation,
            boot,
            made: now,
            seconds: terms.seconds,
            max_reads: terms.max_reads,
        };
        let name = name(&token);
        let (cradle, home) = (self.dir.join(format!("{UNBORN}{name}")), self.dir.join(name));
        files::create_dir(&cradle, 0o700)?;
        files::replace(&cradle.join(LEASE), 0o600, |file| {
            serde_json::to_writer(file, &lease).map_err(io::Error::from)
        })?;
        fs::rename(&cradle, &home)
            .and_then(|()| files::sync_parent(&home))
            .with_context(|| format!("cannot make {}", home.display()))?;
        Ok(token)
    }

    /// Uses up one reading; `None` if there is no such lease, or not any more. The
    /// reading is used up, durably, before this returns, whatever comes after.
    pub fn redeem(&self, token: &str, now: OffsetDateTime) -> Result<Option<Lease>> {
        let name = name(token);
        let home = self.dir.join(&name);
        let Some(lease) = read(&home)? else { return Ok(None) };
        if !lease.lasts(now) {
            self.end(&name)?;
            return Ok(None);
        }
        for reading in 1..=lease.max_reads {
            // Made by one reader only, however many try at once; and by none once the
            // lease is over, since its folder is gone then.
            let mark = home.join(reading.to_string());
            match File::create_new(&mark) {
                Ok(_) if reading == lease.max_reads => {
                    self.end(&name)?;
                    return Ok(Some(lease));
                }
                Ok(file) => {
                    file.sync_all()?;
                    match files::sync_parent(&mark) {
                        // The last reading ended the lease meanwhile; this one still counts.
                        Err(error) if error.kind() != io::ErrorKind::NotFound => {
                            return Err(error.into());
                        }
                        _ => return Ok(Some(lease)),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot make {}", mark.display()));
                }
            }
        }
        Ok(None)
    }

    /// Removes the leases whose time is over.
    pub fn sweep(&self, now: OffsetDateTime) -> Result<()> {
        self.clear(|name| {
            let over = |lease: Option<Lease>| lease.is_some_and(|lease| !lease.lasts(now));
            !name.starts_with(UNBORN) && read(&self.dir.join(name)).is_ok_and(over)
        })
    }

    fn clear(&self, is_over: impl Fn(&str) -> bool) -> Result<()> {
        let cannot = || format!("cannot clear {}", self.dir.display());
        for entry in fs::read_dir(&self.dir).with_context(cannot)? {
            let name = entry.with_context(cannot)?.file_name();
            if let Some(name) = name.to_str().filter(|name| is_over(name)) {
                self.end(name)?;
            }
        }
        Ok(())
    }

    /// Ends a lease: from the moment at which its folder has another name, nobody
    /// can read it.
    fn end(&self, name: &str) -> Result<()> {
        let (home, grave) = (self.dir.join(name), self.dir.join(format!("{GONE}{name}")));
        let end = || -> io::Result<()> {
            match fs::rename(&home, &grave) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                renamed => renamed?,
            }
            files::sync_parent(&home)?;
            fs::remove_dir_all(&grave)
        };
        end().with_context(|| format!("cannot remove {}", home.display()))
    }
}

/// What a token's lease is called.
fn name(token: &str) -> String {
    hex::encode(Sha256::digest(token))
}

fn read(home: &Path) -> Result<Option<Lease>> {
    let path = home.join(LEASE);
    let text = match files::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let lease = serde_json::from_slice(&text);
    lease.map(Some).with_context(|| format!("{} is damaged", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const TERMS: Terms = Terms { seconds: 60, max_reads: 1 };

    fn leases() -> (tempfile::TempDir, Leases) {
        let dir = tempfile::tempdir().unwrap();
        let leases = Leases::open(dir.path().join("leases")).unwrap();
        (dir, leases)
    }

    fn generation() -> EventId {
        EventId::parse("0192a8c0-0000-7000-8000-000000000007").unwrap()
    }

    fn grant(leases: &Leases, terms: Terms, now: OffsetDateTime) -> String {
        let owner = (&"lab-1".parse().unwrap(), "lab-1-0a");
        let fingerprint = Fingerprint::from_bytes([1; 32]);
        leases.grant(owner, fingerprint, generation(), None, terms, now).unwrap()
    }

    fn files(leases: &Leases) -> BTreeSet<String> {
        let entries = fs::read_dir(&leases.dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn it_is_read_as_often_as_agreed_and_then_gone() {
        let (_dir, leases) = leases();
        let now = OffsetDateTime::UNIX_EPOCH;
        for max_reads in 1..=3 {
            let token = grant(&leases, Terms { max_reads, ..TERMS }, now);
            assert!(
                !files(&leases).iter().any(|name| name.contains(&token)),
                "the token is on disk"
            );
            for _ in 0..max_reads {
                assert_eq!(leases.redeem(&token, now).unwrap().unwrap().generation, generation());
            }
            assert_eq!(leases.redeem(&token, now).unwrap(), None);
        }
        assert_eq!(files(&leases), BTreeSet::new());
        assert_eq!(leases.redeem("../../format", now).unwrap(), None);
        assert_eq!(leases.redeem("", now).unwrap(), None);
    }

    #[test]
    fn it_ends_with_its_time_also_when_the_clock_is_set_back() {
        let (_dir, leases) = leases();
        let made = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        for (later, lasts) in [
            (Duration::ZERO, true),
            (Duration::seconds(59), true),
            (Duration::seconds(60), false),
            (-Duration::SECOND, false),
            (-Duration::days(365), false),
        ] {
            let token = grant(&leases, TERMS, made);
            leases.sweep(made).unwrap();
            assert_eq!(leases.redeem(&token, made + later).unwrap().is_some(), lasts, "{later}");
        }
        grant(&leases, TERMS, made);
        leases.sweep(made + Duration::HOUR).unwrap();
        assert_eq!(files(&leases), BTreeSet::new());
    }

    #[test]
    fn of_many_readers_at_once_only_so_many_get_it() {
        let (_dir, leases) = leases();
        let now = OffsetDateTime::UNIX_EPOCH;
        for max_reads in [1, 3] {
            let token = grant(&leases, Terms { max_reads, ..TERMS }, now);
            let read = || leases.redeem(&token, now).unwrap().is_some();
            let got = std::thread::scope(|scope| {
                let readers: Vec<_> = (0..16).map(|_| scope.spawn(read)).collect();
                readers.into_iter().map(|r| u32::from(r.join().unwrap())).sum::<u32>()
            });
            assert_eq!(got, max_reads);
        }
    }
}
