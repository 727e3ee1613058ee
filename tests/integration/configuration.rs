//! docs/configuration.md against the program: keys, defaults, and what each type accepts.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use farmgate::config::Config;

const UNKNOWN: &str = "no-such-key";

/// One row of a table: what the documentation says of a key.
struct Row {
    kind: String,
    default: String,
    since: String,
    meaning: String,
}

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    fs::read_to_string(path).unwrap()
}

/// The keys of all tables, as `section.key`, or `key` at the top level.
fn documented() -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    let mut section = None;
    for line in page().lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = match heading.trim_matches(['`', '[', ']']) {
                "Values" => None,
                "Top level" => Some(String::new()),
                name => Some(format!("{name}.")),
            };
        }
        let Some(section) = section.as_ref().filter(|_| line.starts_with("| `")) else { continue };
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [key, kind, default, since, meaning] = cells[..] else { panic!("{line}") };
        let [kind, default, since, meaning] = [kind, default, since, meaning].map(str::to_owned);
        let key = format!("{section}{}", key.trim_matches('`'));
        let row = Row { kind, default, since, meaning };
        assert!(rows.insert(key, row).is_none(), "two rows: {line}");
    }
    rows
}

/// The keys that the program knows in a table, by its error for one that it does not know.
fn known(section: &str) -> Option<Vec<String>> {
    let text = if section.is_empty() {
        format!("{UNKNOWN} = 1\n")
    } else {
        format!("[{section}]\n{UNKNOWN} = 1\n")
    };
    let error = Config::parse(&text).unwrap_err().to_string();
    let (_, expected) = error.split_once(&format!("unknown field `{UNKNOWN}`, expected "))?;
    Some(expected.split('`').skip(1).step_by(2).map(str::to_owned).collect())
}

#[test]
fn every_key_of_the_program_is_documented_and_no_other() {
    let mut keys = BTreeSet::new();
    for key in known("").unwrap() {
        match known(&key) {
            Some(inner) => keys.extend(inner.iter().map(|inner| format!("{key}.{inner}"))),
            None => drop(keys.insert(key)),
        }
    }
    let documented: BTreeSet<_> = documented().into_keys().collect();
    assert!(keys.len() > 30 && keys.contains("listen.unix-group"), "{keys:?}");
    let missing: Vec<_> = keys.difference(&documented).collect();
    let stale: Vec<_> = documented.difference(&keys).collect();
    assert!(missing.is_empty() && stale.is_empty(), "missing {missing:?}, stale {stale:?}");
}

/// A configuration in which `key` may stand, with it or without.
fn with(key: &str, value: Option<&str>) -> String {
    let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
    let line = value.map_or_else(String::new, |value| format!("{name} = {value}\n"));
    let url = if key == "url" { "" } else { "url = \"https://a\"\n" };
    let others = match (section, name) {
        ("", _) => return format!("{url}{line}"),
        ("buckets", "provider") if value.is_none() => return url.to_owned(),
        ("buckets", "provider") => "",
        ("buckets", "quota") => {
            "provider = \"s3\"\napi-url = \"https://b\"\ns3-endpoint = \"https://c\"\n"
        }
        ("buckets", _) => "provider = \"b2\"\n",
        _ => "",
    };
    format!("{url}[{section}]\n{others}{line}")
}

fn read(text: &str) -> Result<String, String> {
    Config::parse(text).map(|config| format!("{config:?}")).map_err(|error| error.to_string())
}

#[test]
fn defaults_are_those_of_the_program() {
    for (key, row) in documented() {
        let without = read(&with(&key, None));
        let written = row.default.split('`').nth(1);
        match row.default.split_whitespace().next() {
            Some("required") => assert!(without.unwrap_err().contains("missing field"), "{key}"),
            Some("none") => {
                let (good, _) = samples(&row.kind);
                let nones = |config: String| config.matches("None").count();
                let set = read(&with(&key, Some(good[0]))).unwrap();
                assert!(nones(set) < nones(without.unwrap()), "{key} has a default");
            }
            _ => assert_eq!(read(&with(&key, written)), without, "{key}"),
        }
    }
}

