//! The files of a fleet folder. Reads them with the caller's rights, and nothing outside of the
//! folder.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use cap_std::fs::OpenOptions;
use cap_std::fs::OpenOptionsExt;
use rustix::fs::OFlags;
use sha2::Digest;
use sha2::Sha256;

use super::fault::Fault;
use super::fault::SourceFile;
use crate::fleet::Asset;
use crate::fleet::BlobId;
use crate::fleet::SECRETS;
use crate::store::owner::as_caller;
use crate::store::stamp::Stamp;

/// Folders with content; nothing else of a fleet folder is read, except for its settings.
pub(super) const PROFILES: &str = "profiles";
pub(super) const GATEWAYS: &str = "gateways";

/// Its settings.
pub(super) const FLEET_FILE: &str = "fleet.toml";

/// Most files, and the deepest folder: slips and loops of links end here.
const MAX_FILES: usize = 20_000;
const MAX_DEPTH: usize = 16;

/// Longest file of settings.
const MAX_SETTINGS: u64 = 1024 * 1024;

/// Longest file that is looked at for the marks of a merge conflict.
const MAX_TEXT: u64 = 1024 * 1024;

/// First line of a Git LFS pointer, which stands in place of the file.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";

/// The files below `profiles/` and `gateways/`, as they were when the folder was opened.
pub(super) struct Tree {
    dir: Dir,
    shown: PathBuf,
    files: BTreeMap<String, Stamp>,
    /// Digests by stamp: gateways share files, and so do links.
    digests: RefCell<HashMap<Stamp, BlobId>>,
}

