//! Owners and modes of the state's files, and free space. Looks at the disk, and reads no file.

use std::collections::BTreeSet;
use std::fs;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use nix::unistd::Uid;
use nix::unistd::User;
use nix::unistd::geteuid;

use super::finding::Findings;
use crate::store::State;
use crate::store::layout;
use crate::store::layout::FILES;
use crate::store::layout::FOLDERS;

const OWNER: &str = "files";
const SECRET: &str = "secrets";
const ROOM: &str = "disk";

/// User of the unit that farmgate comes with (`systemd/farmgate.sysusers.conf`).
const SERVICE_USER: &str = "farmgate";

/// Folders whose files the server reads or writes, as the owner of the state.
fn folders() -> impl Iterator<Item = &'static str> {
    let private = FOLDERS.iter().filter(|folder| folder.mode == layout::PRIVATE_DIR);
    // In `pki/`, only the server's files are checked; root's `cache/` is not the server's.
    private.map(|folder| folder.path).filter(|path| ![layout::PKI, layout::CACHE].contains(path))
}

/// Further files, besides the folders. The configuration may belong to anybody.
fn files() -> impl Iterator<Item = &'static str> {
    let paths = FILES.iter().map(|file| file.path);
    paths.filter(|path| ![layout::CONFIG, layout::FORMAT].contains(path))
}

/// With less free space than this, boots soon cannot be recorded.
const TOO_LITTLE: u64 = 64 * 1024 * 1024;
const LITTLE: u64 = 1024 * 1024 * 1024;

/// Most paths that are named.
const SHOWN: usize = 3;

pub(super) fn examine(state: &State, findings: &mut Findings) {
    if let Err(error) = look(state, findings) {
        let denied = error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
        match denied {
            true => findings.unseen(OWNER, format!("{error:#}")),
            false => findings.skipped(OWNER, format!("{error:#}")),
        }
    }
    room(state.dir(), findings);
}

fn look(state: &State, findings: &mut Findings) -> Result<()> {
    let dir = state.dir();
    let owner = fs::metadata(dir).with_context(|| cannot_read(dir))?.uid();
    let name = |uid| match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    };
    let (mut foreign, mut open) = (Vec::new(), Vec::new());
    let mut see = |path: PathBuf, facts: &Metadata| {
        // They belong to root if root made the state: the server only reads these.
        let roots = path.starts_with(dir.join(layout::PKI)) && !path.ends_with(layout::SERVER_KEY);
        // An operator wrote it down. Whether ssh can read it shows when the remote is asked.
        let roots = roots || path == dir.join(layout::SYNC).join(layout::KNOWN_HOSTS);
        // The owner of a link does not matter.
        if !facts.is_symlink() && facts.uid() != owner && !(roots && facts.uid() == 0) {
            foreign.push(path.clone());
        }
        if facts.is_file() && is_secret(&path) && facts.mode() & 0o077 != 0 {
            open.push(path);
        }
    };
    for folder in folders() {
        walk(&dir.join(folder), &mut see)?;
    }
    for path in files().map(|file| dir.join(file)) {
        match fs::symlink_metadata(&path) {
            Ok(facts) => see(path, &facts),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(cannot_read(&path)),
        }
    }
    if foreign.is_empty() {
        findings.ok(OWNER, format!("all of {} belongs to {}", dir.display(), name(owner)));
    } else {
        findings.error(
            OWNER,
            format!("the server may be unable to read or replace {}", some(&foreign)),
            to_paste(&foreign, &format!("chown -h {}", name(owner)), |dirs| {
                // In `pki/`, only the server's key belongs to the server.
                let pki = quoted(&dir.join("pki*").display().to_string());
                format!(
                    "find {dirs} ! -user {} '(' ! -path {pki} -o -name server.key ')'",
                    name(owner)
                )
            }),
        );
    }
    let service = User::from_name(SERVICE_USER).ok().flatten();
    if service.as_ref().is_some_and(|service| service.uid.as_raw() != owner) {
        findings.warning(
            OWNER,
            format!(
                "{} belongs to {}, and the unit of farmgate runs as {SERVICE_USER}",
                dir.display(),
                name(owner)
            ),
            format!("chown -R {SERVICE_USER}: {}, unless the server runs otherwise", dir.display()),
        );
    }
    let guarded = |folder: &str| match fs::symlink_metadata(dir.join(folder)) {
        Ok(facts) => facts.uid() == 0,
        // Root makes it on first use.
        Err(_) => true,
    };
    let server_is_service = service.is_some_and(|service| service.uid.as_raw() == owner);
    if (server_is_service || geteuid().is_root()) && owner != 0 && !guarded(layout::PKI) {
        findings.warning(
            OWNER,
            format!(
                "pki belongs to {}: who gets hold of the server can replace the CA that the next \
                 media trust",
                name(owner)
            ),
            format!(
                "compare the SHA-256 fingerprint of {0}/pki/ca.crt with what `init` printed, then \
                 chown -R root: {0}/pki {0}/cache, and run this again as root",
                dir.display()
            ),
        );
    }
    if open.is_empty() {
        findings.ok(SECRET, "nobody else can read keys");
    } else {
        let way_out = to_paste(&open, "chmod 600", |dirs| {
            let names = "-name '*.key' -o -name proxy-mark.conf -o -path '*/buckets/*'";
            format!("find {dirs} -type f -perm /077 '(' {names} -o -path '*/private/*' ')'")
        });
        let what = format!("others may read {}, and may have done so", some(&open));
        findings.warning(SECRET, what, way_out);
    }
    Ok(())
}

