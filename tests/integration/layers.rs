//! Dependencies point one way (see the crate's documentation).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[track_caller]
fn assert_absent(modules: &[&str], words: &[&str]) {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut looked_at = 0;
    for path in sources(&src) {
        let relative = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        let tests = relative.ends_with("/tests.rs");
        if tests || !modules.iter().any(|module| relative.starts_with(module)) {
            continue;
        }
        looked_at += 1;
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap();
            for word in words {
                assert!(!line.contains(word), "src/{relative}:{}: {word}", number + 1);
            }
        }
    }
    assert!(looked_at >= modules.len(), "{modules:?} are not where they were");
}

#[test]
fn the_pure_modules_know_no_files_clock_network_or_environment() {
    assert_absent(
        &[
            "identity/",
            "ipxe/",
            "config",
            "foreign.rs",
            "fleet/",
            "bucket/backoff.rs",
            "bucket/error.rs",
            "bucket/hand_out.rs",
            "bucket/name.rs",
            "bucket/plan.rs",
            "bucket/stored/",
        ],
        &[
            "axum",
            "tokio",
            "std::fs",
            "std::env",
            "std::net::Tcp",
            "std::process",
            "SystemTime",
            "Instant",
            "now_utc",
            "crate::store",
            "crate::server",
            "crate::cli",
            "crate::iso",
            "crate::publish",
        ],
    );
}

#[test]
fn nobody_depends_on_those_above() {
    assert_absent(
        &["store/", "fleet/", "http_client.rs"],
        &[
            "crate::cli",
            "crate::doctor",
            "crate::server",
            "crate::publish",
            "crate::iso",
            "crate::bucket",
            "crate::replica",
        ],
    );
    assert_absent(
        &["bucket/", "replica/"],
        &["crate::cli", "crate::doctor", "crate::server", "crate::publish", "crate::iso", "axum"],
    );
    assert_absent(
        &["publish/", "iso/"],
        &["crate::cli", "crate::doctor", "crate::server", "axum", "tokio"],
    );
    assert_absent(&["server/"], &["crate::cli", "crate::doctor", "crate::publish", "crate::iso"]);
    assert_absent(&["doctor/"], &["crate::cli", "axum"]);
    assert_absent(&["process/"], &["crate::", "tokio", "axum"]);
}

#[test]
fn only_the_server_knows_axum_and_only_one_file_systemd() {
    assert_absent(
        &[
            "cli/",
            "store/",
            "bucket/",
            "replica/",
            "publish/",
            "iso/",
            "ipxe/",
            "identity/",
            "http_client.rs",
        ],
        &["axum"],
    );
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in sources(&src) {
        let text = fs::read_to_string(&path).unwrap();
        let systemd = path.ends_with("server/systemd.rs");
        assert_eq!(text.contains("sd_notify"), systemd, "{}", path.display());
    }
}

#[test]
fn only_the_grammar_of_boot_scripts_knows_nom() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in sources(&src) {
        let code = fs::read_to_string(&path).unwrap();
        let knows = code.lines().any(|line| line.trim_start().starts_with("use nom"));
        assert_eq!(knows, path.ends_with("ipxe/script/grammar.rs"), "{}", path.display());
    }
}

/// Modules of the crate, like `cli/iso/parts`, with what each imports by `use`. A re-export is no
/// import.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let module = |path: &Path| {
        let path = path.strip_prefix(&src).unwrap().with_extension("");
        path.to_str().unwrap().trim_end_matches("/mod").to_owned()
    };
    let files: BTreeMap<_, _> = sources(&src).into_iter().map(|p| (module(&p), p)).collect();
    let imported = |module: &str, path: &str| {
        let mut at: Vec<&str> = module.split('/').collect();
        for part in path.split("::") {
            match part {
                "crate" => at.clear(),
                "super" => drop(at.pop()),
                "self" => {}
                name => at.push(name),
            }
        }
        // What is named in a module is not a file.
        while !at.is_empty() && !files.contains_key(&at.join("/")) {
            at.pop();
        }
        Some(at.join("/")).filter(|at| !at.is_empty() && at != module)
    };
    let read = |(module, path): (&String, &PathBuf)| {
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let paths = code.lines().filter_map(|line| line.trim_start().strip_prefix("use "));
        let paths = paths.map(|path| path.trim_end_matches(';').split(" as ").next().unwrap());
        (module.clone(), paths.filter_map(|path| imported(module, path)).collect())
    };
    files.iter().filter(|(module, _)| !module.ends_with("tests")).map(read).collect()
}

/// The modules on a way from `from` back to itself.
fn circle(imports: &BTreeMap<String, BTreeSet<String>>, from: &str) -> Option<Vec<String>> {
    let (mut open, mut seen) = (vec![vec![from.to_owned()]], BTreeSet::new());
    while let Some(way) = open.pop() {
        for next in imports.get(way.last().unwrap()).into_iter().flatten() {
            let way = [&way[..], std::slice::from_ref(next)].concat();
            if next == from {
                return Some(way);
            }
            if seen.insert(next.clone()) {
                open.push(way);
            }
        }
    }
    None
}

#[test]
fn no_two_files_import_each_other() {
    let imports = imports();
    let looked_at = |module: &&String| {
        let (area, _) = module.split_once('/').unwrap_or((module, ""));
        ["cli", "doctor", "publish", "store"].contains(&area)
    };
    let modules: Vec<_> = imports.keys().filter(looked_at).collect();
    assert!(modules.len() > 60, "{modules:?}");
    assert!(imports["publish/gateway"].contains("publish/folder"), "imports are not seen");
    for module in modules {
        if let Some(way) = circle(&imports, module) {
            panic!("{}", way.join(" imports "));
        }
    }
    // And one would be found.
    let files = |pairs: [(&str, &str); 3]| -> BTreeMap<String, BTreeSet<String>> {
        pairs.map(|(a, b)| (a.to_owned(), BTreeSet::from([b.to_owned()]))).into()
    };
    assert_eq!(circle(&files([("a", "b"), ("b", "c"), ("c", "a")]), "a").unwrap().len(), 4);
    assert_eq!(circle(&files([("a", "b"), ("b", "c"), ("d", "a")]), "a"), None);
}
