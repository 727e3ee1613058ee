//! Properties that hold for all scripts, also hostile ones.

use proptest::prelude::*;

use super::*;
use crate::ipxe::script::grammar::Joined;
use crate::ipxe::script::grammar::Line;

/// Takes seconds if anything is more than linear in its input.
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

/// Scripts that contain script elements more often than random bytes would.
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

/// A continuation that removed the last byte of the piece before it used to leave that piece
/// behind, so findings pointed at the wrong place.
#[test]
fn a_continuation_may_remove_a_whole_piece() {
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
    fn printing_and_parsing_give_the_same_script(source in scripts()) {
        let script = Script::parse(&source);
        let printed = script.print();
        let again = Script::parse(&printed);
        type Shape<'a> = (Option<&'a [u8]>, Vec<(Joined, Vec<&'a [u8]>)>, Option<&'a [u8]>, bool);
        fn shape<'a>(line: &'a Line<'_>) -> Shape<'a> {
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
        let (files, heads) = folder();
        let _ = names(&source);
        for (files, heads) in [(None, None), (Some(&files), Some(&heads))] {
            let template = files.map(|_| false);
            for finding in check(&source, &Options { files, heads, template, ..Options::default() }) {
                prop_assert!(finding.span.start <= finding.span.end);
                prop_assert!(finding.span.end <= source.len());
                prop_assert!(finding.start.line >= 1 && finding.start.column >= 1);
            }
        }
    }

    #[test]
    fn a_script_that_ipxe_reads_has_no_syntax_error(body in ".{0,200}") {
        let script = format!("#!ipxe\n{body}\n");
        let options = Options { syntax_only: true, ..Options::default() };
        let continued = script.trim_end_matches(['\n', '\r']).ends_with('\\');
        prop_assert!(continued || check(script.as_bytes(), &options).is_empty());
    }
}
