use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;
use anyhow::ensure;

use super::files;
use super::gateways::Gateways;
use super::proxy_mark;
use super::proxy_mark::PROXY_MARK_FILE;
use crate::boot::KEY_LEN;
use crate::config::Config;
use crate::identity::Certificate;
use crate::identity::pki::Authority;
use crate::identity::pki::Issued;

/// Version of the layout of the state directory that this program reads and writes.
const FORMAT: u32 = 1;

/// Passed through by whoever knows a name inside; listed by the owner alone.
/// nginx opens blobs by their SHA-256, which nobody can guess.
const PASSABLE: u32 = 0o711;
const PRIVATE_DIR: u32 = 0o700;
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// The directory that holds everything (`--state`), known to be complete and of
/// a format that this program understands.
#[derive(Clone, Debug)]
pub struct State {
    dir: PathBuf,
    config: Config,
}

/// Reads a configuration.
pub fn read_config(path: &Path) -> Result<Config> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Config::parse(&text).with_context(|| format!("cannot use {}", path.display()))
}

/// What a new state is made of.
pub struct NewState<'a> {
    /// Text of `farmgate.toml`, unless the configuration is elsewhere.
    pub config: Option<&'a str>,
    /// Certificate and key of the CA.
    pub ca: &'a Issued,
    /// Chain and key of the boot host.
    pub server: &'a Issued,
    /// First, empty CRL (PEM).
    pub crl: &'a str,
}

