//! Compiles iPXE from source, trusting one CA, for operators who cannot or will not use a
//! distribution's binaries. Reads and writes files and runs `make`.

use std::ffi::OsStr;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use sha2::Digest;
use sha2::Sha256;

use super::sources::Found;
use super::sources::Ipxe;
use super::sources::read_image;
use crate::identity::Fingerprint;
use crate::ipxe::Kind;
use crate::ipxe::reroot;

const BIOS: &str = "bin/ipxe.lkrn";
const EFI: &str = "bin-x86_64-efi/ipxe.efi";

/// These files override iPXE's own configuration.
const CONFIG: &[(&str, &str)] = &[
    ("general.h", include_str!("../../ipxe/config/general.h")),
    ("crypto.h", include_str!("../../ipxe/config/crypto.h")),
];

/// Programs that the build needs, and their Debian packages.
const PROGRAMS: &[(&str, &str)] =
    &[("make", "make"), ("gcc", "gcc"), ("ld", "binutils"), ("perl", "perl"), ("awk", "mawk")];

/// A build of iPXE.
pub struct Build<'a> {
    /// iPXE's source tree, which contains `src/Makefile`. It is only read.
    pub source: &'a Path,
    /// The CA that the result trusts, PEM.
    pub ca: &'a [u8],
    /// Fingerprint of the same CA.
    pub root: Fingerprint,
    /// The date built into iPXE. With a fixed date, a second build gives the same bytes.
    pub timestamp: i64,
    /// The directory where results are cached.
    pub cache: &'a Path,
}

impl Build<'_> {
    /// Compiles iPXE, or returns the cached result of an earlier build of the same input. Calls
    /// `step` for each step of the build.
    pub fn run(&self, mut step: impl FnMut()) -> Result<Ipxe> {
        if !self.source.join("src/Makefile").is_file() {
            bail!("{} is not an iPXE source tree: src/Makefile is missing", self.source.display());
        }
        let kept = self.cache.join(format!("ipxe-{}", self.key()?));
        if !kept.is_dir() {
            self.compile(&kept, &mut step)?;
        }
        self.read(&kept)
    }

    /// The cache key: a hash of everything that the result depends on.
    fn key(&self) -> Result<String> {
        let mut digest = Sha256::new();
        for (name, text) in CONFIG {
            digest.update(name);
            digest.update(text);
        }
        digest.update(self.root.as_bytes());
        digest.update(self.timestamp.to_be_bytes());
        walk(&self.source.join("src"), Path::new(""), &mut |path, from| {
            digest.update(path.as_os_str().as_encoded_bytes());
            digest.update([0]);
            digest.update(Sha256::digest(fs::read(from)?));
            Ok(())
        })?;
        Ok(hex::encode(digest.finalize()))
    }

    fn compile(&self, kept: &Path, step: &mut impl FnMut()) -> Result<()> {
        for (program, package) in PROGRAMS {
            if !is_installed(program) {
                bail!("compiling iPXE needs {program}: install Debian's package {package}");
            }
        }
        // Build inside the cache, so that the finished directory can be renamed into place.
        let build = tempfile::Builder::new()
            .prefix("build-")
            .tempdir_in(self.cache)
            .with_context(|| format!("cannot write in {}", self.cache.display()))?;
        let tree = build.path().join("src");
        walk(&self.source.join("src"), Path::new(""), &mut |path, from| {
            let to = tree.join(path);
            fs::create_dir_all(to.parent().unwrap_or(&tree))?;
            fs::copy(from, to)?;
            Ok(())
        })?;
        let local = tree.join("config/local");
        fs::create_dir_all(&local)?;
        for (name, text) in CONFIG {
            fs::write(local.join(name), text)?;
        }
        let ca = build.path().join("ca.crt");
        fs::write(&ca, self.ca)?;
        self.make(&tree, &ca, step)?;
        let done = tempfile::Builder::new().prefix("done-").tempdir_in(self.cache)?;
        for file in [BIOS, EFI] {
            fs::copy(tree.join(file), done.path().join(file_name(file)))?;
        }
        // Another process may have finished first. Its result has the same bytes.
        match fs::rename(done.path(), kept) {
            Err(_) if kept.is_dir() => Ok(()),
            result => {
                result.with_context(|| format!("cannot write {}", kept.display()))?;
                let _ = done.keep();
                Ok(())
            }
        }
    }

    fn make(&self, tree: &Path, ca: &Path, step: &mut impl FnMut()) -> Result<()> {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let build_id = hex::encode(&self.root.as_bytes()[..4]);
        let mut make = Command::new("make")
            .arg("-C")
            .arg(tree)
            .arg(format!("-j{jobs}"))
            .args([BIOS, EFI])
            .arg(format!("TRUST={}", ca.display()))
            .arg(format!("BUILD_TIMESTAMP={}", self.timestamp))
            .arg(format!("BUILD_ID_CMD=echo 0x{build_id}"))
            .env("SOURCE_DATE_EPOCH", self.timestamp.to_string())
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .env_remove("MAKEFLAGS")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run make")?;
        let errors = make.stderr.take().map(|mut pipe| {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                // After a read error, the text that was read so far is still useful.
                let _ = pipe.read_to_end(&mut text);
                String::from_utf8_lossy(&text).into_owned()
            })
        });
        if let Some(pipe) = make.stdout.take() {
            BufReader::new(pipe).lines().map_while(Result::ok).for_each(|_| step());
        }
        let status = make.wait().context("cannot run make")?;
        let errors = errors.and_then(|thread| thread.join().ok()).unwrap_or_default();
        if status.success() { Ok(()) } else { bail!("{}", explain(&errors)) }
    }

    /// Reads the result and checks that it trusts the CA.
    fn read(&self, kept: &Path) -> Result<Ipxe> {
        let read = |kind, file| {
            let path = kept.join(file_name(file));
            let bytes = read_image(&path)?;
            let sound = reroot(kind, &bytes, &self.root);
            sound.with_context(|| format!("cannot use {}", path.display()))?;
            Ok::<_, anyhow::Error>(Found { path, bytes })
        };
        Ok(Ipxe { bios: read(Kind::Bios, BIOS)?, efi: read(Kind::Efi, EFI)? })
    }
}

