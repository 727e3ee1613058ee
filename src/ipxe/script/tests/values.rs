//! Settings, command lines, timeouts and secrets.

use super::*;

#[test]
fn words_are_split_before_settings_are_expanded() {
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
fn machines_stay_on_and_restart_after_a_panic() {
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
fn secrets_are_fetched_only_with_a_template() {
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
fn variables_count_as_set_and_the_missing_ones_are_named() {
    use Severity::*;
    assert_clean(&with("echo ${serial_console} ${serial_console:uristring}"));
    assert_one(&with("echo ${serial_speed}"), "FG036", Warning);
    assert_one(&with("echo ${serial_speed:hex}"), "FG036", Warning);
    assert_one(&with("echo ${serial_parity}"), "FG030", Warning);
    assert_clean(&with("isset ${serial_speed} && echo ${serial_speed} ||"));
    assert_clean(&with("set serial_speed 9600"));
    let source = with("echo ${serial_speed}");
    let unknown = check(source.as_bytes(), &Options::default());
    assert!(unknown.iter().any(|finding| finding.code == codes::UNSET));
}

#[test]
fn a_variable_is_unused_only_if_nothing_can_read_it() {
    let all = ["a", "b"];
    for (line, expected) in [
        ("echo ${a}", &["b"][..]),
        ("echo ${a:hex}", &["b"]),
        ("isset ${a}", &["b"]),
        ("show b", &["a"]),
        ("echo a${b}", &["a"]),
        ("echo", &["a", "b"]),
        ("chain other.ipxe", &[]),
        ("echo ${net${a}/mac}", &[]),
    ] {
        let source = format!("#!ipxe\n{line}\nreboot\n");
        assert_eq!(unused(source.as_bytes(), all), expected, "{line}");
    }
    assert_eq!(unused(b"no script", all), [""; 0]);
}