/// Values that a type accepts, none of them a default, and values that it refuses.
fn samples(kind: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match kind {
        "boot URL" => (
            &["\"https://boot.example.org:8443/\"", "\"https://[2001:db8::1]\""],
            &[
                "\"http://a\"",
                "\"https://a/b\"",
                "\"https://a:99999\"",
                "\"https://a?b\"",
                "\"a\"",
                "1",
            ],
        ),
        "list of boot URLs" => (&["[\"https://b\", \"https://c\"]"], &["[\"http://a\"]", "[1]"]),
        "list of host names" => (
            &["[\"farmgate.lan\", \"192.0.2.7\"]"],
            &["[\"farmgate.lan:443\"]", "[\"*\"]", "\"farmgate.lan\"", "[1]"],
        ),
        "API URL" => (
            &["\"https://b.example.org:3903/admin\"", "\"http://127.0.0.1:1\""],
            &["\"ftp://a\"", "\"https://a/$b\"", "\"https://u@a\"", "\"https://a:0\"", "1"],
        ),
        "S3 URL" => (
            &["\"https://s3.example.org\"", "\"http://[::1]:3900\""],
            &["\"http://s3.example.org\"", "\"https://\"", "\"https://a#b\"", "1"],
        ),
        "store URL" => (
            &["\"s3://farm/hosts\"", "\"file:///srv/farm\""],
            &["\"https://a\"", "\"file://a\"", "\"s3://a/../b\"", "1"],
        ),
        "git remote" => (
            &["\"https://example.org/a.git\"", "\"git@example.org:a/b\"", "\"file:///srv/a\""],
            &[
                "\"http://example.org/a\"",
                "\"https://u:p@a/b\"",
                "\"ext::sh -c x\"",
                "\"-a:b\"",
                "1",
            ],
        ),
        "branch" => (&["\"release/2.x\""], &["\"-x\"", "\"a..b\"", "\"a b\"", "\"\"", "1"]),
        "folder" => (&["\"a/b\"", "\"fleet/\""], &["\"/a\"", "\"../a\"", "\"\"", "1"]),
        "address" => (&["\"0.0.0.0:443\"", "\"[::]:443\""], &["\"443\"", "\"a:443\"", "443"]),
        "admin address" => (
            &["\"127.0.0.1:9180\"", "\"[::1]:1\"", "\"/run/admin.sock\""],
            &["\"0.0.0.0:9180\"", "\"run/admin.sock\"", "9180"],
        ),
        "location" => (&["\"/farmgate-blobs\""], &["\"farmgate\"", "\"/a/b\"", "\"/\"", "1"]),
        "path" => (&["\"/etc/farmgate/file\""], &["1", "[]"]),
        "text" => (&["\"some-text\""], &["1", "true"]),
        "contact" => (&["\"+49 (30) 1234\""], &["\"${x}\"", "\"\"", "1"]),
        "name" => (&["\"some-name_1.2\""], &["\"a b\"", "\"\"", "\"a/b\"", "1"]),
        "boolean" => (&["true"], &["\"yes\"", "1"]),
        "number" => (&["7"], &["0", "-1", "\"7\"", "1.5"]),
        "duration" => (
            &["\"31s\"", "\"6m\"", "\"24h\"", "\"7d\""],
            &["\"5\"", "\"5ms\"", "\"1h30m\"", "\"-5s\"", "\"365001d\"", "5"],
        ),
        "size" => (
            &["\"20G\"", "\"20GB\"", "\"20 GiB\"", "\"400k\"", "\"1B\""],
            &["\"20\"", "\"20g\"", "\"1.5G\"", "\"99999999999T\"", "20"],
        ),
        "key type" => (&["\"p256\""], &["\"rsa1024\"", "1"]),
        "provider" => (&["\"b2\""], &["\"gcs\"", "1"]),
        other => panic!("no type: {other}"),
    }
}

#[test]
fn every_type_accepts_and_refuses_what_the_documentation_says() {
    let zero = |row: &Row| row.meaning.contains("not zero");
    for (key, row) in documented() {
        let name = key.rsplit('.').next().unwrap();
        let (good, bad) = samples(&row.kind);
        for value in good {
            let read = read(&with(&key, Some(value)));
            assert!(read.is_ok(), "{key} = {value}: {read:?}");
            assert_ne!(read, self::read(&with(&key, None)), "{key} = {value} changes nothing");
        }
        let zeros: &[_] = match &*row.kind {
            "duration" => &["\"0s\""],
            "size" => &["\"0B\""],
            _ => &[],
        };
        let (refused, accepted) = if zero(&row) { (zeros, &[] as &[_]) } else { (&[] as _, zeros) };
        for value in accepted {
            assert!(read(&with(&key, Some(value))).is_ok(), "{key} = {value}");
        }
        for value in bad.iter().chain(refused) {
            let error = read(&with(&key, Some(value))).expect_err(&format!("{key} = {value}"));
            // The line itself, and where in it.
            assert!(error.contains(&format!("{name} = {value}")), "{key} = {value}: {error}");
            let says = ["expected", "example", "it must", "wanted string"];
            assert!(says.iter().any(|word| error.contains(word)), "{key} = {value}: {error}");
        }
    }
}

#[test]
fn no_key_is_newer_than_the_program() {
    let numbers = |version: &str| -> Vec<u32> {
        version.split('.').map(|part| part.parse().unwrap()).collect()
    };
    for (key, row) in documented() {
        assert_eq!(numbers(&row.since).len(), 3, "{key}");
        assert!(numbers(&row.since) <= numbers(env!("CARGO_PKG_VERSION")), "{key}");
        assert!(!row.meaning.is_empty(), "{key}");
    }
}

#[test]
fn examples_are_configurations() {
    let page = page();
    let mut seen = 0;
    for block in page.split("```toml\n").skip(1) {
        let text = block.split("```").next().unwrap();
        Config::parse(text).unwrap_or_else(|error| panic!("{error}"));
        seen += 1;
    }
    assert_eq!(seen, 1);
}