fn is_secret(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "key")
        || path.ends_with(layout::PROXY_MARK)
        || path.components().any(|part| part.as_os_str() == layout::BUCKETS)
        || path
            .components()
            .rev()
            .nth(2)
            .is_some_and(|part| part.as_os_str() == layout::PRIVATE_BLOBS)
}

fn some(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths.iter().take(SHOWN).map(|path| path.display().to_string()).collect();
    match paths.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A line for a shell: `command` with all paths, or with what `find` finds below their folders.
fn to_paste(paths: &[PathBuf], command: &str, find: impl Fn(&str) -> String) -> String {
    let words = |paths: &mut dyn Iterator<Item = &Path>| -> String {
        paths.map(|path| quoted(&path.display().to_string())).collect::<Vec<_>>().join(" ")
    };
    if paths.len() <= SHOWN {
        return format!("{command} {}", words(&mut paths.iter().map(PathBuf::as_path)));
    }
    let folders: BTreeSet<&Path> = paths.iter().map(|path| path.parent().unwrap_or(path)).collect();
    // The outer one of nested folders is enough.
    let mut outer = folders
        .iter()
        .copied()
        .filter(|folder| !folder.ancestors().skip(1).any(|above| folders.contains(above)));
    format!("{} -exec {command} {{}} +", find(&words(&mut outer)))
}

/// Quotes a text for a POSIX shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// Calls `see` for `dir` and everything below. A missing folder is no error.
fn walk(dir: &Path, see: &mut impl FnMut(PathBuf, &Metadata)) -> Result<()> {
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        let facts = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            facts => facts.with_context(|| cannot_read(&path))?,
        };
        if facts.is_dir() {
            for entry in fs::read_dir(&path).with_context(|| cannot_read(&path))? {
                open.push(entry.with_context(|| cannot_read(&path))?.path());
            }
        }
        see(path, &facts);
    }
    Ok(())
}

fn room(dir: &Path, findings: &mut Findings) {
    let facts = match rustix::fs::statvfs(dir) {
        Ok(facts) => facts,
        Err(error) => return findings.skipped(ROOM, format!("{}: {error}", dir.display())),
    };
    let free = facts.f_bavail.saturating_mul(facts.f_frsize);
    let what = format!("{:.1} GB free for {}", free as f64 / 1e9, dir.display());
    // Some file systems have no table of inodes, and say 0 of 0.
    let no_inodes = facts.f_files > 0 && facts.f_favail < 1000;
    let way_out = "make room: `farmgate gc --keep 5` removes files of old generations (`[store] keep` does so from \
         time to time), and `[store] cache-size` bounds the cache of a shared store";
    if free < TOO_LITTLE || no_inodes {
        let inodes = if no_inodes { ", and few inodes" } else { "" };
        findings.error(ROOM, format!("{what}{inodes}: soon no boot can be recorded"), way_out);
    } else if free < LITTLE {
        findings.warning(ROOM, what, way_out);
    } else {
        findings.ok(ROOM, what);
    }
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line used to end in "and 7 more", which no shell can do.
    #[test]
    fn what_is_to_be_pasted_names_every_file_or_finds_it() {
        let paths = |names: &[&str]| -> Vec<PathBuf> { names.iter().map(PathBuf::from).collect() };
        let find = |dirs: &str| format!("find {dirs} ! -user x");
        let few = paths(&["/s/pki/a", "/s/it's"]);
        assert_eq!(to_paste(&few, "chown x", find), r"chown x /s/pki/a '/s/it'\''s'");
        let many = paths(&["/s/pki/a", "/s/gateways/a/b", "/s/gateways/a", "/s/gateways/a/c"]);
        assert_eq!(
            to_paste(&many, "chown x", find),
            "find /s/gateways /s/pki ! -user x -exec chown x {} +"
        );
    }
}
