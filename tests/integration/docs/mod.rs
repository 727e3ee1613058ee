//! The documentation against itself and the program. That its commands do what they say is a test in
//! vm-tests/ (`does_what_the_docs_say`).

mod links;

use std::fs;
use std::path::Path;
use std::path::PathBuf;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page that people read: those in docs/, and those next to the sources.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    let mut folders = vec![root().join("docs"), root().join("vm-tests"), root().join("examples")];
    folders.push(root().join("fuzz"));
    for entry in fs::read_dir(root()).unwrap() {
        let path = entry.unwrap().path();
        pages.extend(path.extension().is_some_and(|ending| ending == "md").then_some(path));
    }
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() && !path.is_symlink() {
                true => folders.push(path),
                false if path.extension().is_some_and(|ending| ending == "md") => pages.push(path),
                false => {}
            }
        }
    }
    pages
}
