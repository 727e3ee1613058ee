//! Lists a shared store that is a directory. object_store's own listing ends at the first name that
//! it cannot parse.

use std::fs;
use std::io;
use std::path::Path as FilePath;

use object_store::path::Path;

use super::strays::Strays;

/// The depth of farmgate's own objects below `gateways`, `records` or `blobs`.
const DEPTH: usize = 3;

/// Lists all objects in the folder `prefix` of the directory `root`. Names that object_store cannot
/// parse go to `strays`.
pub(super) fn list(root: &FilePath, prefix: &str, strays: &Strays) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    match fs::read_dir(root.join(prefix)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(entries) => descend(entries, prefix, DEPTH, &mut found, strays),
    }
    found.sort();
    Ok(found)
}

fn descend(
    entries: fs::ReadDir,
    below: &str,
    depth: usize,
    found: &mut Vec<String>,
    strays: &Strays,
) {
    // Entries that vanish meanwhile were deleted by another host.
    for entry in entries.flatten() {
        let name = entry.file_name();
        let path = format!("{below}/{}", name.to_string_lossy());
        let sound = name.to_str().is_some_and(|name| Path::parse(name).is_ok());
        let Ok(facts) = fs::metadata(entry.path()) else { continue };
        if !sound {
            strays.add(&path);
        } else if facts.is_file() {
            if !is_unfinished(&name.to_string_lossy()) {
                found.push(path);
            }
        } else if facts.is_dir() {
            match fs::read_dir(entry.path()) {
                Ok(entries) if depth > 0 => descend(entries, &path, depth - 1, found, strays),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                _ => strays.add(&path),
            }
        }
    }
}

/// Says whether object_store is still writing this file: its name ends in `#` and a number.
fn is_unfinished(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(_, number)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_what_is_finished_and_names_strays() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("gateways/lab-1-00");
        fs::create_dir_all(&folder).unwrap();
        for name in ["a.json", "b.json#12", "c#x", "d\u{1}"] {
            fs::write(folder.join(name), "").unwrap();
        }
        let strays = Strays::default();
        let listed = list(root.path(), "gateways", &strays).unwrap();
        assert_eq!(listed, ["gateways/lab-1-00/a.json", "gateways/lab-1-00/c#x"]);
        assert!(strays.take().contains("\"gateways/lab-1-00/d\\u{1}\""));
        assert!(list(root.path(), "missing", &strays).unwrap().is_empty());
    }
}
