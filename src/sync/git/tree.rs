//! The files of a commit, as `git ls-tree` lists them: which there are, and which there must not
//! be. Nothing is written yet.

use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use super::commit::Commit;
use super::commit::is_id;
use super::reason::reason;
use super::repository::Repository;
use crate::config::Size;
use crate::foreign::Foreign;

/// Most files of a fleet folder.
const MOST_FILES: usize = 100_000;

/// Longest path of a file, and deepest folder.
const MOST_BYTES: usize = 1024;
const MOST_DEEP: usize = 32;

/// Longest target of a symbolic link.
const LONGEST_LINK: u64 = 1024;

/// The file that is written for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Executable,
    Link,
}

/// A file of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) id: String,
    pub(super) size: u64,
    /// Below the folder, with `/` between parts; no part leads up or out.
    pub(super) path: String,
}

/// Lists the files of a commit, or of a folder of it, and fails with the first that no fleet folder
/// may have.
pub(super) fn list(
    repository: &Repository<'_>,
    commit: &Commit,
    folder: Option<&str>,
    most: Size,
) -> Result<Vec<Entry>> {
    let object = match folder {
        Some(folder) => format!("{}:{folder}", commit.id),
        None => format!("{}^{{tree}}", commit.id),
    };
    let found = |args: [&str; 3]| -> Result<Option<String>> {
        let ended = repository.program.git(args).ended()?;
        let said = ended.read.context("cannot read what git says")?;
        Ok(ended.status.success().then(|| said.trim().to_owned()))
    };
    let tree = match found(["rev-parse", "--verify", &object])? {
        Some(id) if is_id(&id) && found(["cat-file", "-t", &id])?.as_deref() == Some("tree") => id,
        _ => bail!(
            "commit {} has no folder {} ([sync] folder)",
            commit.source().short(),
            folder.unwrap_or("/")
        ),
    };
    let ls = repository.program.git(["ls-tree", "-r", "-z", "-l", "--full-tree", &tree]);
    let mut refused = None;
    let ended = ls.read(|stdout| {
        read(stdout, most.bytes()).map_err(|error| {
            refused = Some(error);
            io::Error::other("refused")
        })
    })?;
    match (refused, ended.read) {
        (Some(error), _) => Err(error),
        (None, Ok(entries)) if ended.status.success() => Ok(entries),
        _ => bail!(reason(&ended.said, ended.status)),
    }
}

/// Reads the whole list, which is as long as its writer likes.
fn read(stdout: &mut dyn Read, most: u64) -> Result<Vec<Entry>> {
    let (mut entries, mut total) = (Vec::new(), 0u64);
    let mut stdout = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        (&mut stdout).take(MOST_BYTES as u64 + 200).read_until(0, &mut line)?;
        if line.is_empty() {
            return Ok(entries);
        }
        ensure!(line.pop() == Some(0), "a path is longer than {MOST_BYTES} bytes");
        let entry = parse(&line)?;
        total = total.saturating_add(entry.size);
        ensure!(
            total <= most,
            "the folder's files are larger than [sync] max-size ({}), counted up to {:?}: name \
             large files by URL and SHA-256",
            Size::of(most),
            entry.path
        );
        entries.push(entry);
        ensure!(entries.len() <= MOST_FILES, "the folder holds more than {MOST_FILES} files");
    }
}

/// Reads `MODE TYPE ID SIZE<tab>PATH`.
fn parse(line: &[u8]) -> Result<Entry> {
    let shown = || Foreign::from_bytes(line);
    let line = std::str::from_utf8(line)
        .with_context(|| format!("the name of a file is not UTF-8: {}", shown()))?;
    let (facts, path) = line.split_once('\t').context("git lists a file without a name")?;
    let mut facts = facts.split_ascii_whitespace();
    let mut next = || facts.next().context("git says too little about a file");
    let (mode, kind, id, size) = (next()?, next()?, next()?, next()?);
    check_path(path)?;
    let kind = match (mode, kind) {
        ("100644" | "100664", "blob") => Kind::File,
        ("100755", "blob") => Kind::Executable,
        ("120000", "blob") => Kind::Link,
        ("160000", _) => {
            bail!("{path} is a submodule, which is not fetched: put its files into the repository")
        }
        _ => bail!("{path} is neither a file nor a link: git says mode {mode}"),
    };
    ensure!(is_id(id), "git says {:?} for the id of {path}", Foreign::shorter(id, 80));
    let size = size.parse().with_context(|| format!("git does not know the size of {path}"))?;
    ensure!(kind != Kind::Link || size <= LONGEST_LINK, "the symbolic link {path} is too long");
    Ok(Entry { kind, id: id.to_owned(), size, path: path.to_owned() })
}

