use proptest::prelude::*;

use super::grammar::Joined;
use super::*;

fn files() -> BTreeMap<String, u64> {
    [("vmlinuz", 10), ("initrd.img", 20), ("big.img", 600), ("sub/a b", 1), ("ä.img", 1)]
        .map(|(path, mib)| (path.to_owned(), mib * 1024 * 1024))
        .into()
}

fn found(source: &[u8]) -> Vec<Finding> {
    check(source, &Options { files: Some(&files()), ..Options::default() })
}

/// Codes and severities, in the order of the script.
fn brief(source: &str) -> Vec<(&'static str, Severity)> {
    found(source.as_bytes()).iter().map(|f| (f.code.id, f.severity)).collect()
}

#[track_caller]
fn assert_clean(source: &str) {
    assert_eq!(brief(source), [], "{source}");
}

#[track_caller]
fn assert_one(source: &str, code: &'static str, severity: Severity) {
    assert_eq!(brief(source), [(code, severity)], "{source}");
}

/// A script whose second line is `line`, and all else right.
fn with(line: &str) -> String {
    format!("#!ipxe\n{line}\nkernel vmlinuz panic=30\nboot\n")
}

/// The examples of a page, as bytes.
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
        let [bad, good] = &examples(&page)[..] else { panic!("{}: two examples", code.id) };
        let has = |script: &str| found(script.as_bytes()).iter().any(|f| f.code == *code);
        assert!(has(bad), "{}: the bad example is not: {:?}", code.id, brief(bad));
        assert!(!has(good), "{}: the good example is bad", code.id);
        let errors = found(good.as_bytes()).into_iter().find(|f| f.severity.is_error());
        assert!(errors.is_none(), "{}: the good example: {errors:?}", code.id);
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
         initrd ${secrets_url} /secrets.env mode=600 || goto retry\n\
         boot || goto retry\n",
    );
}

#[test]
fn line_ends_and_continuations_are_those_of_ipxe() {
    let script = Script::parse(b"#!ipxe\r\nke\\\r\nrnel \\\n  a\n\n:l x\r\r\ny\\\\\n\nz");
    let texts: Vec<&[u8]> = script.lines.iter().map(|line| &line.text[..]).collect();
    // One CR goes, and only at the end; of `y\\` and an empty line a backslash
    // is left, which takes the next line too.
    assert_eq!(texts, [&b"#!ipxe"[..], b"kernel   a", b"", b":l x\r", b"yz"]);
    let line = &script.lines[1];
    let kernel = line.commands[0].words[0].clone();
    assert_eq!(line.locate(&kernel), 8..17);
    assert_eq!(script.lines[3].get(script.lines[3].label.as_ref().unwrap()), b"l");
}

#[test]
fn words_operators_and_comments_are_those_of_ipxe() {
    let script = Script::parse(b" : a||b && c;d ; #e || f\n:x#y\n#\nk # \tl\x0b#\n");
    let line = &script.lines[0];
    assert_eq!(line.get(line.label.as_ref().unwrap()), b"");
    let joined: Vec<Joined> = line.commands.iter().map(|command| command.joined).collect();
    assert_eq!(joined, [Joined::First, Joined::And, Joined::Then]);
    assert_eq!(line.get(line.comment.as_ref().unwrap()), b"#e || f");
    assert_eq!(script.lines[1].get(script.lines[1].label.as_ref().unwrap()), b"x#y");
    assert_eq!(script.lines[3].commands[0].words.len(), 1);
}

#[test]
fn settings_expand_from_the_inside() {
    let word = b"a${net${i}/mac}}${x${b${c}d";
    let found = expand::references(word);
    let names: Vec<(&[u8], bool)> =
        found.all.iter().map(|r| (&word[r.name.clone()], r.dynamic)).collect();
    let expected: [(&[u8], bool); 3] = [(b"i", false), (b"net${i}/mac", true), (b"c", false)];
    assert_eq!(names, expected);
    assert_eq!(found.unclosed, Some(16));
    assert_eq!(
        expand::split_name(b"net0/mac:hexhyp"),
        (Some(&b"net0"[..]), &b"mac"[..], Some(&b"hexhyp"[..]))
    );
}

