//! The layout of the state: every folder and file with a fixed name, its mode, and when it is made.
//! Pure: `init`, `store new-host`, `doctor` and the server follow this table.
//!
//! `systemd/farmgate.tmpfiles.conf` and the NixOS module know only the state's directory.

/// Others may pass through, but only the owner may list it: nginx opens blobs by their SHA-256,
/// which nobody can guess.
pub const PASSABLE: u32 = 0o711;
/// For the owner alone.
pub const PRIVATE_DIR: u32 = 0o700;
/// For the owner alone.
pub const PRIVATE: u32 = 0o600;
/// Readable by everybody who can reach it.
pub const PUBLIC: u32 = 0o644;

/// Mode of the state's directory itself.
pub const STATE_MODE: u32 = PASSABLE;

/// The configuration, if it is not elsewhere.
pub const CONFIG: &str = "farmgate.toml";
/// The version of this layout. It is written last: a directory without it is not a state.
pub const FORMAT: &str = "format";
/// In a directory that was a state: the path of the directory where it is now.
pub const MOVED: &str = "moved";
/// In the same: what was [`FORMAT`], until the move is finished.
pub const RETIRED: &str = "format.old";
/// In an unfinished copy of a state: the path of the state.
pub const COPYING: &str = "copying";
/// The lock for changes of the state.
pub const LOCK: &str = "lock";
/// The key of acknowledgement tokens.
pub const TOKEN_KEY: &str = "token.key";
/// The secret by which the server recognises its nginx, for nginx to include.
pub const PROXY_MARK: &str = "proxy-mark.conf";
/// Exists beside [`PROXY_MARK`] until nginx knows the secret.
pub const PROXY_MARK_NEW: &str = "proxy-mark.new";

/// CA, server certificate, CRL.
pub const PKI: &str = "pki";
/// In [`PKI`]: the certificate that media trust.
pub const CA: &str = "ca.crt";
/// In [`PKI`]: its key, which the server does not need.
pub const CA_KEY: &str = "ca.key";
/// In [`PKI`]: the boot host's chain.
pub const SERVER: &str = "server.crt";
/// In [`PKI`]: its key.
pub const SERVER_KEY: &str = "server.key";
/// In [`PKI`]: the revocation list, for nginx.
pub const CRL: &str = "crl.pem";

/// A cache: base images, compiled iPXE.
pub const CACHE: &str = "cache";
/// Records of gateways, with their certificates and keys.
pub const GATEWAYS: &str = "gateways";
/// Leases of secrets.
pub const LEASES: &str = "leases";
/// This host's files about buckets, with their keys.
pub const BUCKETS: &str = "buckets";
/// The git repository that describes the fleet, and the outcome of the last run.
pub const SYNC: &str = "sync";
/// In [`SYNC`]: the host keys that ssh accepts, written down by an operator.
pub const KNOWN_HOSTS: &str = "known_hosts";
/// Blobs and events.
pub const STORE: &str = "store";
/// In [`STORE`]: blobs that nginx reads.
pub const BLOBS: &str = "blobs";
/// In [`STORE`]: blobs that the server alone reads.
pub const PRIVATE_BLOBS: &str = "private";
/// In [`STORE`]: events and journals, a folder for each gateway.
pub const EVENTS: &str = "gateways";
/// In [`STORE`]: last words of failed boots, a file for each gateway.
pub const CONSOLES: &str = "consoles";
/// In [`STORE`]: revisions of records, if several hosts share a store.
pub const RECORDS: &str = "records";
/// In [`STORE`]: what was done that no event tells.
pub const ACTS: &str = "acts";
/// In [`STORE`]: rollouts in waves.
pub const ROLLOUTS: &str = "rollouts";

/// The time at which something is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// With the state.
    AtInit,
    /// On first use.
    Later,
}

/// Content of a file on another boot host of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForNewHost {
    /// The same bytes.
    Copied,
    /// One of its own, or none.
    NotCopied,
}

/// A folder of the state. A subfolder comes after its parent.
#[derive(Clone, Copy, Debug)]
pub struct Folder {
    /// Path within the state.
    pub path: &'static str,
    /// Mode, if it belongs to the owner of the state.
    pub mode: u32,
    /// The time at which it is made.
    pub made: Made,
}

const fn folder(path: &'static str, mode: u32, made: Made) -> Folder {
    Folder { path, mode, made }
}

/// All folders with a fixed name.
pub const FOLDERS: [Folder; 14] = [
    // Owned by root, and passable, if root made the state for the server's user: see `vault`.
    folder(PKI, PRIVATE_DIR, Made::AtInit),
    folder(CACHE, PRIVATE_DIR, Made::AtInit),
    folder(GATEWAYS, PRIVATE_DIR, Made::AtInit),
    folder(STORE, PASSABLE, Made::AtInit),
    folder("store/blobs", PASSABLE, Made::AtInit),
    folder("store/private", PRIVATE_DIR, Made::AtInit),
    folder("store/gateways", PRIVATE_DIR, Made::AtInit),
    folder("store/consoles", PRIVATE_DIR, Made::Later),
    folder("store/records", PRIVATE_DIR, Made::Later),
    folder("store/rollouts", PRIVATE_DIR, Made::Later),
    folder("store/acts", PRIVATE_DIR, Made::Later),
    folder(LEASES, PRIVATE_DIR, Made::Later),
    folder(BUCKETS, PRIVATE_DIR, Made::Later),
    folder(SYNC, PRIVATE_DIR, Made::Later),
];

