//! Paths through a script: failures, ends, loops, and what is chosen to boot.

use super::*;

#[test]
fn a_handled_failure_is_a_warning() {
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
fn all_errors_are_reported_at_once() {
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
fn a_false_test_does_not_end_the_script() {
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
fn the_chosen_kernel_is_not_freed_before_boot() {
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