impl Tree {
    /// Opens a folder; [`Self::list`] comes next.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let dir = as_caller(|| Dir::open_ambient_dir(path, ambient_authority()))
            .with_context(|| format!("cannot open the fleet folder {}", path.display()))?;
        Ok(Self {
            dir,
            shown: path.to_owned(),
            files: BTreeMap::new(),
            digests: RefCell::default(),
        })
    }

    /// The path as the caller gave it.
    pub(super) fn shown(&self) -> &Path {
        &self.shown
    }

    /// Says whether this file is listed.
    pub(super) fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// The listed files below a folder, with their paths from there.
    pub(super) fn below(&self, folder: &str) -> impl Iterator<Item = (&str, &str)> {
        let prefix = format!("{folder}/");
        let len = prefix.len();
        let from = self.files.range(prefix.clone()..).map(|(path, _)| path.as_str());
        from.take_while(move |path| path.starts_with(&prefix)).map(move |path| (&path[len..], path))
    }

    /// Lists the folder. `max_size` is the limit for all of its files together.
    pub(super) fn list(&mut self, max_size: u64, faults: &mut Vec<Fault>) {
        let (files, mut found) = self.listing();
        self.files = files;
        faults.append(&mut found);
        self.submodules(faults);
        let total: u64 = self.files.values().map(|stamp| stamp.size()).sum();
        if total > max_size {
            let largest = self.files.iter().max_by_key(|(_, stamp)| stamp.size());
            let Some((path, stamp)) = largest else { return };
            let what = format!(
                "the folder has {total} bytes, more than `max-size` ({max_size}); this file alone has {}",
                stamp.size()
            );
            let help = "name large files by URL and SHA-256, or raise `max-size` in fleet.toml";
            faults.push(Fault::of(path, what, help));
        }
    }

    /// Lists the folder again, and fails if anything changed since.
    pub(super) fn ensure_unchanged(&self) -> Result<()> {
        let (now, _) = self.listing();
        let differs = |path: &&String| self.files.get(*path) != now.get(*path);
        match self.files.keys().chain(now.keys()).find(differs) {
            Some(path) => Err(self.changed(path)),
            None => Ok(()),
        }
    }

    fn changed(&self, path: &str) -> anyhow::Error {
        let path = self.shown.join(path);
        anyhow::anyhow!(
            "{} changed while it was read; nothing was published: try again",
            path.display()
        )
    }

    fn listing(&self) -> (BTreeMap<String, Stamp>, Vec<Fault>) {
        let mut walk = Walk { dir: &self.dir, files: BTreeMap::new(), faults: Vec::new() };
        as_caller(|| {
            for top in [PROFILES, GATEWAYS] {
                match self.dir.metadata(top) {
                    Ok(facts) if facts.is_dir() => walk.below(top, MAX_DEPTH),
                    Ok(_) => walk.fault(top, "it is not a folder", ""),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => walk.fault(top, format!("cannot be read: {error}"), ""),
                }
            }
        });
        (walk.files, walk.faults)
    }

    /// A submodule that was not fetched is an empty folder: only `.gitmodules` tells.
    fn submodules(&self, faults: &mut Vec<Fault>) {
        let Ok(Some(source)) = self.text(".gitmodules", &mut Vec::new()) else { return };
        let mut at = 0;
        for line in source.text.split_inclusive('\n') {
            let start = at;
            at += line.len();
            let Some((key, path)) = line.split_once('=') else { continue };
            let path = path.trim().trim_matches('"');
            let top = path.split('/').next().unwrap_or_default();
            if key.trim() == "path" && [PROFILES, GATEWAYS].contains(&top) {
                let what = format!("`{path}` is a git submodule, and its files are not read");
                let help = "put the files into this repository, or name them by URL and SHA-256";
                faults.push(Fault::at(&source, start..start + line.trim_end().len(), what, help));
            }
        }
    }

    /// The text of a settings file; `None` if there is none, or if it is no text.
    pub(super) fn text(
        &self,
        path: &str,
        faults: &mut Vec<Fault>,
    ) -> Result<Option<Arc<SourceFile>>> {
        let file = match self.open_file(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file.with_context(|| self.cannot_read(path))?,
        };
        let facts = file.metadata().with_context(|| self.cannot_read(path))?;
        if !facts.is_file() {
            faults.push(Fault::of(path, "it is not a file", ""));
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(MAX_SETTINGS + 1)
            .read_to_end(&mut bytes)
            .with_context(|| self.cannot_read(path))?;
        if bytes.len() as u64 > MAX_SETTINGS {
            faults.push(Fault::of(path, format!("it is longer than {MAX_SETTINGS} bytes"), ""));
            return Ok(None);
        }
        if bytes.starts_with(LFS) {
            faults.push(lfs(path));
            return Ok(None);
        }
        let text = match String::from_utf8(bytes) {
            Ok(text) => text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text),
            Err(_) => {
                faults.push(Fault::of(path, "it is not UTF-8", "save it as UTF-8"));
                return Ok(None);
            }
        };
        let source = Arc::new(SourceFile { path: path.to_owned(), text });
        let conflict = conflict(&source);
        let whole = conflict.is_none();
        faults.extend(conflict);
        Ok(whole.then_some(source))
    }

    /// Digest and size of a listed file. Also looks whether its bytes are what they seem.
    pub(super) fn asset(&self, path: &str, faults: &mut Vec<Fault>) -> Result<Option<Asset>> {
        let Some(stamp) = self.files.get(path) else { return Ok(None) };
        let known = self.digests.borrow().get(stamp).copied();
        if let Some(sha256) = known {
            return Ok(Some(Asset { sha256, size: stamp.size() }));
        }
        let before = faults.len();
        let name = path.rsplit('/').next().unwrap_or_default();
        let is_text = (name == SECRETS || name.ends_with(".ipxe")) && stamp.size() <= MAX_TEXT;
        let mut file = self.open_listed(path)?;
        let mut hasher = Sha256::new();
        let (mut buffer, mut text, mut size) = (vec![0; 256 * 1024], Vec::new(), 0);
        loop {
            let count = file.read(&mut buffer).with_context(|| self.cannot_read(path))?;
            if size == 0 && buffer[..count].starts_with(LFS) && stamp.size() < 1024 {
                faults.push(lfs(path));
            }
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            size += count as u64;
            if is_text {
                text.extend_from_slice(&buffer[..count]);
            }
        }
        ensure!(size == stamp.size(), self.changed(path));
        if is_text {
            let text = String::from_utf8_lossy(&text).into_owned();
            let found = conflict(&SourceFile { path: path.to_owned(), text });
            faults.extend(found.map(|fault| if name == SECRETS { fault.unseen() } else { fault }));
        }
        if faults.len() > before {
            return Ok(None);
        }
        let sha256 = BlobId::of_digest(hasher.finalize().into());
        self.digests.borrow_mut().insert(*stamp, sha256);
        Ok(Some(Asset { sha256, size }))
    }

    /// Opens a listed file, which must still be the one that was listed.
    pub(super) fn open_listed(&self, path: &str) -> Result<cap_std::fs::File> {
        let file = self.open_file(path).with_context(|| self.cannot_read(path))?;
        let facts = file.metadata().with_context(|| self.cannot_read(path))?;
        ensure!(self.files.get(path) == Some(&Stamp::from(&facts)), self.changed(path));
        Ok(file)
    }

    /// Opens a file. A FIFO in its place must not make anybody wait.
    fn open_file(&self, path: &str) -> std::io::Result<cap_std::fs::File> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::NONBLOCK.bits() as i32);
        as_caller(|| self.dir.open_with(path, &options))
    }

    /// The first `len` bytes of a listed file.
    pub(super) fn head(&self, path: &str, len: u64) -> Result<Vec<u8>> {
        let mut head = Vec::new();
        let file = self.open_listed(path)?;
        file.take(len).read_to_end(&mut head).with_context(|| self.cannot_read(path))?;
        Ok(head)
    }

    fn cannot_read(&self, path: &str) -> String {
        format!("cannot read {}", self.shown.join(path).display())
    }
}

