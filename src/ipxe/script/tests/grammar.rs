//! Lines, words and options, as iPXE reads them.

use super::*;
use crate::ipxe::script::grammar::Joined;

#[test]
fn line_ends_and_continuations_are_those_of_ipxe() {
    let script = Script::parse(b"#!ipxe\r\nke\\\r\nrnel \\\n  a\n\n:l x\r\r\ny\\\\\n\nz");
    let texts: Vec<&[u8]> = script.lines.iter().map(|line| &line.text[..]).collect();
    // One CR is removed, and only at the end. Of `y\\` and an empty line a backslash remains, which
    // joins the next line too.
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
        ("isset ${a} ${b} ||", ""),
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
