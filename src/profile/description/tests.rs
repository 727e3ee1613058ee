//! Golden files in `tests/golden/gateway-toml`: what each description makes, and what is said about
//! wrong ones. `FARMGATE_WRITE_GOLDEN=1 cargo test --lib description` writes them anew.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::fleet::TEMPLATE_NAMES;
use crate::fleet::unknown_names;
use crate::ipxe::contents::tests::kernel_head;
use crate::ipxe::script;
use crate::ipxe::script::codes;

/// The lines beside the examples. Some values are in wrong examples, too.
const SECRETS: &[u8] = b"# For tests.\nregistry=robot:pass word\nfscrypt=c2VjcmV0IG9mIDMyIGJ5dGVzIG9yIG1vcmUuLi4=\n\ntoken=correct-horse\n";

const SMALLEST: &str = "[[container]]\nimage = 'docker.io/library/debian:12'\n";

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

/// The folder of the examples.
fn files() -> BTreeMap<String, u64> {
    let names = [
        "vmlinuz",
        "agent.cpio.zst",
        "boot/agent.cpio",
        "modules.cpio.zst",
        "boot2container.cpio.xz",
        "registry-ca.crt",
        "ca.crt",
        "images/gateway.tar",
        "images/metrics/index.json",
        "gateway.toml",
    ];
    names.iter().map(|name| ((*name).to_owned(), 1000)).collect()
}

fn made_of(text: &str, template: Template<'_>) -> (Option<Rendered>, Problems) {
    let description = match Description::parse(text) {
        Ok(description) => description,
        Err(description) => return (None, Problems { description, secrets: Vec::new() }),
    };
    let mut files = files();
    if description.downloads().next().is_some() && text.contains("files.example.org") {
        files.remove("vmlinuz");
    }
    let texts = description.texts().filter(|path| files.contains_key(*path));
    let texts = texts.map(|path| (path.to_owned(), CERTIFICATE.to_owned())).collect();
    let pin = "sha256:2222222222222222222222222222222222222222222222222222222222222222";
    let pins =
        BTreeMap::from([("registry.example.org/farm/gateway:v12".to_owned(), pin.to_owned())]);
    description.render(&Given { files: &files, template, texts: &texts, pins: &pins })
}

fn made(text: &str) -> (Option<Rendered>, Problems) {
    made_of(text, Template::InFolder(Some(SECRETS)))
}

/// The problems as people read them, each with its line and a caret.
fn shown(text: &str, problems: Vec<Problem>) -> String {
    let mut shown = String::new();
    for finding in Problem::findings(text, problems) {
        let line = text.lines().nth(finding.start.line - 1).unwrap_or_default();
        let (line, marks) = match line.len() {
            0..=120 => {
                (line, finding.end.column.max(finding.start.column + 1) - finding.start.column)
            }
            _ => ("...", 1),
        };
        let marks = if finding.start.line == finding.end.line { marks } else { 1 };
        let mark = "^".repeat(marks);
        let before = " ".repeat(finding.start.column - 1);
        let severity = if finding.severity.is_error() { "error" } else { "warning" };
        writeln!(
            shown,
            "{}:{}: {} {severity}: {}\n    {line}\n    {before}{mark}\n  {}\n",
            finding.start.line, finding.start.column, finding.code.id, finding.what, finding.help
        )
        .unwrap();
    }
    shown
}

fn examples(folder: &str) -> Vec<(PathBuf, String)> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gateway-toml").join(folder);
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

#[track_caller]
fn compare(path: &Path, made: &str) {
    if std::env::var_os("FARMGATE_WRITE_GOLDEN").is_some() {
        fs::write(path, made).unwrap();
    }
    let golden = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(made, golden, "{} is another", path.display());
}

#[test]
fn right_descriptions_make_what_they_made() {
    let examples = examples("right");
    assert!(examples.len() >= 5);
    for (path, text) in examples {
        let (rendered, problems) = made(&text);
        assert_eq!(problems, Problems::default(), "{}", path.display());
        let rendered = rendered.unwrap();
        assert!(!rendered.shown_secrets.contains("correct-horse"));
        let mut all = String::new();
        for (name, file) in rendered.files() {
            writeln!(all, "==> {name} <==\n{}", String::from_utf8(file).unwrap()).unwrap();
        }
        writeln!(all, "==> command line <==\n{}", rendered.command_line).unwrap();
        compare(&path.with_extension("txt"), &all);
    }
}