impl State {
    /// Opens the state in `dir`. `config` names a configuration other than
    /// `dir/farmgate.toml`.
    pub fn open(dir: &Path, config: Option<&Path>) -> Result<Self> {
        let format_file = dir.join("format");
        let format = match fs::read_to_string(&format_file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
                "{} holds no farmgate state; make one with `farmgate init`, \
                 or name another directory with --state",
                dir.display()
            ),
            Err(error) => {
                return Err(error).context(format!("cannot read {}", format_file.display()));
            }
        };
        match format.trim().parse() {
            Ok(FORMAT) => {}
            Ok(newer) if newer > FORMAT => bail!(
                "{} was written by a newer farmgate (format {newer}, this one knows {FORMAT}); \
                 install that version",
                dir.display()
            ),
            _ => bail!(
                "{} does not hold the number of a format that farmgate has written; \
                 restore the state from a backup",
                format_file.display()
            ),
        }
        let config_file = config.map_or_else(|| dir.join("farmgate.toml"), Path::to_path_buf);
        Ok(Self { dir: dir.to_path_buf(), config: read_config(&config_file)? })
    }

    /// Makes a new state in `dir`, which must be empty or not there. The format
    /// file comes last: an interrupted `init` can be run again.
    pub fn create(dir: &Path, new: &NewState<'_>) -> Result<()> {
        ensure!(
            !dir.join("format").exists(),
            "{} already holds a farmgate state; nothing was changed",
            dir.display()
        );
        if let Some(parent) = dir.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot make the directory {}", parent.display()))?;
        }
        files::create_dir(dir, PASSABLE)?;
        let _lock = files::lock(&dir.join("lock"))?;
        for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let name = entry?.file_name();
            let ours =
                ["lock", "pki", "gateways", "store", "cache", PROXY_MARK_FILE, "farmgate.toml"];
            ensure!(
                ours.iter().any(|ours| name == *ours)
                    || name.to_string_lossy().starts_with(files::UNBORN),
                "{} is not empty: {} is in it; choose a directory of its own",
                dir.display(),
                Path::new(&name).display()
            );
        }
        for (name, mode) in [
            ("pki", PRIVATE_DIR),
            ("gateways", PRIVATE_DIR),
            ("cache", PRIVATE_DIR),
            ("store", PASSABLE),
            ("store/blobs", PASSABLE),
            ("store/private", PRIVATE_DIR),
            ("store/gateways", PRIVATE_DIR),
        ] {
            files::create_dir(&dir.join(name), mode)?;
        }
        // Not given to the owner of the state: the server can do without it, and what it
        // cannot read, nobody can take from it.
        files::export(&dir.join("pki/ca.key"), PRIVATE, |file| {
            file.write_all(new.ca.private_key_pem.as_bytes())
        })?;
        for (name, mode, content) in [
            ("pki/ca.crt", PUBLIC, &*new.ca.certificate_pem),
            ("pki/server.key", PRIVATE, &*new.server.private_key_pem),
            ("pki/server.crt", PUBLIC, &*new.server.certificate_pem),
            ("pki/crl.pem", PUBLIC, new.crl),
            (PROXY_MARK_FILE, proxy_mark::MODE, &*proxy_mark::new_proxy_mark()?),
            ("farmgate.toml", PUBLIC, new.config.unwrap_or_default()),
            ("format", PUBLIC, &format!("{FORMAT}\n")),
        ] {
            if name == "farmgate.toml" && new.config.is_none() {
                continue;
            }
            files::replace(&dir.join(name), mode, |file| file.write_all(content.as_bytes()))?;
        }
        Ok(())
    }

    /// The directory itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The configuration, as it was when the state was opened.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A file of the PKI: `ca.crt`, `server.crt`, `server.key`, `crl.pem`.
    pub fn pki_file(&self, name: &str) -> PathBuf {
        self.dir.join("pki").join(name)
    }

    /// The CA's certificate, DER.
    pub fn ca_certificate(&self) -> Result<Vec<u8>> {
        let path = self.pki_file("ca.crt");
        let pem = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let certificate = Certificate::from_pem(&pem)
            .with_context(|| format!("cannot use {}", path.display()))?;
        Ok(certificate.der)
    }

    /// The CA, with its private key.
    pub fn authority(&self) -> Result<Authority> {
        let read = |name| {
            let path = self.pki_file(name);
            fs::read_to_string(&path).map_err(|error| {
                let way_out = match error.kind() {
                    io::ErrorKind::PermissionDenied => "; run this as the user who made the state",
                    _ => "",
                };
                anyhow!(error).context(format!("cannot read {}{way_out}", path.display()))
            })
        };
        Authority::from_pem(&read("ca.crt")?, &read("ca.key")?)
            .with_context(|| format!("cannot use the CA in {}", self.dir.join("pki").display()))
    }

    /// The key of acknowledgement tokens, made when it is first asked for.
    pub fn token_key(&self) -> Result<[u8; KEY_LEN]> {
        let path = self.dir.join("token.key");
        // A server must start also while some command holds the lock.
        if let Some(key) = read_token_key(&path)? {
            return Ok(key);
        }
        let _lock = self.lock()?;
        if let Some(key) = read_token_key(&path)? {
            return Ok(key);
        }
        let mut key = [0; KEY_LEN];
        getrandom::fill(&mut key).context("no randomness for a new key")?;
        files::replace(&path, PRIVATE, |file| file.write_all(&key))?;
        Ok(key)
    }

    /// Where things are kept that can be made again.
    pub fn cache_dir(&self) -> PathBuf {
        self.dir.join("cache")
    }

    /// Where leases of secrets are.
    pub fn leases_dir(&self) -> PathBuf {
        self.dir.join("leases")
    }

    /// Where blobs and events are.
    pub fn store_dir(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// The gateways' records.
    pub fn gateways(&self) -> Gateways {
        Gateways::new(self.dir.join("gateways"))
    }

    /// Keeps other commands from changing the state until the lock is dropped.
    /// Reading, and so serving, needs no lock.
    pub fn lock(&self) -> Result<files::Lock> {
        files::lock(&self.dir.join("lock"))
    }
}

fn read_token_key(path: &Path) -> Result<Option<[u8; KEY_LEN]>> {
    match fs::read(path) {
        Ok(key) => key.try_into().map(Some).map_err(|_| {
            anyhow!("{} is damaged; remove it, and a new one is made", path.display())
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(format!("cannot read {}", path.display())),
    }
}
