//! Finds the files of this machine that name a directory: units, nginx, the configuration. Reads the
//! disk with the rights of the caller, and changes nothing.

use std::fs;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::store::owner::as_caller;

/// Places where administrators and packages name the directory of a service.
const PLACES: &[&str] = &[
    "/etc/systemd",
    "/etc/nginx",
    "/etc/nixos",
    "/etc/farmgate",
    "/etc/default",
    "/etc/cron.d",
    "/etc/cron.daily",
    "/etc/logrotate.d",
    "/etc/tmpfiles.d",
    "/etc/sysusers.d",
    "/etc/profile.d",
    "/etc/apparmor.d/local",
    "/etc/environment",
    "/etc/crontab",
    "/etc/fstab",
    "/etc/exports",
    "/run/systemd/system",
    "/usr/local/lib/systemd",
    "/usr/lib/systemd/system/farmgate.service",
    "/usr/lib/systemd/system/farmgate.service.d",
    "/usr/lib/tmpfiles.d/farmgate.conf",
    "/usr/lib/sysusers.d/farmgate.conf",
];

/// Bounds of the search.
const DEEPEST: usize = 6;
const MOST_FILES: usize = 20_000;
const LONGEST: u64 = 1024 * 1024;

/// A file, and the numbers of the lines that name the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Named {
    pub(super) file: PathBuf,
    pub(super) lines: Vec<usize>,
}

/// Looks for `dirs` in the file `config`, and wherever services are configured.
pub(super) fn find(config: &Path, dirs: &[PathBuf]) -> Vec<Named> {
    let places = PLACES.iter().map(Path::new);
    as_caller(|| find_in(std::iter::once(config).chain(places), dirs))
}

fn find_in<'a>(places: impl Iterator<Item = &'a Path>, dirs: &[PathBuf]) -> Vec<Named> {
    let (mut found, mut left) = (Vec::new(), MOST_FILES);
    for place in places {
        search(place, dirs, 0, &mut left, &mut found);
    }
    found
}

fn search(path: &Path, dirs: &[PathBuf], depth: usize, left: &mut usize, found: &mut Vec<Named>) {
    let Ok(facts) = fs::symlink_metadata(path) else { return };
    if facts.is_dir() {
        let Ok(entries) = fs::read_dir(path) else { return };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths.iter().filter(|_| depth < DEEPEST) {
            search(path, dirs, depth + 1, left, found);
        }
        return;
    }
    // What is enabled is a link to what is there anyway.
    if !facts.is_file() || facts.len() > LONGEST || *left == 0 {
        return;
    }
    *left -= 1;
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    let named: Vec<_> = lines
        .filter(|(_, line)| dirs.iter().any(|dir| names(line, dir.as_os_str().as_bytes())))
        .map(|(at, _)| at + 1)
        .collect();
    if read.is_ok() && !named.is_empty() {
        found.push(Named { file: path.to_path_buf(), lines: named });
    }
}

/// Says whether a line names the directory, or something in it, outside of a comment.
fn names(line: &[u8], dir: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    if line.starts_with(b"#") || dir.is_empty() {
        return false;
    }
    // A unit may have `-` before a path.
    let leads = |byte: &u8| byte.is_ascii_alphanumeric() || b"._".contains(byte);
    let continues = |byte: &u8| leads(byte) || *byte == b'-';
    line.windows(dir.len()).enumerate().any(|(at, window)| {
        let before = at.checked_sub(1).and_then(|at| line.get(at));
        let after = line.get(at + dir.len());
        window == dir && !before.is_some_and(leads) && !after.is_some_and(continues)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_only_as_a_whole() {
        let dir = b"/var/lib/farmgate";
        for line in [
            "ReadOnlyPaths=-/var/lib/farmgate/pki -/var/lib/farmgate/cache",
            "    alias /var/lib/farmgate/store/blobs/;",
            "d /var/lib/farmgate 0711 farmgate farmgate",
            "/var/lib/farmgate",
            "url = \"file:///var/lib/farmgate\"",
        ] {
            assert!(names(line.as_bytes(), dir), "{line}");
        }
        for line in [
            "",
            "/var/lib/farmgate2",
            "/var/lib/farmgate-old/pki",
            "/mnt/var/lib/farmgate",
            "/var/lib/farm",
            "  # /var/lib/farmgate",
        ] {
            assert!(!names(line.as_bytes(), dir), "{line}");
        }
    }

    #[test]
    fn files_are_found_below_folders_and_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let (config, below) = (root.path().join("farmgate.toml"), root.path().join("units/x.d"));
        fs::create_dir_all(&below).unwrap();
        fs::write(&config, "a\nb = \"/old/key\"\n").unwrap();
        fs::write(below.join("one.conf"), "/old\n/older\n\n/old/x\n").unwrap();
        fs::write(below.join("two.conf"), "/older\n").unwrap();
        std::os::unix::fs::symlink(below.join("one.conf"), below.join("link")).unwrap();
        let units = root.path().join("units");
        let found = find_in([&*config, &*units].into_iter(), &["/old".into()]);
        let expected = [(config.clone(), vec![2]), (below.join("one.conf"), vec![1, 4])];
        let expected = expected.map(|(file, lines)| Named { file, lines });
        assert_eq!(found, expected);
        assert!(find_in([&*config].into_iter(), &["/other".into()]).is_empty());
    }
}
