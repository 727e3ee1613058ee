use proptest::prelude::*;

use super::grammar::Joined;
use super::*;
use crate::ipxe::contents::tests::efi_head;
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

fn found(source: &[u8]) -> Vec<Finding> {
    let (files, heads) = folder();
    let options = Options {
        files: Some(&files),
        heads: Some(&heads),
        template: Some(false),
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
        // The examples of FG035 are not scripts. src/publish/checked.rs tests them.
        if *code == codes::UNKNOWN_IN_TEMPLATE {
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
    // The script tries again, but the file never exists.
    let retry = "#!ipxe\n:retry\nkernel nothing panic=1 || goto retry\nboot || goto retry\n";
    assert_eq!(brief(retry), [("FG029", Warning), ("FG040", Error)]);
    // A fallback exists.
    let other = "#!ipxe\nkernel nothing panic=1 || kernel vmlinuz panic=1\nboot\n";
    assert_one(other, "FG040", Warning);
    // Somebody has to type the label.
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
    // Nothing was chosen. This is harmless here, because the medium starts over.
    assert_one("#!ipxe\nboot\n", "FG026", Warning);
    assert_clean("#!ipxe\nreboot\n");
    assert_clean("#!ipxe\nchain https://example.org/next.ipxe\n");
    assert_clean("#!ipxe\nchain https://example.org/a.ipxe || chain https://example.org/b.ipxe\n");
    assert_clean("#!ipxe\nsanboot https://example.org/disk.img\n");
    // The image may be a script or a kernel, so the lines after it may run.
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
        "${ack_url}",
    ] {
        assert_clean(&with(&format!("initrd {good}")));
    }
    for bad in ["vmlinus", "sub", "secrets", "VMLINUZ", "sub/a", "boot.ipxe/x", "--name x other"] {
        assert_one(&with(&format!("initrd {bad}")), "FG040", Severity::Error);
    }
    // An image has the name that it was given, or the last part of its address.
    assert_clean("#!ipxe\nimgfetch --name k vmlinuz\nkernel k panic=1\nboot\n");
    assert_clean("#!ipxe\nimgfetch https://a/b/k?x\nkernel k panic=1\nboot\n");
    assert_clean("#!ipxe\nimgfetch --name ${mac} vmlinuz ||\nkernel k panic=1\nboot\n");
}

/// Adds a file of this size and content to the folder and checks the findings of a line.
#[track_caller]
fn assert_file(line: &str, head: &[u8], len: u64, expected: &[(&str, Severity)]) {
    let (mut files, mut heads) = folder();
    files.insert("file".to_owned(), len);
    heads.insert("file".to_owned(), head.to_vec());
    let options = Options { files: Some(&files), heads: Some(&heads), ..Options::default() };
    let source = format!("#!ipxe\n{line}\nboot\n");
    let findings = check(source.as_bytes(), &options);
    let found: Vec<_> = findings
        .iter()
        .filter(|finding| finding.code != codes::NO_TIMEOUT)
        .map(|finding| (finding.code.id, finding.severity))
        .collect();
    assert_eq!(found, expected, "{source}{head:?}");
}

/// A machine used to jump into each of these files, and hung.
#[test]
fn what_is_booted_is_a_kernel() {
    use Severity::*;
    const LFS: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
    let kernel = kernel_head(8 << 20);
    let line = "kernel file panic=1";
    let big = 8 << 20;
    for (head, len) in [
        (LFS, 131),
        (&b"<!DOCTYPE html>"[..], 3000),
        (b"-----BEGIN PGP SIGNATURE-----", 800),
        (b"\x1f\x8b\x08", 3000),
        (b"", 0),
        (b"anything", 8),
        (&kernel, big - 4096),
        (&kernel, 2000),
    ] {
        assert_file(line, head, len, &[("FG047", Error)]);
        // Handling the failure does not help, because the command succeeds.
        let looked_after = "kernel file panic=1 || kernel vmlinuz panic=1";
        assert_file(looked_after, head, len, &[("FG047", Error)]);
    }
    // iPXE refuses a large file that is not a kernel. The severity depends on what is booted then.
    for head in [&b"\x7fELF\x02"[..], b"\x1f\x8b\x08", &efi_head(0xaa64, 2048), b"anything"] {
        assert_file(line, head, big, &[("FG047", Error)]);
        assert_file(
            "kernel file panic=1 || kernel vmlinuz panic=1",
            head,
            big,
            &[("FG047", Warning)],
        );
    }
    for (head, len) in [
        (&kernel[..], big),
        (&kernel, big + 1472),
        (&efi_head(0x8664, 2048), 2048),
        (b"\x7fELF\x01", big),
        (b"#!ipxe\nboot\n", 12),
    ] {
        assert_file(line, head, len, &[]);
    }
    let arm = efi_head(0xaa64, 2048);
    let both = "iseq ${buildarch} arm64 && kernel file panic=1 || kernel vmlinuz panic=1";
    assert_file(both, &arm, big, &[]);
    // Boot programs have no magic number, but their names tell what they are.
    assert_file("kernel vmlinuz panic=1 || chain file", b"\xfa\x31\xc0", 42_000, &[]);
    assert_file("kernel vmlinuz panic=1 || chain file", LFS, 131, &[("FG047", Error)]);
    // The image has the name that it was fetched by.
    assert_file("imgfetch --name k file\nkernel k panic=1", &kernel, big, &[]);
    assert_file("imgfetch --name k file\nkernel k panic=1", LFS, 131, &[("FG047", Error)]);
}

#[test]
fn what_is_unpacked_is_an_archive() {
    use Severity::*;
    let with = |line: &str| format!("kernel vmlinuz panic=1\n{line}");
    for magic in [
        &b"070701"[..],
        b"\x1f\x8b",
        b"BZh9",
        b"\x5d\0\0",
        b"\xfd7zXZ\0",
        b"\x89LZO",
        b"\x02\x21\x4c\x18",
        b"\x28\xb5\x2f\xfd",
    ] {
        assert_file(&with("initrd file"), magic, 3000, &[]);
    }
    for head in [&b"anything"[..], b"", b"070707", b"-----BEGIN"] {
        assert_file(&with("initrd file"), head, 3000, &[("FG048", Warning)]);
        // A file in the initramfs, or for another system, may be anything.
        assert_file(&with("initrd file /etc/file"), head, 3000, &[]);
        assert_file("kernel wimboot\ninitrd file", head, 3000, &[("FG040", Error)]);
    }
    let lfs = b"version https://git-lfs.github.com/spec/v1\n";
    assert_file(&with("initrd file"), lfs, 131, &[("FG048", Error)]);
    assert_file(&with("initrd file /etc/file"), lfs, 131, &[("FG048", Error)]);
    assert_file(&with("initrd file"), b"<html>", 3000, &[("FG048", Error)]);
}

#[test]
fn an_initramfs_is_not_laid_into_another() {
    use Severity::*;
    let script = |line: &str| format!("#!ipxe\nkernel vmlinuz panic=1\n{line}\nboot\n");
    for bad in [
        "initrd initrd.img initrd",
        "initrd signature initramfs",
        "initrd sub/a%20b x",
        "initrd https://a/initrd.img initrd.img",
    ] {
        assert_one(&script(bad), "FG049", Warning);
    }
    for good in [
        "initrd initrd.img",
        "initrd initrd.img /boot/initrd.img",
        "initrd signature x",
        "initrd https://a/ca.crt ca.crt",
        "initrd initrd.img\ninitrd sub/a%20b firmware",
    ] {
        assert_clean(&script(good));
    }
    assert_clean("#!ipxe\nkernel https://a/wimboot\ninitrd initrd.img boot.wim\nboot\n");
}

#[test]
fn a_loop_has_an_end() {
    use Severity::*;
    let endless = |script: &str| {
        let findings = brief(&format!("#!ipxe\n{script}"));
        findings.iter().filter(|(code, _)| *code == "FG029").count()
    };
    for bad in [
        ":r\nimgfree\nkernel vmlinuz panic=1 || goto r\nboot || goto r\n",
        ":r\nkernel vmlinuz panic=1 && boot ||\nsleep 5\ngoto r\n",
        // Only the second download fails for good.
        ":r\nimgfree\nkernel vmlinuz panic=1 || reboot\ninitrd big.img || goto r\nboot || reboot\n",
        "kernel vmlinuz panic=1 || reboot\n:b\nboot ||\necho no\ngoto b\n",
        // Two mirrors, and neither has the file.
        ":r\nimgfree\nkernel https://a/k panic=1 || kernel https://b/k panic=1 || goto r\nboot\n",
        // Nobody presses the key.
        ":r\nimgfree\nprompt --timeout 500 key && reboot ||\nkernel vmlinuz panic=1 || goto r\nboot || goto r\n",
        "kernel vmlinuz panic=1 || goto s\nboot || goto s\n:s\nsleep 5\ngoto s\n",
    ] {
        assert_eq!(endless(bad), 1, "{bad}");
    }
    for good in [
        "set n:int32 0\n:r\ninc n\niseq ${n} 5 && reboot ||\nimgfree\nkernel vmlinuz panic=1 || goto r\nboot || goto r\n",
        ":r\nimgfree\nkernel vmlinuz panic=1 || goto f\nboot\n:f\nsleep 30\nreboot\n",
        ":r\nimgfree\nkernel vmlinuz panic=1 || goto r2\nboot || reboot\n:r2\nkernel vmlinuz panic=1 && boot || exit 1\n",
        ":menu\nmenu m\nitem a a\nitem b b\nchoose --timeout 500 x && goto ${x} || goto menu\n:a\nreboot\n:b\ngoto menu\n",
        ":r\nisset ${net0/ip} || goto r\nreboot\n",
    ] {
        assert_eq!(endless(good), 0, "{good}: {:?}", brief(&format!("#!ipxe\n{good}")));
    }
    assert_one("#!ipxe\n:r\nsleep 5\ngoto r\n", "FG029", Warning);
}

#[test]
fn a_test_that_does_not_hold_goes_on() {
    use Severity::*;
    for bad in ["isset ${hostname}", "isset ${a} && echo a", "iseq ${a}${a} b ; isset ${a}"] {
        assert_one(&with(bad), "FG028", Warning);
    }
    for good in [
        "isset ${a} ||",
        "isset ${a} && echo a ||",
        "isset ${a} || echo b",
        "isset ${a} ; echo b",
        "prompt --timeout 5 x ||",
    ] {
        assert_clean(&with(good));
    }
    assert_one(&with("prompt --timeout 5 x"), "FG028", Warning);
    assert_one(&with("prompt x"), "FG025", Warning);
    // The help used to say that the next line should be deleted.
    let script = with("isset ${a} && goto a\necho b\n:a");
    let help: Vec<_> = found(script.as_bytes()).into_iter().map(|f| (f.code.id, f.help)).collect();
    assert!(help[0].0 == "FG028" && help[1].0 == "FG022", "{help:?}");
    assert!(
        help[..2].iter().all(|(_, help)| help.contains("`||` at the end of the line")),
        "{help:?}"
    );
    let script = with("goto a\necho b\n:a");
    assert!(found(script.as_bytes())[0].help.starts_with("delete it"));
}

#[test]
fn what_is_chosen_is_still_there_at_boot() {
    use Severity::*;
    assert_one(
        "#!ipxe\nkernel vmlinuz panic=1\nimgfree ||\ninitrd initrd.img\nboot\n",
        "FG050",
        Warning,
    );
    assert_one("#!ipxe\nkernel vmlinuz panic=1\nimgfree\nboot || reboot\n", "FG050", Warning);
    assert_clean("#!ipxe\nkernel vmlinuz panic=1\nimgfree initrd.img ||\nboot\n");
    assert_clean(
        "#!ipxe\nkernel vmlinuz panic=1 && boot ||\nimgfree\nkernel vmlinuz panic=1\nboot\n",
    );
}

#[test]
fn words_are_parted_before_settings_are_filled_in() {
    use Severity::*;
    let set = |line: &str| format!("#!ipxe\nset k vmlinuz panic=1\n{line}\nboot || reboot\n");
    for bad in ["chain ${k}", "kernel ${k}", "initrd https://a/${k}", "${k}"] {
        let codes: Vec<_> =
            brief(&set(bad)).into_iter().filter(|(code, _)| *code == "FG033").collect();
        assert_eq!(codes, [("FG033", Warning)], "{bad}");
    }
    assert_clean(&set("kernel vmlinuz ${k}"));
    assert_clean("#!ipxe\nset k vmlinuz\nkernel ${k} panic=1\nboot\n");
}

#[test]
fn machines_stay_on_and_panics_end() {
    use Severity::*;
    assert_one("#!ipxe\nkernel vmlinuz panic=1 || poweroff\nboot\n", "FG052", Warning);
    for (panic, good) in [
        ("panic=0", false),
        ("panic=", false),
        ("panic=30 panic=0", false),
        ("panic=0 panic=30", true),
        ("panic=-1", true),
    ] {
        let script = format!("#!ipxe\nkernel vmlinuz {panic}\nboot\n");
        match good {
            true => assert_clean(&script),
            false => assert_one(&script, "FG044", Warning),
        }
    }
}

#[test]
fn downloads_have_a_timeout() {
    let timeouts = |script: &str| -> Vec<String> {
        let findings = found(format!("#!ipxe\n{script}").as_bytes());
        findings.into_iter().filter(|f| f.code == codes::NO_TIMEOUT).map(|f| f.what).collect()
    };
    let what = "`kernel` has no `--timeout`, nor have 2 more downloads";
    assert_eq!(timeouts("kernel vmlinuz\ninitrd ${url}\ninitrd --timeout 0 a\nboot\n"), [what]);
    for good in [
        "kernel --timeout 30000 vmlinuz\nboot\n",
        "kernel --timeout ${ms} vmlinuz\nboot\n",
        "imgfetch --timeout 9 https://a/k\nkernel k\nboot\n",
        "imgfetch -t 9 -n k https://a/b\nimgargs k panic=1\nboot k\n",
        "sanboot https://a/disk\n",
    ] {
        assert_eq!(timeouts(good), [""; 0], "{good}");
    }
}

#[test]
fn secrets_are_fetched_where_there_are_some() {
    let script = b"#!ipxe\nkernel vmlinuz panic=1\ninitrd ${secrets_url} /secrets\nboot\n";
    let codes = |source: &[u8], template| -> Vec<&str> {
        let findings = check(source, &Options { template, ..Options::default() });
        findings.iter().filter(|f| f.code == codes::NO_TEMPLATE).map(|f| f.code.id).collect()
    };
    assert_eq!(codes(script, Some(false)), ["FG034"]);
    assert_eq!(codes(script, Some(true)), [""; 0]);
    assert_eq!(codes(script, None), [""; 0]);
}

#[test]
fn the_files_that_a_script_names_are_known() {
    let script =
        b"#!ipxe\nkernel ./a%20b x\ninitrd ${x}\ninitrd https://a/b\nchain sub/../c || boot\n";
    let named: Vec<String> = names(script).into_iter().collect();
    assert_eq!(named, ["a b", "c"]);
    assert!(names(b"no script").is_empty());
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
    // Without boot hosts, the template boots nothing.
    assert!(errors.is_empty(), "{errors:?}");
}

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
    fn what_ipxe_takes_for_a_script_has_no_syntax_error(body in ".{0,200}") {
        let script = format!("#!ipxe\n{body}\n");
        let options = Options { syntax_only: true, ..Options::default() };
        let continued = script.trim_end_matches(['\n', '\r']).ends_with('\\');
        prop_assert!(continued || check(script.as_bytes(), &options).is_empty());
    }
}
