//! Pages that list what the program has, against the program. Their other direction, that nothing is listed
//! which is not there, is for a reader: pages also tell of what was.

use std::collections::BTreeSet;

use farmgate::store::layout::FILES;
use farmgate::store::layout::FOLDERS;

use super::read;

/// Texts between quotes that look like a path of a route.
fn paths(source: &str) -> BTreeSet<&str> {
    let quoted = source.split('"').skip(1).step_by(2);
    quoted.filter(|text| text.starts_with('/') && !text.contains(' ')).collect()
}

#[test]
fn every_route_is_documented() {
    let page = read("docs/http.md");
    let rows: BTreeSet<_> = page.split('`').skip(1).step_by(2).collect();
    let documented = |path: &str| {
        let path = path.replace("{*path}", "{path}");
        rows.iter().any(|row| row.split(' ').any(|word| word == path))
    };
    let mut count = 0;
    for file in ["routes.rs", "admin.rs", "page.rs"] {
        let source = read(&format!("src/server/http/{file}"));
        for path in paths(&source) {
            assert!(documented(path), "docs/http.md does not have {path} of {file}");
            count += 1;
        }
    }
    assert!(count > 12, "{count} routes");
    assert!(!documented("/no/such/route"));
}

#[test]
fn every_file_of_the_state_is_documented() {
    let page = read("docs/architecture.md");
    let mut folder = "";
    let mut documented = BTreeSet::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("    ")) {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        folder = first;
        documented.insert(first.trim_end_matches('/').to_owned());
        // "pki/    ca.crt ca.key ..."
        for word in words.by_ref() {
            documented.insert(format!("{folder}{word}"));
        }
    }
    assert!(!folder.is_empty());
    for path in FOLDERS.iter().map(|it| it.path).chain(FILES.iter().map(|it| it.path)) {
        let inside = |name: &String| name.starts_with(&format!("{path}/"));
        let there = documented.contains(path) || documented.iter().any(inside);
        assert!(there, "docs/architecture.md does not have {path}");
    }
}