fn check_path(path: &str) -> Result<()> {
    let shown = || Foreign::shorter(path, 200);
    ensure!(path.len() <= MOST_BYTES, "the path of {} is too long", shown());
    ensure!(
        !path.contains(|c: char| c.is_control() || c == '\\'),
        "the name of {} has a control character or a backslash",
        shown()
    );
    let mut deep = 0;
    for part in path.split('/') {
        deep += 1;
        ensure!(!matches!(part, "" | "." | ".."), "{} leads out of the folder", shown());
        ensure!(part.len() <= 255, "a name in {} is too long", shown());
    }
    ensure!(deep <= MOST_DEEP, "{} lies too deep", shown());
    Ok(())
}

/// Fails if a symbolic link at `path` with this target leads out of the folder. Where it leads
/// through other links, whoever opens it must look again.
pub(super) fn check_link(path: &str, target: &[u8]) -> Result<()> {
    let out = || {
        format!(
            "the symbolic link {path} leads out of the folder, to {}",
            Foreign::from_bytes(target)
        )
    };
    let target = std::str::from_utf8(target).with_context(out)?;
    ensure!(!target.is_empty() && !target.starts_with('/'), "{}", out());
    ensure!(!target.contains(char::is_control), "{}", out());
    let mut depth = path.split('/').count() - 1;
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => depth = depth.checked_sub(1).with_context(out)?,
            _ => depth += 1,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0123456789012345678901234567890123456789";

    fn line(mode: &str, kind: &str, size: &str, path: &str) -> Vec<u8> {
        format!("{mode} {kind} {ID} {size:>7}\t{path}").into_bytes()
    }

    #[test]
    fn files_are_listed_with_their_sizes() {
        let all = [
            line("100644", "blob", "12", "fleet.toml"),
            line("100755", "blob", "7", "profiles/debian/a b\u{e9}"),
            line("120000", "blob", "5", "profiles/link"),
        ];
        let listed = all
            .map(|mut line| {
                line.push(0);
                line
            })
            .concat();
        let entries = read(&mut &*listed, 24).unwrap();
        assert_eq!(entries.iter().map(|entry| entry.size).sum::<u64>(), 24);
        assert_eq!(
            entries.iter().map(|entry| entry.kind).collect::<Vec<_>>(),
            [Kind::File, Kind::Executable, Kind::Link]
        );
        assert!(format!("{:#}", read(&mut &*listed, 23).unwrap_err()).contains("max-size"));
        assert!(read(&mut &listed[..listed.len() - 1], 24).is_err());
    }

    #[test]
    fn what_no_folder_may_have_is_refused() {
        for (bad, says) in [
            (line("160000", "commit", "-", "lib"), "submodule"),
            (line("040000", "tree", "-", "a"), "neither a file nor a link"),
            (line("100644", "blob", "1", "../a"), "leads out"),
            (line("100644", "blob", "1", "/etc/passwd"), "leads out"),
            (line("100644", "blob", "1", "a/./b"), "leads out"),
            (line("100644", "blob", "1", "a\nb"), "control"),
            (line("100644", "blob", "1", "a\\b"), "backslash"),
            (line("100644", "blob", "-", "a"), "size"),
            (line("100644", "blob", "1", &"a/".repeat(40)), "leads out"),
            (line("100644", "blob", "1", &format!("{}a", "a/".repeat(40))), "too deep"),
            (line("100644", "blob", "1", &"a".repeat(300)), "too long"),
            (line("120000", "blob", "2000", "a"), "too long"),
        ] {
            let error = format!("{:#}", parse(&bad).unwrap_err());
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn links_stay_inside() {
        for (path, target) in
            [("a", "b"), ("a/b", "../c"), ("a/b/c", "../../d/./e"), ("a", "b/../c")]
        {
            check_link(path, target.as_bytes()).unwrap();
        }
        for (path, target) in [
            ("a", "../b"),
            ("a", "/etc/passwd"),
            ("a/b", "../../c"),
            ("a", "b/../../c"),
            ("a", ""),
            ("a", "b\0"),
        ] {
            let error = check_link(path, target.as_bytes()).unwrap_err();
            assert!(format!("{error:#}").contains("leads out"), "{target}");
        }
    }

    proptest! {
        #[test]
        fn no_listing_panics_or_leads_out(bytes in prop::collection::vec(any::<u8>(), 0..200), path in "[a./\\\\\u{0}]{0,20}") {
            let _ = parse(&bytes);
            let _ = read(&mut &*bytes, u64::MAX);
            if let Ok(entry) = parse(&line("100644", "blob", "1", &path)) {
                prop_assert!(entry.path.split('/').all(|part| !matches!(part, "" | "." | "..")));
            }
        }
    }
}