/// A file of the state.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// Path within the state.
    pub path: &'static str,
    /// Mode.
    pub mode: u32,
    /// The time at which it is made.
    pub made: Made,
    /// Its content on another boot host.
    pub for_new_host: ForNewHost,
}

const fn file(path: &'static str, mode: u32, made: Made, for_new_host: ForNewHost) -> File {
    File { path, mode, made, for_new_host }
}

/// All files with a fixed name, in the order of writing.
pub const FILES: [File; 12] = [
    file(LOCK, PRIVATE, Made::AtInit, ForNewHost::NotCopied),
    file("pki/ca.key", PRIVATE, Made::AtInit, ForNewHost::NotCopied),
    file("pki/ca.crt", PUBLIC, Made::AtInit, ForNewHost::Copied),
    file("pki/server.key", PRIVATE, Made::AtInit, ForNewHost::Copied),
    file("pki/server.crt", PUBLIC, Made::AtInit, ForNewHost::Copied),
    file("pki/crl.pem", PUBLIC, Made::AtInit, ForNewHost::Copied),
    file(PROXY_MARK, PRIVATE, Made::AtInit, ForNewHost::NotCopied),
    file(PROXY_MARK_NEW, PRIVATE, Made::Later, ForNewHost::NotCopied),
    file("store/commit.log", PRIVATE, Made::Later, ForNewHost::NotCopied),
    file(TOKEN_KEY, PRIVATE, Made::Later, ForNewHost::Copied),
    file(CONFIG, PUBLIC, Made::AtInit, ForNewHost::Copied),
    file(FORMAT, PUBLIC, Made::AtInit, ForNewHost::Copied),
];

/// Names in the state's directory that an interrupted `init` may have left.
pub fn made_at_init() -> impl Iterator<Item = &'static str> {
    let folders = FOLDERS.iter().filter(|folder| folder.made == Made::AtInit);
    let files = FILES.iter().filter(|file| file.made == Made::AtInit);
    let paths = folders.map(|folder| folder.path).chain(files.map(|file| file.path));
    paths.filter(|path| !path.contains('/'))
}

/// Mode of a file in [`PKI`].
pub fn pki_mode(name: &str) -> u32 {
    let known = FILES.iter().find(|file| file.path.strip_prefix("pki/") == Some(name));
    // Any other file may be a key.
    known.map_or(PRIVATE, |file| file.mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_below(path: &str, folder: &str) -> bool {
        path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    }

    #[test]
    fn everything_lies_in_a_folder_that_is_made_before_it() {
        for (at, Folder { path, made, .. }) in FOLDERS.iter().enumerate() {
            let Some((above, _)) = path.rsplit_once('/') else { continue };
            let above = FOLDERS[..at].iter().find(|folder| folder.path == above);
            let above = above.unwrap_or_else(|| panic!("{path} has no folder"));
            assert!(above.made == Made::AtInit || *made == Made::Later, "{path}");
        }
        for File { path, .. } in FILES {
            if let Some((above, _)) = path.rsplit_once('/') {
                assert!(FOLDERS.iter().any(|folder| folder.path == above), "{path}");
            }
        }
        assert_eq!(FILES.last().map(|file| file.path), Some(FORMAT));
    }

    #[test]
    fn nobody_else_reads_a_key() {
        let secret = |path: &str| path.ends_with(".key") || path.contains("proxy-mark");
        let ours = [LOCK, "store/commit.log"];
        for File { path, mode, .. } in FILES {
            assert_eq!(mode & 0o077 == 0, secret(path) || ours.contains(&path), "{path}");
        }
        // Files in these have no fixed names; the folder protects them.
        for private in [GATEWAYS, LEASES, BUCKETS, CACHE, "store/private"] {
            let folder = FOLDERS.iter().find(|folder| folder.path == private);
            assert_eq!(folder.map(|folder| folder.mode), Some(PRIVATE_DIR), "{private}");
        }
        for path in [CA_KEY, SERVER_KEY, "unknown"] {
            assert_eq!(pki_mode(path), PRIVATE, "{path}");
        }
        assert_eq!(pki_mode(CRL), PUBLIC);
    }

    #[test]
    fn nginx_gets_to_the_blobs_and_nowhere_else() {
        for Folder { path, mode, .. } in FOLDERS {
            let on_the_way = path == "store/blobs" || is_below("store/blobs", path);
            assert_eq!(mode & 0o001 != 0, on_the_way, "{path}");
        }
        assert_eq!(STATE_MODE & 0o001, 0o001);
        let tmpfiles = include_str!("../../systemd/farmgate.tmpfiles.conf");
        assert!(tmpfiles.contains(&format!("/var/lib/farmgate {STATE_MODE:04o} ")), "{tmpfiles}");
    }

    #[test]
    fn what_init_leaves_is_known_by_its_name() {
        let names: Vec<_> = made_at_init().collect();
        assert!(names.contains(&PKI) && names.contains(&LOCK) && names.contains(&FORMAT));
        // A directory with one of these is a state, or belongs to another program.
        assert!(!names.contains(&TOKEN_KEY) && !names.contains(&LEASES));
    }
}
