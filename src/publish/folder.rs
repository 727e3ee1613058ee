//! The folder that is published. Reads it with the caller's rights.

use std::collections::BTreeMap;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use cap_std::ambient_authority;
use cap_std::fs::Dir;

use crate::fleet::Asset;
use crate::fleet::Variables;
use crate::store::blobs::Blobs;
use crate::store::owner::as_caller;
use crate::store::stamp::Stamp;

/// Most files of one generation: a slip such as publishing `/` ends here and not with a full disk.
const MAX_FILES: usize = 10_000;

/// Deepest folder within a folder; also ends loops of symbolic links.
const MAX_DEPTH: usize = 16;

/// The folder that becomes a generation, as it was when it was opened.
///
/// It is listed once when it is opened, and again by `ensure_unchanged`, so that a
/// half-finished update is not published. Nothing outside of it is ever read: symbolic links are
/// followed only while they stay inside. Names that begin with a dot are left out, so that a folder
/// under version control can be published.
pub struct Folder {
    dir: Dir,
    shown: PathBuf,
    files: BTreeMap<String, Stamp>,
    variables: Variables,
}

impl Folder {
    /// Opens and lists a folder.
    pub fn open(path: &Path) -> Result<Self> {
        let dir = as_caller(|| Dir::open_ambient_dir(path, ambient_authority()))
            .with_context(|| format!("cannot open the folder {}", path.display()))?;
        let mut folder = Self {
            dir,
            shown: path.to_path_buf(),
            files: BTreeMap::new(),
            variables: Variables::new(),
        };
        folder.files = folder.list()?;
        Ok(folder)
    }

    /// The same folder, with settings for its boot script.
    #[must_use]
    pub fn with_variables(self, variables: Variables) -> Self {
        Self { variables, ..self }
    }

    /// Settings for its boot script.
    pub(super) fn variables(&self) -> &Variables {
        &self.variables
    }

    /// The folder itself, for files that are read in other ways.
    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// The path as the user gave it.
    pub(super) fn shown(&self) -> &Path {
        &self.shown
    }

    /// Paths of all files, relative to the folder, with `/` between parts.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Says whether it has this file.
    pub(super) fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// Size in bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.values().map(|stamp| stamp.size()).sum()
    }

    /// Size in bytes of one file; 0 if it is missing.
    pub(super) fn len(&self, path: &str) -> u64 {
        self.files.get(path).map_or(0, |stamp| stamp.size())
    }

    /// The first `len` bytes of a file, or all if it is shorter.
    pub(super) fn head(&self, path: &str, len: usize) -> Result<Vec<u8>> {
        let mut head = Vec::new();
        self.open_file(path)?
            .take(len as u64)
            .read_to_end(&mut head)
            .with_context(|| self.cannot_read(path))?;
        Ok(head)
    }

    /// Copies a file into a blob.
    pub(super) fn store(&self, path: &str, blobs: &Blobs, progress: &dyn Fn(u64)) -> Result<Asset> {
        let mut file = self.open_file(path)?;
        let opened = Stamp::from(&file.metadata().with_context(|| self.cannot_read(path))?);
        let counted = Counted { inner: &mut file, progress };
        let (sha256, size) = blobs
            .add(counted)
            .with_context(|| format!("cannot store {}", self.shown.join(path).display()))?;
        let read = Stamp::from(&file.metadata().with_context(|| self.cannot_read(path))?);
        let listed = self.files.get(path);
        ensure!(
            listed == Some(&opened) && opened == read && read.size() == size,
            self.changed(path)
        );
        Ok(Asset { sha256, size })
    }

    /// Lists the folder again, and fails if anything changed since it was opened.
    pub(super) fn ensure_unchanged(&self) -> Result<()> {
        let now = self.list()?;
        let differs = |path: &&String| self.files.get(*path) != now.get(*path);
        match self.files.keys().chain(now.keys()).find(differs) {
            Some(path) => bail!(self.changed(path)),
            None => Ok(()),
        }
    }

    fn open_file(&self, path: &str) -> Result<cap_std::fs::File> {
        as_caller(|| self.dir.open(path)).with_context(|| self.cannot_read(path))
    }

    fn list(&self) -> Result<BTreeMap<String, Stamp>> {
        let mut files = BTreeMap::new();
        as_caller(|| self.list_below("", MAX_DEPTH, &mut files))?;
        Ok(files)
    }

    fn list_below(
        &self,
        below: &str,
        depth: usize,
        files: &mut BTreeMap<String, Stamp>,
    ) -> Result<()> {
        let at = if below.is_empty() { "." } else { below };
        let entries = self.dir.read_dir(at).with_context(|| self.cannot_read(below))?;
        for entry in entries {
            let name = entry.with_context(|| self.cannot_read(below))?.file_name();
            let Some(name) = name.to_str().filter(|name| !name.contains(char::is_control)) else {
                bail!(
                    "{} has a name that no URL can hold: {name:?}; rename it",
                    self.shown.join(below).display()
                );
            };
            if name.starts_with('.') {
                continue;
            }
            let path = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
            // Follows symbolic links, and fails for those that lead out of the folder.
            let metadata = self.dir.metadata(&path).with_context(|| {
                let link = self.dir.symlink_metadata(&path).is_ok_and(|m| m.is_symlink());
                let hint =
                    if link { ": a symbolic link must lead to something inside" } else { "" };
                format!("{}{hint}", self.cannot_read(&path))
            })?;
            if metadata.is_dir() {
                ensure!(
                    depth > 0,
                    "{} lies more than {MAX_DEPTH} folders deep",
                    self.shown.join(&path).display()
                );
                self.list_below(&path, depth - 1, files)?;
            } else if metadata.is_file() {
                files.insert(path, Stamp::from(&metadata));
                ensure!(
                    files.len() <= MAX_FILES,
                    "{} holds more than {MAX_FILES} files; is it the right folder?",
                    self.shown.display()
                );
            } else {
                bail!("{} is not a file", self.shown.join(&path).display());
            }
        }
        Ok(())
    }

    fn cannot_read(&self, path: &str) -> String {
        format!("cannot read {}", self.shown.join(path).display())
    }

    fn changed(&self, path: &str) -> String {
        format!(
            "{} changed while it was read; nothing was published: try again",
            self.shown.join(path).display()
        )
    }
}

struct Counted<'a> {
    inner: &'a mut cap_std::fs::File,
    progress: &'a dyn Fn(u64),
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        (self.progress)(count as u64);
        Ok(count)
    }
}