#[test]
fn options_are_read_as_getopt_of_ipxe_reads_them() {
    for good in [
        "imgfree ||",
        "sync --timeout 100 ||",
        "sync --timeout=100 ||",
        "sync -t 100 ||",
        "sync -t100 ||",
        "echo -n a --b -c",
        "echo -- -a",
        "echo a -",
        "item --gap -- --- text --- ||",
        "item --key 0x1b --default a b ||",
        "choose --timeout 5000 --default a -k target && goto retry ||",
        "ping -qc 3 host ||",
        "prompt --key s --timeout 500 text && reboot ||",
        "set a --b",
        "sync --timeout ${t:int32} ||",
    ] {
        let wrong = ["FG012", "FG013", "FG014"];
        let script = with(good);
        assert!(!brief(&script).iter().any(|(code, _)| wrong.contains(code)), "{good}");
    }
    for (bad, code) in [
        ("sync --time 5", "FG012"),
        ("sync --timeout", "FG012"),
        ("sync --timeout -5", "FG012"),
        ("sync --timeout=5s", "FG014"),
        ("sync -x", "FG012"),
        ("sync -", "FG012"),
        ("sync --help", "FG012"),
        ("ping --quiet=1 host", "FG012"),
        ("echo --", ""),
        ("echo ---", "FG012"),
        ("sync 5", "FG013"),
        ("sleep", "FG013"),
        ("sleep 1 2", "FG013"),
        ("sleep 0x10", ""),
        ("sleep ten", "FG014"),
        ("inc a b", "FG014"),
        ("isset ${a} ${b}", ""),
        ("iseq a b c", "FG013"),
    ] {
        let script = with(&format!("isset ${{a}}${{b}} ||\n{bad}"));
        let findings = brief(&script);
        match code {
            "" => assert_eq!(findings, [], "{bad}"),
            code => assert_eq!(findings, [(code, Severity::Error)], "{bad}"),
        }
    }
}

#[test]
fn what_is_looked_after_is_a_warning() {
    use Severity::*;
    assert_one(&with("frobnicate"), "FG010", Error);
    assert_one(&with("frobnicate ||"), "FG010", Warning);
    assert_one(&with("frobnicate || echo no"), "FG010", Warning);
    assert_one(&with("frobnicate && echo yes"), "FG010", Error);
    assert_one(&with("frobnicate ; echo next"), "FG010", Warning);
    assert_clean(&with("${cmd} x"));
    assert_one(&with("goto nowhere"), "FG020", Error);
    assert_one(&with("goto nowhere ||"), "FG020", Warning);
    assert_one(&with("kernel nothing panic=1 ||"), "FG040", Warning);
    // Tries again, but what it needs is never there.
    let retry = "#!ipxe\n:retry\nkernel nothing panic=1 || goto retry\nboot || goto retry\n";
    assert_one(retry, "FG040", Error);
    // Another one is there.
    let other = "#!ipxe\nkernel nothing panic=1 || kernel vmlinuz panic=1\nboot\n";
    assert_one(other, "FG040", Warning);
    // Where the way leads only if somebody types it.
    assert_clean("#!ipxe\nset x a\ngoto ${x}\n:a\nkernel vmlinuz panic=1\nboot\n");
}

#[test]
fn all_errors_are_told_at_once() {
    let script = "#!ipxe\nfrobnicate\nsleep ten\nkernel vmlinus panic=1\nboot\n";
    let codes: Vec<&str> = brief(script).iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, ["FG010", "FG014", "FG040"]);
}

