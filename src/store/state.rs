//! The state: opens it, makes it, and gives the paths in it. Touches the disk.

use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::io;
use std::io::Read;
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
use super::layout;
use super::layout::FILES;
use super::layout::FOLDERS;
use super::layout::Made;
use super::lock;
use super::lock::StateLock;
use super::owner;
use super::owner::as_caller;
use super::relocate;
use super::stamp::Stamp;
use super::vault::Vault;
use crate::config::Config;
use crate::fleet::KEY_LEN;
use crate::identity::Certificate;
use crate::identity::ProxyMark;
use crate::identity::pki::Authority;
use crate::identity::pki::Issued;

/// Version of the layout that this program reads and writes.
const FORMAT: u32 = 1;

/// Mode of missing directories above the state.
const OPEN_DIR: u32 = 0o755;

/// The state (`--state`), complete and of a format that this program reads.
#[derive(Clone, Debug)]
pub struct State {
    dir: PathBuf,
    config: Config,
    pki: Arc<Vault>,
    /// [`layout::FORMAT`], with a shared lock: nobody moves the state while it is open.
    format: Arc<File>,
}

/// Reads a configuration.
pub fn read_config(path: &Path) -> Result<Config> {
    let text =
        files::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Config::parse(&text).with_context(|| format!("cannot use {}", path.display()))
}

/// Contents of a new state.
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
        // First: nothing in it may be read with more rights than its owner has.
        owner::work_as_owner_of(dir)?;
        ensure_one_owner(dir)?;
        let format_file = dir.join(layout::FORMAT);
        let Some((format, held)) = open_format(&format_file)? else {
            if let Some(why) = relocate::why_there_is_none(dir) {
                bail!(why);
            }
            bail!(
                "{} holds no farmgate state; make one with `farmgate init`, \
                 or name another directory with --state",
                dir.display()
            )
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
            // The caller named it.
            Some(path) => as_caller(|| read_config(path))?,
            None => read_config(&dir.join(layout::CONFIG))?,
        };
        let pki = Vault::pki(dir)?;
        if pki.is_sure() {
            Vault::cache(dir)?;
        }
        commit_log::recover_left_over(&dir.join("store"));
        Ok(Self { dir: dir.to_path_buf(), config, pki: Arc::new(pki), format: Arc::new(held) })
    }

    /// Fails unless no other process has the state open; none can open it then until this is dropped.
    pub(super) fn hold_alone(&self) -> Result<()> {
        lock::take(&self.format, &self.dir.join(layout::FORMAT), lock::GLANCE)
    }

    /// Makes a new state in `dir`, which must be empty or missing. The format file comes last: an
    /// interrupted `init` can be run again.
    pub fn create(dir: &Path, new: &NewState<'_>) -> Result<()> {
        ensure!(
            !dir.join(layout::FORMAT).exists(),
            "{} already holds a farmgate state; nothing was changed",
            dir.display()
        );
        owner::work_as_owner_of(dir)?;
        if owner::is_for_another() {
            // Root has given it to the server's user, and nobody had taken the name before.
            owner::ensure_made_by_root(dir)?;
        }
        if let Some(parent) = dir.parent() {
            // Independent of the umask: a user who can write to them could replace the state.
            DirBuilder::new()
                .recursive(true)
                .mode(OPEN_DIR)
                .create(parent)
                .with_context(|| format!("cannot make the directory {}", parent.display()))?;
        }
        files::create_own_dir(dir, layout::STATE_MODE)?;
        let _lock = lock::at(&dir.join(layout::LOCK))?;
        ensure_empty_but_for_leftovers(dir)?;
        let top = FILES.iter().filter(|file| !file.path.contains('/'));
        let top: Vec<_> = top.map(|file| file.path).collect();
        files::sweep(dir, &top).with_context(|| format!("cannot clear {}", dir.display()))?;
        let pki = Vault::new_pki(dir)?;
        for folder in FOLDERS.iter().filter(|folder| folder.made == Made::AtInit) {
            match folder.path {
                layout::PKI => {}
                // Root makes its own on first use.
                layout::CACHE if owner::is_for_another() => {}
                path => files::create_own_dir(&dir.join(path), folder.mode)?,
            }
        }
        let keys_and_certificates = [
            // The server can do without it, and a key out of the server's reach cannot be stolen
            // through the server.
            (layout::CA_KEY, &*new.ca.private_key_pem),
            (layout::CA, &*new.ca.certificate_pem),
            (layout::SERVER_KEY, &*new.server.private_key_pem),
            (layout::SERVER, &*new.server.certificate_pem),
            (layout::CRL, new.crl),
        ];
        pki.sweep(&keys_and_certificates.map(|(name, _)| name))?;
        for (name, content) in keys_and_certificates {
            pki.replace(name, layout::pki_mode(name), content.as_bytes())?;
        }
        let write = |name: &str, mode, text: &str| {
            files::replace(&dir.join(name), mode, |file| file.write_all(text.as_bytes()))
        };
        write(layout::PROXY_MARK, layout::PRIVATE, &new_proxy_mark()?)?;
        if let Some(config) = new.config {
            write(layout::CONFIG, layout::PUBLIC, config)?;
        }
        write(layout::FORMAT, layout::PUBLIC, &format!("{FORMAT}\n"))
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
        self.dir.join(layout::PKI).join(name)
    }

    /// The CA's certificate, DER.
    pub fn ca_certificate(&self) -> Result<Vec<u8>> {
        let path = self.pki_file(layout::CA);
        let pem =
            self.read_pki(layout::CA).with_context(|| format!("cannot read {}", path.display()))?;
        let certificate = Certificate::from_pem(&pem)
            .with_context(|| format!("cannot use {}", path.display()))?;
        Ok(certificate.der)
    }

    /// The CA's certificate for new media, which will trust it. Fails if the server's user could
    /// have replaced it.
    pub fn ca_certificate_for_media(&self) -> Result<Vec<u8>> {
        let pki = self.dir.join(layout::PKI);
        ensure!(
            self.pki.is_sure(),
            "{0} belongs to the server's user, who could have put another CA there, and media \
             would trust it. Is the SHA-256 fingerprint of {0}/ca.crt the one that `init` printed? \
             Then: chown -R root: {0} {1}. Or run this as that user",
            pki.display(),
            self.dir.join(layout::CACHE).display()
        );
        self.ca_certificate()
    }

    /// Reads a file of the PKI.
    pub fn read_pki(&self, name: &str) -> io::Result<Vec<u8>> {
        self.pki.read(name)
    }

    /// Writes a file of the PKI; keys are readable by their owner alone.
    pub fn write_pki(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.pki.replace(name, layout::pki_mode(name), bytes)
    }

    /// Says whether this process can write what the CA signs.
    pub(super) fn can_sign(&self) -> bool {
        self.read_pki(layout::CA_KEY).is_ok() && self.pki.is_writable()
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
        Authority::from_pem(&read(layout::CA)?, &read(layout::CA_KEY)?).with_context(|| {
            format!("cannot use the CA in {}", self.dir.join(layout::PKI).display())
        })
    }

    /// The key of acknowledgement tokens; made on first use.
    pub fn token_key(&self) -> Result<[u8; KEY_LEN]> {
        let path = self.dir.join(layout::TOKEN_KEY);
        // The server must start even while a command holds the lock.
        if let Some(key) = read_token_key(&path)? {
            return Ok(key);
        }
        let _lock = self.lock()?;
        if let Some(key) = read_token_key(&path)? {
            return Ok(key);
        }
        let mut key = [0; KEY_LEN];
        getrandom::fill(&mut key).context("no randomness for a new key")?;
        files::replace(&path, layout::PRIVATE, |file| file.write_all(&key))?;
        Ok(key)
    }

    /// Calls `work` with the cache directory and the rights to write there.
    pub fn with_cache<T>(&self, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let cache = Vault::cache(&self.dir)?;
        if cache.is_roots() { as_caller(|| work(&cache.path())) } else { work(&cache.path()) }
    }

    /// The directory of leases.
    pub fn leases_dir(&self) -> PathBuf {
        self.dir.join(layout::LEASES)
    }

    /// The directory of blobs and events.
    pub fn store_dir(&self) -> PathBuf {
        self.dir.join(layout::STORE)
    }

    /// The gateways' records.
    pub fn gateways(&self) -> Gateways {
        Gateways::new(self.dir.join(layout::GATEWAYS))
    }

    /// Keeps other processes from changing the state until the lock is dropped. Reading, and so
    /// serving, needs no lock.
    pub fn lock(&self) -> Result<StateLock> {
        let path = self.dir.join(layout::LOCK);
        let file =
            files::append(&path).with_context(|| format!("cannot lock {}", path.display()))?;
        StateLock::take(file, &path)
    }
}

