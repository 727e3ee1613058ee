//! Dependencies point one way: see the crate's documentation. Reads the sources.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Each module, and those that it may name. What stands lower knows nothing of what stands above.
const LAYERS: &[(&str, &str)] = &[
    ("foreign", ""),
    ("near", ""),
    ("backoff", ""),
    ("identity", "foreign"),
    ("config", "identity near foreign"),
    ("ipxe", "config identity foreign"),
    ("fleet", "ipxe identity foreign"),
    ("profile", "fleet ipxe config identity near foreign"),
    ("agent", "profile foreign backoff"),
    ("process", ""),
    ("store", "process profile fleet identity config near foreign"),
    ("http_client", "store config foreign"),
    ("replica", "store http_client backoff fleet config foreign"),
    ("bucket", "store http_client backoff fleet identity config foreign"),
    ("images", "store http_client backoff fleet profile foreign"),
    ("iso", "store ipxe fleet identity config foreign"),
    ("publish", "bucket images store http_client profile ipxe fleet identity config foreign"),
    (
        "sync",
        "publish images store http_client profile ipxe fleet identity config near foreign process",
    ),
    ("server", "sync replica bucket store process profile fleet identity config foreign backoff"),
];

/// Modules that know no files, clock, network or environment: bytes in, values out.
const PURE: &[&str] =
    &["backoff", "config", "fleet", "foreign", "identity", "ipxe", "near", "profile"];

const IMPURE: &[&str] = &[
    "axum",
    "tokio",
    "std::fs",
    "std::env",
    "std::net::Tcp",
    "std::process",
    "SystemTime",
    "Instant",
    "now_utc",
];

/// One file of the crate without its tests.
struct Source {
    /// Below `src/`.
    path: String,
    /// Its module: `["store", "gateways"]` for `store/gateways/mod.rs`.
    module: Vec<String>,
    text: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&src, &mut found);
    assert!(found.len() > 100, "the sources are not where they were");
    found.into_iter().map(|path| read(&src, &path)).collect()
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn read(src: &Path, path: &Path) -> Source {
    let text = fs::read_to_string(path).unwrap();
    let path = path.strip_prefix(src).unwrap().to_str().unwrap().to_owned();
    let mut module: Vec<String> =
        path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod" || last == "lib") {
        module.pop();
    }
    let code = if is_tests(&path) { "" } else { text.split("#[cfg(test)]").next().unwrap() };
    let code = code.lines().map(|line| line.split("//").next().unwrap());
    let code = code.collect::<Vec<_>>().join("\n");
    Source { path, module, text, code }
}

fn is_tests(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// What follows `prefix` wherever it stands in `code`, up to the end of the path.
fn paths<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = Vec<&'a str>> {
    code.match_indices(prefix).map(move |(at, _)| {
        let rest = &code[at + prefix.len()..];
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
        rest[..end.unwrap_or(rest.len())].split("::").collect()
    })
}

#[test]
fn no_module_names_one_above_it() {
    let layers: BTreeMap<&str, &str> = LAYERS.iter().copied().collect();
    let mut seen = BTreeSet::new();
    for source in sources() {
        let Some((own, allowed)) =
            source.module.first().and_then(|own| layers.get_key_value(own.as_str()))
        else {
            continue;
        };
        seen.insert(*own);
        for named in paths(&source.code, "crate::") {
            let named = named[0];
            let fine = named == *own || allowed.split(' ').any(|allowed| allowed == named);
            assert!(fine, "src/{} is below crate::{named}", source.path);
        }
    }
    let all: BTreeSet<_> = layers.into_keys().collect();
    assert_eq!(seen, all, "modules are not where they were");
}

#[test]
fn pure_modules_know_no_files_clock_network_or_environment() {
    let mut looked_at = 0;
    for source in sources() {
        if source.module.first().is_some_and(|own| PURE.contains(&own.as_str())) {
            looked_at += 1;
            for word in IMPURE {
                assert!(!source.code.contains(word), "src/{}: {word}", source.path);
            }
        }
    }
    assert!(looked_at > 50, "the pure modules are not where they were");
}

