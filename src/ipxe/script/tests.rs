//! Tests of the checks as a whole: a finding for each code, and the helpers for the other tests.

mod files;
mod flow;
mod grammar;
mod properties;
mod values;

use super::*;
use crate::ipxe::contents::tests::kernel_head;

/// A folder: names, sizes in MiB, and the first bytes of the files.
fn folder() -> (BTreeMap<String, u64>, BTreeMap<String, Vec<u8>>) {
    let kernel = kernel_head(10 << 20);
    let files = [
        ("vmlinuz", 10, &kernel[..]),
        ("initrd.img", 20, b"\x1f\x8b\x08"),
        ("big.img", 600, b"\x28\xb5\x2f\xfd"),
        ("sub/a b", 1, b"070701"),
        ("ä.img", 1, b"070701"),
    ];
    let heads = files.iter().map(|(path, _, head)| ((*path).to_owned(), head.to_vec()));
    let mut heads: BTreeMap<String, Vec<u8>> = heads.collect();
    let mut sizes: BTreeMap<String, u64> =
        files.iter().map(|(path, mib, _)| ((*path).to_owned(), mib << 20)).collect();
    heads.insert("signature".to_owned(), b"-----BEGIN PGP SIGNATURE-----\n".to_vec());
    sizes.insert("signature".to_owned(), 833);
    (sizes, heads)
}

/// The variables of the gateway in the examples, and one that it lacks.
fn variables() -> KnownVariables {
    let names = |name: &str| BTreeSet::from([name.to_owned()]);
    KnownVariables { set: names("serial_console"), elsewhere: names("serial_speed") }
}

fn found(source: &[u8]) -> Vec<Finding> {
    let (files, heads) = folder();
    let options = Options {
        files: Some(&files),
        heads: Some(&heads),
        template: Some(false),
        variables: Some(&variables()),
        ..Options::default()
    };
    check(source, &options)
}

/// Codes and severities, in the order of the script. The missing timeout is left out here; it has a
/// test of its own.
fn brief(source: &str) -> Vec<(&'static str, Severity)> {
    let findings = found(source.as_bytes());
    let others = findings.iter().filter(|finding| finding.code != codes::NO_TIMEOUT);
    others.map(|f| (f.code.id, f.severity)).collect()
}

#[track_caller]
fn assert_clean(source: &str) {
    assert_eq!(brief(source), [], "{source}");
}

#[track_caller]
fn assert_one(source: &str, code: &'static str, severity: Severity) {
    assert_eq!(brief(source), [(code, severity)], "{source}");
}

/// A script whose second line is `line` and which is otherwise right.
fn with(line: &str) -> String {
    format!("#!ipxe\n{line}\nkernel vmlinuz panic=30\nboot\n")
}

/// The code examples of a page.
fn examples(page: &str) -> Vec<String> {
    let blocks = page.split("```ipxe\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks
        .map(|block| {
            block
                .replace("<NUL>", "\0")
                .replace("<2100 BYTES>", &"x".repeat(2100))
                .replace("<1900 BYTES>", &"x".repeat(1900))
        })
        .collect()
}

#[test]
fn every_code_has_a_page_and_its_examples_are_right() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/checks");
    for code in codes::ALL {
        let page = std::fs::read_to_string(docs.join(format!("{}.md", code.id))).unwrap();
        assert!(page.starts_with(&format!("# {}: ", code.id)));
        // The examples of these are not scripts. Other tests check them.
        let of_description = codes::BAD_DESCRIPTION.id..=codes::SILENT.id;
        if [codes::UNKNOWN_IN_TEMPLATE, codes::UNUSED_VARIABLE].contains(code)
            || of_description.contains(&code.id)
        {
            assert_eq!(examples(&page), [""; 0]);
            continue;
        }
        let [bad, good] = &examples(&page)[..] else { panic!("{}: two examples", code.id) };
        let has = |script: &str| found(script.as_bytes()).iter().any(|f| f.code == *code);
        assert!(has(bad), "{}: the bad example is not: {:?}", code.id, brief(bad));
        // Good examples used to be free only of their own code: three of them were endless loops.
        let findings = found(good.as_bytes());
        assert!(findings.is_empty(), "{}: the good example: {findings:?}", code.id);
    }
    let pages = std::fs::read_dir(docs).unwrap().count();
    assert_eq!(pages, codes::ALL.len() + 1, "a page without code, or no README");
    assert!(codes::ALL.windows(2).all(|pair| pair[0].id < pair[1].id));
}

#[test]
fn a_good_script_has_no_finding() {
    assert_clean(
        "#!ipxe\n\
         set tries:int32 0\n\
         :retry\n\
         imgfree ||\n\
         inc tries ||\n\
         iseq ${tries} 5 && reboot ||\n\
         kernel vmlinuz panic=30 console=ttyS0,115200 net=${net0/mac:hexhyp} b=${ack_url} || goto retry\n\
         initrd initrd.img || goto retry\n\
         initrd ${ack_url} /ack mode=600 || goto retry\n\
         boot || goto retry\n",
    );
}

