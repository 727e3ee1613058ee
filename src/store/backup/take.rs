//! Takes a backup.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use nix::unistd::Uid;
use nix::unistd::User;
use serde::Serialize;
use tar::Builder;
use tar::EntryType;
use tar::Header;
use time::OffsetDateTime;

use super::super::State;
use super::super::gc::Survey;
use super::super::generations::Generations;
use super::super::layout;
use super::super::lock;
use super::super::owner::as_caller;
use super::place::Place;
use super::place::place;
use crate::store::blobs::Access;

/// Deepest folder of a state, below its directory.
const MAX_DEPTH: usize = 4;

/// The content of a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Taken {
    pub files: u64,
    pub bytes: u64,
    /// Private keys, bucket keys and secrets templates are in it.
    pub keys: bool,
    /// Files of generations that are not on this host: only a shared store has them.
    pub elsewhere: u64,
}

/// One file, read.
struct Item {
    path: String,
    facts: fs::Metadata,
    bytes: Vec<u8>,
}

impl Item {
    fn append(&self, tar: &mut Builder<&mut dyn Write>, taken: &mut Taken) -> Result<()> {
        let Self { path, facts, bytes } = self;
        let mut header = header(EntryType::Regular, facts);
        header.set_size(bytes.len() as u64);
        let appended = tar.append_data(&mut header, path, &**bytes);
        appended.with_context(|| format!("cannot write {path}"))?;
        taken.files += 1;
        taken.bytes += bytes.len() as u64;
        Ok(())
    }
}

/// Writes a backup to `out`, with everything secret only if `keys` says so.
pub fn take(state: &State, keys: bool, out: &mut dyn Write, now: OffsetDateTime) -> Result<Taken> {
    let (items, blobs) = {
        let _lock = state.lock()?;
        (read_all(state, keys)?, Survey::new(state, now)?.kept())
    };
    let mut taken = Taken { keys, ..Taken::default() };
    let mut tar = Builder::new(out);
    let root = fs::metadata(state.dir()).context("cannot read the state")?;
    append(&mut tar, "./", EntryType::Directory, &root, &mut io::empty())?;
    // A backup without it is torn.
    let (last, items): (Vec<_>, Vec<_>) = items.into_iter().partition(|i| i.path == layout::FORMAT);
    for item in &items {
        item.append(&mut tar, &mut taken)?;
    }
    let generations = Generations::new(state);
    let mut blobs: Vec<_> = blobs.into_iter().collect();
    blobs.sort();
    for (access, id) in blobs.into_iter().filter(|(access, _)| keys || *access == Access::Public) {
        let tree = generations.blobs_of(access);
        let file = match tree.open_unnoticed(&id) {
            Ok(file) => file,
            // Another host has it, or it was removed since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                taken.elsewhere += 1;
                continue;
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read blob {id}")),
        };
        let facts = file.metadata()?;
        let path = format!("{}/{}/{}", layout::STORE, access.folder(), id.path());
        append(
            &mut tar,
            &path,
            EntryType::Regular,
            &facts,
            &mut io::Read::take(file, facts.len()),
        )?;
        taken.files += 1;
        taken.bytes += facts.len();
    }
    for item in &last {
        item.append(&mut tar, &mut taken)?;
    }
    tar.into_inner()?.flush()?;
    Ok(taken)
}

fn append(
    tar: &mut Builder<&mut dyn Write>,
    path: &str,
    kind: EntryType,
    facts: &fs::Metadata,
    bytes: &mut dyn io::Read,
) -> Result<()> {
    let mut header = header(kind, facts);
    header.set_size(if kind == EntryType::Directory { 0 } else { facts.len() });
    tar.append_data(&mut header, path, bytes).with_context(|| format!("cannot write {path}"))
}

fn header(kind: EntryType, facts: &fs::Metadata) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(facts.mode() & 0o777);
    header.set_uid(facts.uid().into());
    header.set_gid(facts.gid().into());
    header.set_mtime(facts.mtime().try_into().unwrap_or(0));
    if let Ok(Some(user)) = User::from_uid(Uid::from_raw(facts.uid())) {
        // A longer name than the format has room for is left out; the number stays.
        let _ = header.set_username(&user.name);
    }
    header
}

/// Reads everything but blobs. The caller holds the state's lock.
fn read_all(state: &State, keys: bool) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    let wanted = |path: &str| match place(path) {
        Some(Place::Plain) => true,
        Some(Place::Secret) => keys,
        Some(Place::Blob(..)) | None => false,
    };
    for name in [layout::CA, layout::SERVER, layout::CRL, layout::CA_KEY, layout::SERVER_KEY] {
        let path = format!("{}/{name}", layout::PKI);
        if !wanted(&path) {
            continue;
        }
        match state.read_pki(name) {
            // A host that only serves has no key of the CA.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            bytes => {
                let bytes = bytes.with_context(|| format!("cannot read {path}"))?;
                let facts = as_caller(|| fs::metadata(state.pki_file(name)));
                let facts = facts.with_context(|| format!("cannot read {path}"))?;
                items.push(Item { path, facts, bytes });
            }
        }
    }
    for name in [layout::GATEWAYS, layout::BUCKETS] {
        read_folder(state.dir(), name, MAX_DEPTH, &wanted, &mut items)?;
    }
    for name in [layout::RECORDS, layout::ROLLOUTS, layout::ACTS] {
        let folder = format!("{}/{name}", layout::STORE);
        read_folder(state.dir(), &folder, MAX_DEPTH, &wanted, &mut items)?;
    }
    for gateway in Generations::new(state).gateways()? {
        let folder = format!("{}/{}/{gateway}", layout::STORE, layout::EVENTS);
        // The server appends events, and packs them.
        let _lock = lock::at(&state.dir().join(&folder).join("lock"))?;
        read_folder(state.dir(), &folder, 0, &wanted, &mut items)?;
    }
    for name in [layout::TOKEN_KEY, layout::PROXY_MARK, layout::CONFIG, layout::FORMAT] {
        if wanted(name) {
            items.extend(read(state.dir(), name.to_owned())?);
        }
    }
    Ok(items)
}

fn read_folder(
    root: &Path,
    folder: &str,
    depth: usize,
    wanted: &dyn Fn(&str) -> bool,
    items: &mut Vec<Item>,
) -> Result<()> {
    let dir: PathBuf = root.join(folder);
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("cannot read {}", dir.display()))?,
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{folder}/{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() && depth > 0 {
            read_folder(root, &path, depth - 1, wanted, items)?;
        } else if kind.is_file() && wanted(&path) {
            items.extend(read(root, path)?);
        }
    }
    Ok(())
}

/// `None` if it is gone: the server replaces files of buckets.
fn read(root: &Path, path: String) -> Result<Option<Item>> {
    let cannot = || format!("cannot read {path}");
    let file = match File::open(root.join(&path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.with_context(cannot)?,
    };
    let facts = file.metadata().with_context(cannot)?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, facts.len()), &mut bytes)
        .with_context(cannot)?;
    Ok(Some(Item { path, facts, bytes }))
}