#[test]
fn ends_of_scripts() {
    use Severity::*;
    assert_one("#!ipxe\n", "FG024", Error);
    assert_one("#!ipxe\necho hello\n", "FG024", Error);
    assert_one("#!ipxe\nkernel vmlinuz panic=1\nboot || echo failed\n", "FG024", Warning);
    assert_one("#!ipxe\nkernel vmlinuz panic=1 || exit\nboot\n", "FG023", Warning);
    assert_one("#!ipxe\nexit\n", "FG023", Error);
    assert_one("#!ipxe\nexit 0\n", "FG023", Error);
    assert_one("#!ipxe\nexit 1\n", "FG023", Warning);
    // With nothing chosen; harmless as it is, since the medium starts over.
    assert_one("#!ipxe\nboot\n", "FG026", Warning);
    assert_clean("#!ipxe\nreboot\n");
    assert_clean("#!ipxe\nchain https://example.org/next.ipxe\n");
    assert_clean("#!ipxe\nchain https://example.org/a.ipxe || chain https://example.org/b.ipxe\n");
    assert_clean("#!ipxe\nsanboot https://example.org/disk.img\n");
    // Script or kernel: what comes after it may be run.
    assert_clean("#!ipxe\nchain https://example.org/vars.ipxe\nkernel ${k} panic=1\nboot\n");
    assert_one(&with("goto over\necho never\n:over"), "FG022", Warning);
}

#[test]
fn an_unfinished_line_is_an_error_where_it_is_reached() {
    let open = "#!ipxe\nkernel vmlinuz panic=1 || \\";
    assert_one(open, "FG002", Severity::Error);
    assert_clean("#!ipxe\nkernel vmlinuz panic=1\nboot\n# \\");
}

#[test]
fn files_are_looked_up_as_ipxe_resolves_them() {
    for good in [
        "./vmlinuz",
        "sub/../vmlinuz",
        "vmlinuz?x=1#y",
        "sub/a%20b",
        "%C3%A4.img",
        "/files/other",
        "https://example.org/other",
        "../2/vmlinuz",
        "${secrets_url}",
    ] {
        assert_clean(&with(&format!("initrd {good}")));
    }
    for bad in ["vmlinus", "sub", "secrets", "VMLINUZ", "sub/a", "boot.ipxe/x", "--name x other"] {
        assert_one(&with(&format!("initrd {bad}")), "FG040", Severity::Error);
    }
    // By the name it was given, or by its last part.
    assert_clean("#!ipxe\nimgfetch --name k vmlinuz\nkernel k panic=1\nboot\n");
    assert_clean("#!ipxe\nimgfetch https://a/b/k?x\nkernel k panic=1\nboot\n");
    assert_clean("#!ipxe\nimgfetch --name ${mac} vmlinuz ||\nkernel k panic=1\nboot\n");
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
fn only_syntax_is_looked_at_when_asked() {
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
    // Without addresses to boot from, the template boots nothing.
    assert!(errors.is_empty(), "{errors:?}");
}

/// Takes seconds if anything grows faster than its input.
#[test]
fn hostile_scripts_are_read_in_time() {
    let many = |line: &str, count: usize| format!("#!ipxe\n{}", line.repeat(count));
    let mut labels = String::from("#!ipxe\n");
    for number in 0..100_000 {
        labels += &format!(":l{number}\ngoto l{}\n", (number * 7919) % 100_000);
    }
    for source in [
        labels,
        many(":same\n", 100_000),
        many("goto ${x} ||\n:a\n", 50_000),
        many("\\\n", 500_000),
        many("a\\\r\n", 300_000),
        many("${", 500_000),
        many("${a", 200_000) + &"}".repeat(200_000),
        many("a && ", 200_000),
        many("kernel a || ", 80_000),
        format!("#!ipxe\n:r\n{} goto r", "kernel x && ".repeat(80_000)),
        many("kernel k ${a} ${b} ", 50_000),
        many("frobnicate\n", 90_000),
        many("x\0", 500_000),
        format!("#!ipxe\nkernel {}", "x".repeat(1_000_000)),
        many("# farmgate: allow FG010\n", 40_000),
        many("initrd a || goto x\n", 50_000),
    ] {
        let findings = check(source.as_bytes(), &Options::default());
        assert!(findings.len() <= MOST);
    }
}

/// Scripts with more of what scripts are made of than chance would bring.
fn scripts() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "#!ipxe\n",
        "\n",
        "\r\n",
        "\\\n",
        "\\",
        " ",
        "\t",
        ":a",
        ":b ",
        "goto a",
        "goto ${x}",
        "||",
        "&&",
        ";",
        "#",
        "kernel",
        "initrd",
        "boot",
        "chain",
        "exit",
        "set",
        "${",
        "}",
        "$",
        "/",
        ":int32",
        "--timeout",
        "-",
        "5",
        "imgfree",
        "\0",
        "\u{e4}",
        "panic=1",
        "isset",
        "read x",
        "# farmgate: allow FG010 ",
        "http://x",
        "prompt",
        "a",
    ]);
    let known = prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat().into_bytes());
    let any = prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![8 => known, 1 => any]
        .prop_flat_map(|body| prop_oneof![Just([b"#!ipxe\n", &body[..]].concat()), Just(body)])
}

