//! Differences between what is and what is to be: files, variables, labels. Pure.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use super::content::Content;
use super::live::is_script;
use crate::fleet::Asset;
use crate::fleet::BlobId;
use crate::fleet::SECRETS;

/// Lines around a change in a script.
const AROUND: usize = 3;

/// A file that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    pub path: String,
    /// `None` if it is added, or secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<File>,
    /// `None` if it is removed, or secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<File>,
    pub change: Kind,
    /// The change of a script, in the unified format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    pub sha256: BlobId,
    /// In bytes; `None` for a file by URL that was not fetched yet.
    pub size: Option<u64>,
}

/// The change of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Added,
    Changed,
    Removed,
}

/// A variable or a label that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change<N> {
    pub name: N,
    /// `None` if there was none.
    pub before: Option<String>,
    /// `None` if there will be none.
    pub after: Option<String>,
}

/// Differences between two maps.
pub(super) fn changes<N: Ord + Clone>(
    before: &BTreeMap<N, String>,
    after: &BTreeMap<N, String>,
) -> Vec<Change<N>> {
    let names: BTreeSet<&N> = before.keys().chain(after.keys()).collect();
    let change = |name: &N| Change {
        name: name.clone(),
        before: before.get(name).cloned(),
        after: after.get(name).cloned(),
    };
    names.into_iter().map(change).filter(|change| change.before != change.after).collect()
}

/// Differences between two sets of files.
pub(super) fn file_changes<A: Wanted>(
    before: &BTreeMap<String, Asset>,
    after: &BTreeMap<String, A>,
    text_before: &dyn Fn(&Asset) -> Option<String>,
    text_after: &dyn Fn(&A) -> Option<String>,
) -> Vec<FileChange> {
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut found = Vec::new();
    for path in paths {
        let (old, new) = (before.get(path), after.get(path));
        if old.map(|old| old.sha256) == new.map(Wanted::sha256) {
            continue;
        }
        let secret = path == SECRETS;
        let diff = match is_script(path) && !secret {
            false => None,
            true => {
                // A text that is not here gives no diff, rather than a wrong one.
                let old_text = old.map_or(Some(String::new()), text_before);
                let new_text = new.map_or(Some(String::new()), text_after);
                old_text.zip(new_text).map(|(old, new)| diff(&old, &new))
            }
        };
        found.push(FileChange {
            path: path.clone(),
            change: match (old, new) {
                (None, _) => Kind::Added,
                (_, None) => Kind::Removed,
                _ => Kind::Changed,
            },
            before: old
                .filter(|_| !secret)
                .map(|old| File { sha256: old.sha256, size: Some(old.size) }),
            after: new
                .filter(|_| !secret)
                .map(|new| File { sha256: new.sha256(), size: new.size() }),
            diff,
        });
    }
    found
}

/// A file that a gateway is to have.
pub(super) trait Wanted {
    fn sha256(&self) -> BlobId;
    fn size(&self) -> Option<u64>;
}

impl Wanted for Content {
    fn sha256(&self) -> BlobId {
        Content::sha256(self)
    }

    fn size(&self) -> Option<u64> {
        Content::size(self)
    }
}

impl Wanted for Asset {
    fn sha256(&self) -> BlobId {
        self.sha256
    }

    fn size(&self) -> Option<u64> {
        Some(self.size)
    }
}

fn diff(before: &str, after: &str) -> String {
    let diff = similar::TextDiff::from_lines(before, after);
    diff.unified_diff().context_radius(AROUND).to_string()
}