/// Plain functions below, the edge and HTTP above.
#[test]
fn only_the_edge_and_http_know_axum_and_how_requests_are_run() {
    let may = |source: &Source, words: &[&str]| match source.module.first().map(String::as_str) {
        Some("server") => match source.module.get(1).map(String::as_str) {
            Some("edge" | "http") => true,
            Some(
                "app" | "facts" | "metrics" | "page" | "recorder" | "settings" | "problems"
                | "templates",
            ) => false,
            _ => words == ["tokio"],
        },
        _ => words == ["tokio"],
    };
    for source in sources() {
        for words in [&["axum"][..], &["tokio"]] {
            let names = words.iter().any(|word| source.code.contains(word));
            assert!(!names || may(&source, words), "src/{}: {words:?}", source.path);
        }
        let inner = source.module.get(..2) == Some(&["server".to_owned(), "app".to_owned()]);
        if inner || source.path.starts_with("server/edge/") {
            for above in ["server::http", "super::http"] {
                assert!(!source.code.contains(above), "src/{}: {above}", source.path);
            }
        }
        if inner {
            assert!(!source.code.contains("server::edge"), "src/{}: the edge", source.path);
        }
    }
}

/// The status page is made of values: whoever renders it has read them before.
#[test]
fn what_renders_the_page_reads_nothing() {
    let pages = sources().into_iter().filter(|source| source.path.starts_with("server/page/"));
    let pages: Vec<_> = pages.collect();
    assert!(pages.len() > 10, "the pages are not where they were");
    for source in pages {
        for word in IMPURE.iter().chain(&["server::app", "server::facts", "store::State"]) {
            assert!(!source.code.contains(word), "src/{}: {word}", source.path);
        }
    }
}

#[test]
fn only_one_file_knows_systemd_and_one_the_parser_library() {
    for source in sources() {
        let systemd = source.path == "server/edge/systemd.rs";
        assert_eq!(source.text.contains("sd_notify"), systemd, "src/{}", source.path);
        let nom = source.code.lines().any(|line| line.trim_start().starts_with("use nom"));
        assert_eq!(nom, source.path == "ipxe/script/grammar.rs", "src/{}", source.path);
    }
}

/// A module's own file and those below it are one thing; any other two that need each other
/// cannot be understood one after the other.
#[test]
fn no_two_files_need_each_other() {
    let sources = sources();
    let modules: BTreeMap<Vec<String>, usize> =
        sources.iter().enumerate().map(|(at, source)| (source.module.clone(), at)).collect();
    let mut needs: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); sources.len()];
    for (at, source) in sources.iter().enumerate() {
        for target in named(source, &modules) {
            let other = &sources[target].module;
            let family = other.starts_with(&source.module) || source.module.starts_with(other);
            if !family {
                needs[at].insert(target);
            }
        }
    }
    for (at, source) in sources.iter().enumerate() {
        if let Some(way) = way_back(at, &needs) {
            let way: Vec<_> = way.iter().map(|at| sources[*at].path.as_str()).collect();
            panic!("src/{} needs itself: {}", source.path, way.join(" -> "));
        }
    }
}

/// The files whose modules `source` names.
fn named(source: &Source, modules: &BTreeMap<Vec<String>, usize>) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut resolve = |base: &[String], path: &[&str]| {
        let mut module = base.to_vec();
        module.extend(path.iter().map(|part| (*part).to_owned()));
        while !module.is_empty() {
            if let Some(at) = modules.get(&module) {
                found.insert(*at);
                return;
            }
            module.pop();
        }
    };
    for path in paths(&source.code, "crate::") {
        resolve(&[], &path);
    }
    for path in paths(&source.code, "super::") {
        // Twice means twice up.
        let up = path.iter().take_while(|part| **part == "super").count();
        let base = source.module.len().saturating_sub(up + 1);
        resolve(&source.module[..base], &path[up..]);
    }
    found
}

/// The shortest way from a file back to itself.
fn way_back(start: usize, needs: &[BTreeSet<usize>]) -> Option<Vec<usize>> {
    let mut ways: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut next = vec![(start, vec![start])];
    while !next.is_empty() {
        let mut following = Vec::new();
        for (at, way) in next {
            for target in &needs[at] {
                let mut way = way.clone();
                way.push(*target);
                if *target == start {
                    return Some(way);
                }
                if ways.insert(*target, way.clone()).is_none() {
                    following.push((*target, way));
                }
            }
        }
        next = following;
    }
    None
}

#[test]
fn each_file_says_what_it_is_for() {
    for source in sources() {
        assert!(source.text.starts_with("//! "), "src/{} has no module doc", source.path);
    }
}