fn assert_each_byte_belongs_to_one_line(source: &[u8]) {
    let script = Script::parse(source);
    let mut end = 0;
    for line in &script.lines {
        assert_eq!(line.span.start, end);
        assert!(line.span.end > end);
        end = line.span.end;
        // Every byte of the text comes from this line, in order.
        let mut before = line.span.start;
        for at in 0..line.text.len() {
            let place = line.locate(&(at..at + 1));
            assert!(place.start >= before && place.end <= end);
            assert_eq!(source[place.start], line.text[at]);
            before = place.end;
        }
    }
    assert_eq!(end, source.len());
}

/// A continuation that takes back the last byte of the piece before it used to leave
/// that piece behind, and findings pointed at the wrong place.
#[test]
fn a_continuation_may_take_a_whole_piece_back() {
    for source in
        [&b"#!ipxe\n\\\\\n\r\nimgfree\n"[..], b"\\\\\n\nab", b"a\\\\\n\n\\\n\nb", b"\\\\\\\n\n\nab"]
    {
        assert_each_byte_belongs_to_one_line(source);
    }
}

proptest! {
    #[test]
    fn each_byte_belongs_to_one_line(source in scripts()) {
        assert_each_byte_belongs_to_one_line(&source);
    }

    #[test]
    fn what_is_printed_reads_the_same(source in scripts()) {
        let script = Script::parse(&source);
        let printed = script.print();
        let again = Script::parse(&printed);
        type Shape<'a> = (Option<&'a [u8]>, Vec<(Joined, Vec<&'a [u8]>)>, Option<&'a [u8]>, bool);
        fn shape<'a>(line: &'a grammar::Line<'_>) -> Shape<'a> {
            let commands = line.commands.iter();
            (
                line.label.as_ref().map(|label| line.get(label)),
                commands.map(|c| (c.joined, c.words.iter().map(|w| line.get(w)).collect())).collect(),
                line.comment.as_ref().map(|comment| line.get(comment)),
                line.unfinished,
            )
        }
        prop_assert_eq!(script.lines.len(), again.lines.len());
        for (line, other) in script.lines.iter().zip(&again.lines) {
            prop_assert_eq!(shape(line), shape(other));
        }
        prop_assert_eq!(again.print(), printed);
    }

    #[test]
    fn nothing_makes_the_checks_panic(source in scripts()) {
        let files = files();
        for files in [None, Some(&files)] {
            for finding in check(&source, &Options { files, ..Options::default() }) {
                prop_assert!(finding.span.start <= finding.span.end);
                prop_assert!(finding.span.end <= source.len());
                prop_assert!(finding.start.line >= 1 && finding.start.column >= 1);
            }
        }
    }

    #[test]
    fn what_ipxe_takes_for_a_script_has_no_syntax_error(body in ".{0,200}") {
        let script = format!("#!ipxe\n{body}\n");
        let options = Options { syntax_only: true, ..Options::default() };
        let continued = script.trim_end_matches(['\n', '\r']).ends_with('\\');
        prop_assert!(continued || check(script.as_bytes(), &options).is_empty());
    }
}
