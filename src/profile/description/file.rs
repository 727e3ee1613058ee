//! Files that a `gateway.toml` names: of its folder, or by URL.

use std::fmt;

use crate::profile::download::Download;

/// Milliseconds without a byte after which a download has failed.
pub(super) const TIMEOUT: &str = "--timeout 30000";

/// A file.
#[derive(Clone, Debug)]
pub(super) enum File {
    /// Of the folder, by its path.
    InFolder(String),
    /// By URL, with its path in the generation.
    Download(String, Download),
}

impl File {
    /// Its path in the generation.
    pub(super) fn path(&self) -> &str {
        match self {
            Self::InFolder(path) | Self::Download(path, _) => path,
        }
    }

    /// The name under which iPXE knows it.
    pub(super) fn name(&self) -> &str {
        base_name(self.path())
    }

    pub(super) fn download(&self) -> Option<(&str, &Download)> {
        match self {
            Self::InFolder(_) => None,
            Self::Download(path, download) => Some((path, download)),
        }
    }
}

/// A line of the script that fetches a file for the initramfs.
pub(super) fn initrd(words: impl fmt::Display) -> String {
    format!("initrd {TIMEOUT} {words}\n")
}

/// The last part of a path.
pub(super) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Checks the path of a file that the boot script names. It needs no quoting there.
pub(super) fn check_path(path: &str) -> Result<(), &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '/');
    if path.starts_with('/') {
        Err("it must be a file of the folder: write its path from there")
    } else if path.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
        Err("no part of the path may be empty or begin with a dot: such files are not published")
    } else if !path.chars().all(plain) || path.starts_with('-') || path.len() > 255 {
        Err("rename the file: letters, digits and `.`, `_`, `-`, `+` alone need no quoting in iPXE")
    } else {
        Ok(())
    }
}