#[test]
fn what_boot2container_does_is_known() {
    let of = |options: &str| {
        brief(&format!("#!ipxe\nkernel vmlinuz panic=30 {options}\nboot\n"))
            .into_iter()
            .map(|(code, _)| code)
            .collect::<Vec<_>>()
    };
    let end = "b2c.shutdown_cmd=\"reboot -f\"";
    for (options, codes) in [
        ("console=ttyS0", &[][..]),
        ("b2c.hostname=x", &["FG071"]),
        ("b2c.hostname=x ${more}", &["FG030"]),
        ("b2c.shutdown_cmd=/sbin/poweroff", &["FG071"]),
        ("b2c.shutdown_cmd=\"reboot -f\" b2c.cache_device=none", &[]),
        ("b2c.cache_device=auto b2c.shutdown_cmd=reboot", &["FG070"]),
        ("b2c.cache_device=reset b2c.shutdown_cmd=reboot", &["FG070"]),
        ("b2c.cache_device=\"/dev/sda1\" b2c.shutdown_cmd=reboot", &[]),
    ] {
        assert_eq!(of(options), codes, "{options}");
    }
    for (options, codes) in [
        ("b2c.run=\"-ti a/b:c\"", &["FG074"][..]),
        ("b2c.run=\"-ti --pull=missing a/b:c\"", &[]),
        ("b2c.run=\"-ti --pull missing a/b:c\"", &[]),
        ("b2c.run=\"--pull=missing --pull=always a/b:c\"", &["FG074"]),
        ("b2c.container=\"a/b:c\" b2c.service=d", &["FG074", "FG074"]),
        ("b2c.run=\"--pull=never a\" b2c.run=\"--pull=never b ${ack_url}\"", &["FG073"]),
        ("b2c.run=\"--pull=never b ${ack_url}\"", &[]),
        ("b2c.run_service=\"--pull=never b ${ack_url}\" b2c.run=\"--pull=never a\"", &[]),
        ("b2c.volume=a,mirror=g/a,push_on=changes,remove", &["FG072"]),
        ("b2c.volume=a,mirror=g/a,pull_on=pipeline_start,push_on=changes,remove", &[]),
        ("b2c.volume=a,push_to=g/a,push_on=changes", &[]),
        // A quote that nothing closes.
        ("b2c.run=\"--pull=never a", &[]),
    ] {
        assert_eq!(of(&format!("{end} {options}")), codes, "{options}");
    }
}

#[test]
fn comments_silence_judgement_and_not_syntax() {
    assert_clean("#!ipxe\n# farmgate: allow FG010 for tests\nfrobnicate\nreboot\n");
    assert_clean("#!ipxe\nfrobnicate # farmgate: allow FG010\nreboot\n");
    assert_clean("#!ipxe\n# farmgate: allow FG010, FG013\n# and\n\nsleep\nreboot\n");
    assert_clean("#!ipxe\nfrobnicate\nreboot\n# farmgate: allow-file FG010\n");
    let next = "#!ipxe\n# farmgate: allow FG010\necho\nfrobnicate\nreboot\n";
    assert_one(next, "FG010", Severity::Error);
    assert_one("# farmgate: allow-file FG001\n", "FG001", Severity::Error);
    assert_one("#!ipxe\n# farmgate: allow FG998\nreboot\n", "FG090", Severity::Warning);
}

#[test]
fn syntax_only_reports_nothing_else() {
    let options = Options { syntax_only: true, ..Options::default() };
    assert!(check(b"#!ipxe\nfrobnicate ${ --x\ngoto x\nexit\n", &options).is_empty());
    assert!(check(b"#!gpxe\tx", &options).is_empty());
    for source in [&b""[..], b"#!ipxe", b"\xef\xbb\xbf#!ipxe\n", b"#!iPXE\n", b"\n#!ipxe\n"] {
        assert_eq!(check(source, &options)[0].code, codes::NOT_A_SCRIPT);
    }
    assert_eq!(check(b"#!ipxe\necho \\", &options)[0].code, codes::UNFINISHED);
    assert!(check(b"#!ipxe\nreboot\n# \\", &options).is_empty(), "no path leads there");
}

#[test]
fn positions_count_characters() {
    let findings = found("#!ipxe\necho ä\\\n  ö ${nö} \nreboot\n".as_bytes());
    let [finding] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!(finding.start, Position { line: 3, column: 5 });
    assert_eq!(finding.end, Position { line: 3, column: 10 });
}

#[test]
fn the_script_on_the_media_is_clean_but_for_what_it_must_do() {
    let template = include_bytes!("../../../ipxe/autoexec.ipxe");
    let errors: Vec<Finding> = check(template, &Options::default())
        .into_iter()
        .filter(|f| f.severity.is_error())
        .collect();
    // Without boot hosts, the template boots nothing.
    assert!(errors.is_empty(), "{errors:?}");
}