fn file_name(path: &str) -> &OsStr {
    Path::new(path).file_name().unwrap_or_default()
}

/// Reduces the output of a failed build to one line.
fn explain(errors: &str) -> String {
    if errors.contains("lzma.h") {
        return "compiling iPXE needs liblzma's headers: install Debian's package liblzma-dev"
            .to_owned();
    }
    let line = errors
        .lines()
        .find(|line| line.contains("error:"))
        .or_else(|| errors.lines().last())
        .unwrap_or("make failed without an error message");
    format!("compiling iPXE failed: {}", line.trim())
}

fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// Visits the files of a source tree in a fixed order, without the output of earlier builds.
fn walk(
    root: &Path,
    below: &Path,
    visit: &mut impl FnMut(&Path, &Path) -> std::io::Result<()>,
) -> Result<()> {
    let folder = root.join(below);
    let cannot = || format!("cannot read {}", folder.display());
    let mut names = fs::read_dir(&folder)
        .and_then(|entries| {
            entries.map(|entry| entry.map(|e| e.file_name())).collect::<Result<Vec<_>, _>>()
        })
        .with_context(cannot)?;
    names.sort();
    for name in names {
        let path = below.join(&name);
        let from = root.join(&path);
        let built = below.as_os_str().is_empty()
            && name.to_str().is_some_and(|name| name == "bin" || name.starts_with("bin-"));
        // Settings that somebody added by hand are part of the source too.
        let kind =
            fs::metadata(&from).with_context(|| format!("cannot read {}", from.display()))?;
        if kind.is_dir() && !built {
            walk(root, &path, visit)?;
        } else if kind.is_file() {
            visit(&path, &from).with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_package_or_the_first_error() {
        let lzma = "util/zbin.c:7:10: fatal error: lzma.h: No such file or directory\nmake: ***";
        assert!(explain(lzma).contains("liblzma-dev"));
        let other = "In file x:\na.c:1: error: no such thing\nmake: *** [a.o] Error 1\n";
        assert_eq!(explain(other), "compiling iPXE failed: a.c:1: error: no such thing");
        assert!(explain("").contains("without an error message"));
    }
}
