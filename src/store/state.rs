use std::fs;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;
use anyhow::ensure;

use super::commit_log;
use super::files;
use super::gateways::Gateways;
use super::owner;
use super::owner::as_caller;
use super::proxy_mark;
use super::proxy_mark::PROXY_MARK_FILE;
use super::vault::Vault;
use crate::config::Config;
use crate::fleet::KEY_LEN;
use crate::identity::Certificate;
use crate::identity::pki::Authority;
use crate::identity::pki::Issued;

/// Version of the layout of the state directory that this program reads and writes.
const FORMAT: u32 = 1;

/// Passed through by whoever knows a name inside; listed by the owner alone.
/// nginx opens blobs by their SHA-256, which nobody can guess.
const PASSABLE: u32 = 0o711;
const OPEN_DIR: u32 = 0o755;
const PRIVATE_DIR: u32 = 0o700;
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

const CONFIG: &str = "farmgate.toml";
const FORMAT_FILE: &str = "format";

/// The directory that holds everything (`--state`), known to be complete and of
/// a format that this program understands.
#[derive(Clone, Debug)]
pub struct State {
    dir: PathBuf,
    config: Config,
    pki: Arc<Vault>,
}

/// Reads a configuration.
pub fn read_config(path: &Path) -> Result<Config> {
    let text =
        files::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
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
        // First of all: nothing in it is looked at with more rights than its owner has.
        owner::work_as_owner_of(dir)?;
        ensure_one_owner(dir)?;
        let format_file = dir.join("format");
        let format = match files::read_to_string(&format_file) {
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
        let config = match config {
            // Named by whoever started the program.
            Some(path) => as_caller(|| read_config(path))?,
            None => read_config(&dir.join("farmgate.toml"))?,
        };
        let pki = Vault::pki(dir)?;
        if pki.is_sure() {
            Vault::cache(dir)?;
        }
        commit_log::recover_left_over(&dir.join("store"));
        Ok(Self { dir: dir.to_path_buf(), config, pki: Arc::new(pki) })
    }

    /// Makes a new state in `dir`, which must be empty or not there. The format
    /// file comes last: an interrupted `init` can be run again.
    pub fn create(dir: &Path, new: &NewState<'_>) -> Result<()> {
        ensure!(
            !dir.join("format").exists(),
            "{} already holds a farmgate state; nothing was changed",
            dir.display()
        );
        owner::work_as_owner_of(dir)?;
        if owner::is_for_another() {
            // Root gave it to the server's user, and nobody took the name first.
            owner::ensure_made_by_root(dir)?;
        }
        if let Some(parent) = dir.parent() {
            // Whatever the umask: who can write to them can put another state in its place.
            DirBuilder::new()
                .recursive(true)
                .mode(OPEN_DIR)
                .create(parent)
                .with_context(|| format!("cannot make the directory {}", parent.display()))?;
        }
        files::create_own_dir(dir, PASSABLE)?;
        let _lock = files::lock(&dir.join("lock"))?;
        for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let name = entry?.file_name();
            let ours =
                ["lock", "pki", "gateways", "store", "cache", PROXY_MARK_FILE, CONFIG, FORMAT_FILE];
            let name = name.to_string_lossy();
            ensure!(
                ours.iter().any(|ours| name == *ours || files::is_left_over(&name, ours))
                    || name.starts_with(files::UNBORN),
                "{} is not empty: {name} is in it; choose a directory of its own",
                dir.display(),
            );
        }
        files::sweep(dir, &[CONFIG, FORMAT_FILE, PROXY_MARK_FILE, "lock"])
            .with_context(|| format!("cannot clear {}", dir.display()))?;
        let pki = Vault::new_pki(dir)?;
        if !owner::is_for_another() {
            files::create_own_dir(&dir.join("cache"), PRIVATE_DIR)?;
        }
        for (name, mode) in [
            ("gateways", PRIVATE_DIR),
            ("store", PASSABLE),
            ("store/blobs", PASSABLE),
            ("store/private", PRIVATE_DIR),
            ("store/gateways", PRIVATE_DIR),
        ] {
            files::create_own_dir(&dir.join(name), mode)?;
        }
        let keys_and_certificates = [
            // The server can do without it, and what it cannot read, nobody can take from it.
            ("ca.key", PRIVATE, &*new.ca.private_key_pem),
            ("ca.crt", PUBLIC, &*new.ca.certificate_pem),
            ("server.key", PRIVATE, &*new.server.private_key_pem),
            ("server.crt", PUBLIC, &*new.server.certificate_pem),
            ("crl.pem", PUBLIC, new.crl),
        ];
        pki.sweep(&keys_and_certificates.map(|(name, ..)| name))?;
        for (name, mode, content) in keys_and_certificates {
            pki.replace(name, mode, content.as_bytes())?;
        }
        let mark = proxy_mark::new_proxy_mark()?;
        files::replace(&dir.join(PROXY_MARK_FILE), proxy_mark::MODE, |file| {
            file.write_all(mark.as_bytes())
        })?;
        if let Some(config) = new.config {
            files::replace(&dir.join(CONFIG), PUBLIC, |file| file.write_all(config.as_bytes()))?;
        }
        files::replace(&dir.join(FORMAT_FILE), PUBLIC, |file| writeln!(file, "{FORMAT}"))
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
        let pem =
            self.read_pki("ca.crt").with_context(|| format!("cannot read {}", path.display()))?;
        let certificate = Certificate::from_pem(&pem)
            .with_context(|| format!("cannot use {}", path.display()))?;
        Ok(certificate.der)
    }

    /// The same for whoever is about to have media trust it: not one that the server's user could
    /// have put there.
    pub fn ca_certificate_for_media(&self) -> Result<Vec<u8>> {
        let pki = self.dir.join("pki");
        ensure!(
            self.pki.is_sure(),
            "{0} belongs to the server's user, who could have put another CA there, and media \
             would trust it. Is the SHA-256 fingerprint of {0}/ca.crt the one that `init` printed? \
             Then: chown -R root: {0} {1}. Or run this as that user",
            pki.display(),
            self.dir.join("cache").display()
        );
        self.ca_certificate()
    }

    /// Reads a file of the PKI.
    pub fn read_pki(&self, name: &str) -> io::Result<Vec<u8>> {
        self.pki.read(name)
    }

    /// Writes a file of the PKI; a key for its owner alone.
    pub fn write_pki(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let mode = if name.ends_with(".key") { PRIVATE } else { PUBLIC };
        self.pki.replace(name, mode, bytes)
    }

    /// Whether this process can write what the CA signs.
    pub(super) fn can_sign(&self) -> bool {
        self.read_pki("ca.key").is_ok() && self.pki.is_writable()
    }

    /// The CA, with its private key.
    pub fn authority(&self) -> Result<Authority> {
        let read = |name| {
            let path = self.pki_file(name);
            let text = self
                .read_pki(name)
                .and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
            text.map_err(|error| {
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

    /// Does `work` in the directory where things are kept that can be made again, with the
    /// rights that it takes to write there.
    pub fn with_cache<T>(&self, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let cache = Vault::cache(&self.dir)?;
        if cache.is_roots() { as_caller(|| work(&cache.path())) } else { work(&cache.path()) }
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
    match files::read(path) {
        Ok(key) => key.try_into().map(Some).map_err(|_| {
            anyhow!("{} is damaged; remove it, and a new one is made", path.display())
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(format!("cannot read {}", path.display())),
    }
}

/// Root works on all of a state as the owner of its directory: what belongs to somebody else in a
/// directory of root's would be worked on as root.
fn ensure_one_owner(dir: &Path) -> Result<()> {
    if owner::is_for_another() || !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    for name in ["store", "gateways", "leases", "buckets", "pki", "cache"] {
        let path = dir.join(name);
        match fs::symlink_metadata(&path) {
            Ok(facts) if facts.uid() != 0 => bail!(
                "{} belongs to root, and {} to user {}: give all of it to one of them (chown -R)",
                dir.display(),
                path.display(),
                facts.uid(),
            ),
            _ => {}
        }
    }
    Ok(())
}