#[test]
fn wrong_descriptions_are_refused_with_line_and_caret() {
    let examples = examples("wrong");
    assert!(examples.len() >= 25);
    for (path, text) in examples {
        let (rendered, problems) = made(&text);
        let warnings = path.ends_with("warnings.toml");
        assert_eq!(rendered.is_some(), warnings, "{}", path.display());
        assert!(!problems.description.is_empty());
        let shown = shown(&text, problems.description);
        assert!(!shown.contains("correct-horse\" "), "a secret in a message");
        compare(&path.with_extension("txt"), &shown);
    }
}

/// The checks of boot scripts must find nothing in what is made here.
#[test]
fn what_is_made_passes_the_checks_of_boot_scripts() {
    let kernel = kernel_head(10 << 20);
    for (path, text) in examples("right") {
        let rendered = made(&text).0.unwrap();
        let mut files = files();
        files.insert("agent.json".to_owned(), 1000);
        files.insert("vmlinuz".to_owned(), 10 << 20);
        let mut heads: BTreeMap<String, Vec<u8>> =
            files.keys().map(|name| (name.clone(), b"070701".to_vec())).collect();
        heads.insert("vmlinuz".to_owned(), kernel.to_vec());
        let set = ["serial_console".to_owned()].into();
        let variables = script::KnownVariables { set, ..Default::default() };
        let options = script::Options {
            files: Some(&files),
            heads: Some(&heads),
            template: Some(true),
            variables: Some(&variables),
            ..Default::default()
        };
        let found = script::check(rendered.script.as_bytes(), &options);
        assert!(found.is_empty(), "{}: {found:?}\n{}", path.display(), rendered.script);
    }
}

#[test]
fn the_examples_of_the_pages_are_right() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/checks");
    let of_description = codes::BAD_DESCRIPTION.id..=codes::SILENT.id;
    let codes: Vec<_> =
        codes::ALL.iter().filter(|code| of_description.contains(&code.id)).collect();
    assert_eq!(codes.len(), 7);
    for code in codes {
        let page = fs::read_to_string(docs.join(format!("{}.md", code.id))).unwrap();
        let examples =
            page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let [bad, good] = examples.collect::<Vec<_>>()[..] else {
            panic!("{}: two examples", code.id)
        };
        let (_, problems) = made(bad);
        assert!(problems.description.iter().any(|problem| problem.code == *code), "{problems:?}");
        assert_eq!(made(good).1, Problems::default(), "{}", code.id);
    }
}

#[test]
fn names_in_the_template_are_those_that_a_boot_fills_in() {
    let known = |name: &str| {
        TEMPLATE_NAMES.contains(&name) || name.starts_with("s3_") || name.starts_with("boot_")
    };
    for (_, text) in examples("right") {
        let secrets = made(&text).0.unwrap().secrets;
        assert!(unknown_names(secrets.as_bytes(), known).is_empty(), "{secrets}");
        // One line for each: a value cannot begin another.
        let line =
            |line: &str| line.is_empty() || line.starts_with(['#', 'b']) || line.contains('=');
        assert!(secrets.lines().all(line), "{secrets}");
    }
}

#[test]
fn lines_of_secrets_are_looked_at() {
    let secrets = b"good=1\nnothing\n two=1\nFARMGATE_URL=x\nS3_BUCKET=x\ngood=2\nbad=\x07\n";
    let text = SMALLEST;
    let (rendered, problems) = made_of(text, Template::InFolder(Some(secrets)));
    assert!(rendered.is_none());
    let what: Vec<_> = problems.secrets.iter().map(|problem| problem.what.as_str()).collect();
    let expected = [
        "this line has no `=`",
        "this line does not begin with a name and `=`",
        "names that begin with `FARMGATE_` belong to farmgate",
        "names that begin with `S3_` belong to farmgate",
        "there is a `good` already",
        "the value of `bad` holds a control character",
    ];
    assert_eq!(what, expected);
    let (_, problems) = made_of(text, Template::InFolder(Some(b"a=\xff\n")));
    assert_eq!(problems.secrets.len(), 1);
}

#[test]
fn names_of_secrets_that_are_elsewhere_are_not_known() {
    let text = "[[container]]\nimage = 'a.example.org/b'\nenvironment = { A = 'secret:x' }\n";
    assert!(made_of(text, Template::Elsewhere).0.is_some());
    assert!(made_of(text, Template::InFolder(None)).0.is_none());
    assert!(made_of(text, Template::InFolder(Some(b"x=1"))).0.is_some());
}

