//! Values that several keys share: words, files, secrets, names.

use std::fmt;
use std::ops::Range;

use toml::Spanned;

use super::MOST;
use super::Reader;
use crate::foreign::Foreign;
use crate::ipxe::script::codes;
use crate::near::meant;
use crate::profile::description::file::File;
use crate::profile::description::file::check_path;
use crate::profile::description::problem::Placed;
use crate::profile::description::raw::RawFile;
use crate::profile::description::raw::Text;
use crate::profile::description::secrets;
use crate::profile::description::secrets::REFERENCE;
use crate::profile::download::Download;
use crate::profile::download::DownloadUrl;

/// The way out for what cannot be the name of a container or a volume.
pub(super) const WORD: &str =
    "use 1 to 63 letters, digits, `_`, `-` and `.`, beginning with a letter or digit";

impl Reader {
    /// One of several words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        text: Option<&Text>,
        key: &str,
        all: &[(&str, T)],
    ) -> Option<Placed<T>> {
        let text = text?;
        let word = text.get_ref().as_str();
        if let Some((_, value)) = all.iter().find(|(name, _)| *name == word) {
            return Some(Placed { value: *value, span: text.span() });
        }
        let what = format!("there is no {key} `{}`", Foreign::shorter(word, 64));
        self.error(
            codes::WRONG_VALUE,
            &text.span(),
            what,
            meant(word, all.iter().map(|(name, _)| *name)),
        );
        None
    }

    pub(super) fn file(&mut self, raw: Option<&Spanned<RawFile>>, default: &str) -> Placed<File> {
        let Some(raw) = raw else {
            return Placed { value: File::InFolder(default.to_owned()), span: 0..0 };
        };
        let value = match raw.get_ref() {
            RawFile::Name(path) => {
                self.is_path(path, &raw.span());
                File::InFolder(path.clone())
            }
            RawFile::Download(download) => {
                let url = self.value(&download.url, str::parse::<DownloadUrl>);
                let digest =
                    |text: &str| text.parse().map_err(|_| "this is not a SHA-256: 64 hex digits");
                let sha256 = self.value(&download.sha256, digest);
                match url.zip(sha256) {
                    Some((url, sha256)) => {
                        let download = Download { url: url.value, sha256: sha256.value };
                        File::Download(default.to_owned(), download)
                    }
                    None => File::InFolder(default.to_owned()),
                }
            }
        };
        Placed { value, span: raw.span() }
    }

    pub(super) fn value<T, E: fmt::Display>(
        &mut self,
        text: &Text,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Placed<T>> {
        match parse(text.get_ref()) {
            Ok(value) => Some(Placed { value, span: text.span() }),
            Err(error) => {
                self.error(codes::WRONG_VALUE, &text.span(), Foreign::new(&error.to_string()), "");
                None
            }
        }
    }

    pub(super) fn path(&mut self, text: &Text) -> Option<Placed<String>> {
        self.is_path(text.get_ref(), &text.span()).then(|| placed(text))
    }

    /// True for the path of a file. Reports any other.
    fn is_path(&mut self, path: &str, span: &Range<usize>) -> bool {
        let Err(help) = check_path(path) else { return true };
        let what = format!("`{}` cannot be the path of this file", Foreign::shorter(path, 64));
        self.error(codes::WRONG_VALUE, span, what, help);
        false
    }

    /// The name after `secret:`.
    pub(super) fn secret(&mut self, text: &Text, for_what: &str) -> Option<Placed<String>> {
        let name = text.get_ref().strip_prefix(REFERENCE);
        match name {
            Some(name) if secrets::is_name(name) => {
                Some(Placed { value: name.to_owned(), span: text.span() })
            }
            Some(_) => {
                let what = "this is not the name of a secret";
                let help = "a name is a letter, then letters, digits, `_` and `-`";
                self.error(codes::WRONG_VALUE, &text.span(), what, help);
                None
            }
            None => {
                let what = format!("{for_what} must not be written here");
                let help = "write `secret:NAME`, and a line NAME=VALUE into the file `secrets`";
                self.error(codes::WRONG_VALUE, &text.span(), what, help);
                None
            }
        }
    }

    pub(super) fn host(&mut self, text: &Text) -> Option<String> {
        let host = text.get_ref();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
        if host.is_empty() || host.len() > 253 || host.starts_with('-') || !host.chars().all(plain)
        {
            let what = format!(
                "`{}` is not the name or the address of a server",
                Foreign::shorter(host, 64)
            );
            self.error(codes::WRONG_VALUE, &text.span(), what, "write it like \"pool.ntp.org\"");
            return None;
        }
        Some(host.clone())
    }

    /// Reports the first that is more than [`MOST`].
    pub(super) fn at_most<'t, T: 't>(
        &mut self,
        all: impl IntoIterator<Item = &'t Spanned<T>>,
        what: &str,
    ) {
        if let Some(extra) = all.into_iter().nth(MOST) {
            let what = format!("there are more than {MOST} {what}");
            self.error(codes::WRONG_VALUE, &extra.span(), what, "");
        }
    }
}

/// Names of containers and volumes: they become names of directories.
pub(super) fn is_word(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= 63
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

pub(super) fn placed(text: &Text) -> Placed<String> {
    Placed { value: text.get_ref().clone(), span: text.span() }
}