fn lfs(path: &str) -> Fault {
    let what = "it is a Git LFS pointer, and the file itself is missing";
    Fault::of(path, what, "run `git lfs pull`, or name the file by URL and SHA-256 in [files]")
}

/// The first mark of a merge conflict.
fn conflict(source: &SourceFile) -> Option<Fault> {
    let marks = ["<<<<<<< ", ">>>>>>> ", "||||||| "];
    let mut at = 0;
    for line in source.text.split_inclusive('\n') {
        if marks.iter().any(|mark| line.starts_with(mark)) {
            let span = at..at + line.trim_end().len();
            let what = "a merge conflict was left here";
            let help = "resolve it (`git status` shows the files), and commit";
            return Some(Fault::at(source, span, what, help));
        }
        at += line.len();
    }
    None
}

struct Walk<'a> {
    dir: &'a Dir,
    files: BTreeMap<String, Stamp>,
    faults: Vec<Fault>,
}

impl Walk<'_> {
    fn fault(&mut self, path: &str, what: impl Into<String>, help: &str) {
        self.faults.push(Fault::of(path, what, help));
    }

    fn below(&mut self, below: &str, depth: usize) {
        let entries = match self.dir.read_dir(below) {
            Ok(entries) => entries,
            Err(error) => return self.fault(below, format!("cannot be read: {error}"), ""),
        };
        let mut names = Vec::new();
        for entry in entries {
            match entry.map(|entry| entry.file_name().into_string()) {
                Ok(Ok(name)) if !name.contains(char::is_control) => names.push(name),
                Ok(Ok(name)) => {
                    self.fault(
                        below,
                        format!("it has a file {name:?}, which no URL can name"),
                        "rename it",
                    );
                }
                Ok(Err(name)) => {
                    let what = format!("it has a file {name:?}, whose name is not UTF-8");
                    self.fault(below, what, "rename it");
                }
                Err(error) => self.fault(below, format!("cannot be read: {error}"), ""),
            }
        }
        names.sort();
        let mut folded: HashMap<String, &str> = HashMap::new();
        for name in &names {
            if let Some(other) = folded.insert(name.to_lowercase(), name) {
                let path = format!("{below}/{name}");
                let what = format!("differs from `{other}` beside it only in case");
                self.fault(&path, what, "rename one: not every file system can hold both");
            }
        }
        for name in names {
            let path = format!("{below}/{name}");
            if name == ".git" {
                let what =
                    "it is a git repository of its own (a submodule?), and cannot be content";
                self.fault(below, what, "put its files into this repository");
            } else if !name.starts_with('.') {
                self.entry(path, depth);
            }
        }
    }

    fn entry(&mut self, path: String, depth: usize) {
        // Follows symbolic links, and fails for those that lead out of the folder.
        let facts = match self.dir.metadata(&path) {
            Ok(facts) => facts,
            Err(error) => {
                let link = self.dir.symlink_metadata(&path).is_ok_and(|facts| facts.is_symlink());
                let (what, help) = match link {
                    true => ("it is a symbolic link that leads nowhere or out of the folder", ""),
                    false => ("it cannot be read", ""),
                };
                return self.fault(&path, format!("{what}: {error}"), help);
            }
        };
        if facts.is_dir() {
            match depth.checked_sub(1) {
                Some(depth) => self.below(&path, depth),
                None => {
                    let what = format!("it lies more than {MAX_DEPTH} folders deep");
                    self.fault(&path, what, "is there a loop of symbolic links?");
                }
            }
        } else if !facts.is_file() {
            self.fault(&path, "it is neither a file nor a folder", "remove it");
        } else if self.files.len() >= MAX_FILES {
            if self.files.len() == MAX_FILES {
                self.fault(&path, format!("there are more than {MAX_FILES} files"), "");
            }
        } else {
            self.files.insert(path, Stamp::from(&facts));
        }
    }
}