/// Opens the format file, locks it together with others, and reads it. `None` if there is none.
fn open_format(path: &Path) -> Result<Option<(String, File)>> {
    let open = || -> Result<Option<(String, File)>> {
        let mut file = match files::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        lock::share(&file, path).context("the state is being moved to another directory")?;
        // It was moved before it could be locked.
        match Stamp::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            stamp => ensure!(stamp? == Stamp::new(&file.metadata()?), "it was just replaced"),
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(Some((text, file)))
    };
    open().with_context(|| format!("cannot read {}", path.display()))
}

/// The text of [`layout::PROXY_MARK`], with a new secret.
pub(super) fn new_proxy_mark() -> Result<String> {
    Ok(ProxyMark::random().context("no randomness for a new secret")?.to_nginx())
}

/// An interrupted `init` may have left some of its own.
fn ensure_empty_but_for_leftovers(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let ours = |ours: &str| name == ours || files::is_left_over(&name, ours);
        ensure!(
            layout::made_at_init().any(ours) || name.starts_with(files::UNBORN),
            "{} is not empty: {name} is in it; choose a directory of its own",
            dir.display(),
        );
    }
    Ok(())
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

/// Root works on a state as the owner of its directory. In a directory of root's, it would touch
/// files of other users with root's rights.
fn ensure_one_owner(dir: &Path) -> Result<()> {
    if owner::is_for_another() || !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    for folder in FOLDERS.iter().filter(|folder| !folder.path.contains('/')) {
        let path = dir.join(folder.path);
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