#[test]
fn a_folder_has_one_of_two() {
    let description = Description::parse("[[container]]\nimage = 'a.example.org/b'\n").unwrap();
    for (path, good) in
        [("boot.ipxe", false), ("agent.json", false), ("oci/index.json", false), ("ocix", true)]
    {
        let mut files = files();
        files.insert(path.to_owned(), 1);
        let (texts, pins) = Default::default();
        let given =
            Given { files: &files, template: Template::InFolder(None), texts: &texts, pins: &pins };
        assert_eq!(description.render(&given).0.is_some(), good, "{path}");
    }
}

/// It was cut off, without a word, and with it the certificate that was needed.
#[test]
fn certificates_are_whole_or_refused() {
    let text =
        "[registry.\"a.example.org\"]\nca = 'ca.crt'\n[[container]]\nimage = 'a.example.org/b'\n";
    let description = Description::parse(text).unwrap();
    let with = |len: usize| {
        let text = CERTIFICATE.to_owned() + &" ".repeat(len - CERTIFICATE.len());
        let texts = BTreeMap::from([("ca.crt".to_owned(), text)]);
        let (files, pins) = (files(), BTreeMap::new());
        let template = Template::InFolder(None);
        description.render(&Given { files: &files, template, texts: &texts, pins: &pins })
    };
    assert!(with(MAX_TEXT).0.is_some());
    let (rendered, problems) = with(MAX_TEXT + 1);
    assert!(rendered.is_none() && problems.description[0].what.contains("is larger than"));
}

#[test]
fn digests_that_were_resolved_are_pinned() {
    let text = "[[container]]\nimage = 'registry.example.org/farm/gateway:v12'\n";
    let profile = made(text).0.unwrap().profile.unwrap();
    let image = &profile.containers[0].image;
    assert!(image.digest.as_ref().unwrap().starts_with("sha256:2222"));
    assert!(image.held);
    let description = Description::parse(text).unwrap();
    let images: Vec<_> = description.images().map(|image| (image.text, image.hold)).collect();
    assert_eq!(images, [("registry.example.org/farm/gateway:v12".to_owned(), true)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Whatever stands in a file, it is a description or it is said what is wrong where.
    #[test]
    fn nothing_panics(lines in proptest::collection::vec(prop_oneof![
        "[a-z.\\[\\]\"={} :/ä\\\\\u{7}-]{0,20}",
        "(image|name|health|mounts|label|device|cmdline|url|sha256|version|encrypt) = \"[a-z/:@#$%{}. ;&|-]{0,20}\"",
        Just("[[container]]".to_owned()), Just("[kernel]".to_owned()), Just("[cache]".to_owned()),
        Just("[volume.a]".to_owned()), Just("runtime = \"boot2container\"".to_owned()),
        Just("image = \"a.example.org/b:c\"".to_owned()), Just("[boot2container]".to_owned()),
    ], 0..8), secrets in proptest::collection::vec(any::<u8>(), 0..40)) {
        let text = lines.join("\n");
        let (rendered, problems) = made_of(&text, Template::InFolder(Some(&secrets)));
        prop_assert!(rendered.is_some() || !(problems.description.is_empty() && problems.secrets.is_empty()));
        for finding in Problem::findings(&text, problems.description) {
            prop_assert!(finding.start.line >= 1 && finding.span.start <= text.len());
        }
    }

    /// Whatever words the command line has, the script boots one kernel with exactly these.
    #[test]
    fn no_word_of_the_command_line_becomes_a_command(text in "[a-z=&|;#\\\\ \"'$,\\-\t\n]{0,40}") {
        let literal = toml::Value::String(text.clone());
        let source = format!("[kernel]\ncmdline = {literal}\n[[container]]\nimage = 'a.example.org/b'\n");
        let (Some(rendered), _) = made(&source) else { return Ok(()) };
        let script = script::grammar::Script::parse(rendered.script.as_bytes());
        let line = &script.lines[2];
        prop_assert_eq!(line.commands.len(), 1);
        let words: Vec<_> = line.commands[0].words.iter().map(|word| line.get(word)).collect();
        let wanted = rendered.command_line.split(' ').map(str::as_bytes);
        prop_assert_eq!(&words[4..], &wanted.collect::<Vec<_>>()[..]);
        prop_assert_eq!(script.lines.len(), 7);
    }
}
