//! Tests of the rendered script: its lines, its labels, and what depends on the settings.

use super::*;
use crate::identity::Fingerprint;

fn media() -> Media {
    Media {
        facts: Facts {
            root: Fingerprint::from_bytes([7; 32]),
            ipxe: Some("2.0.0+dfsg-5".to_owned()),
            ecdsa: true,
            urls: vec![
                "https://boot.example.org".parse().unwrap(),
                "https://[2001:db8::1]:8443".parse().unwrap(),
            ],
            ca: None,
        },
        ntp: Some("pool.ntp.org".parse().unwrap()),
        address: None,
        contact: None,
        debug: false,
    }
}

fn text(media: &Media) -> String {
    String::from_utf8(media.render()).unwrap()
}

fn static_media() -> Media {
    let address = StaticAddress::new(
        "192.0.2.10/24".parse().unwrap(),
        Some("192.0.2.1".parse().unwrap()),
        Some("192.0.2.53".parse().unwrap()),
    );
    Media { address: Some(address), ..media() }
}

fn contact() -> Contact {
    "the farm team, +49 30 1234".parse().unwrap()
}

#[test]
fn no_line_can_end_the_script() {
    let called = Media { contact: Some(contact()), ..media() };
    for media in [media(), Media { debug: true, ..media() }, static_media(), called] {
        for line in text(&media).lines() {
            let harmless = line.is_empty() || line.starts_with('#') || line.starts_with(':');
            assert!(harmless || line.ends_with(" ||"), "{line}");
            assert!(!line.contains('@'), "{line}");
            // The last command of a line decides the result of the line.
            assert!(!line.ends_with('\\'), "{line}");
        }
    }
}

#[test]
fn every_goto_has_its_label_and_the_script_never_runs_off_its_end() {
    for script in [text(&media()), text(&static_media())] {
        let set = ["set fg-after ", "set fg-back "];
        let labels = set.into_iter().chain(["goto "]).flat_map(|word| script.split(word).skip(1));
        for rest in labels {
            let label = rest.split_whitespace().next().unwrap();
            let known = script.matches(&format!("\n:{label}\n")).count();
            assert!(known == 1 || label == "${fg-after}" || label == "${fg-back}", "{label}");
        }
        assert_eq!(script.lines().last(), Some("goto fg-round ||"));
        for forbidden in ["exit", "prompt", "poweroff", "sanboot", "shell"] {
            assert!(!script.lines().any(|line| line.starts_with(forbidden)), "{forbidden}");
        }
    }
}

/// A part before a label would continue into it.
#[test]
fn no_part_runs_into_the_next_by_accident() {
    let script = text(&media());
    let lines: Vec<_> = script.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    for (before, label) in lines.iter().zip(&lines[1..]) {
        let meant = [":fg-round", ":fg-nic", ":fg-try", ":fg-close", ":fg-next", ":fg-ipv6"];
        if label.starts_with(':') && !meant.contains(label) {
            assert!(before.starts_with("goto "), "{before} runs into {label}");
        }
    }
}

#[test]
fn asks_every_address_and_says_what_it_is() {
    let script = text(&media());
    assert!(script.starts_with("#!ipxe\n# farmgate image"));
    for url in ["https://boot.example.org/boot/ipxe?mac=", "https://[2001:db8::1]:8443/boot/"] {
        assert_eq!(script.matches(&format!("chain --timeout 30000 {url}")).count(), 1);
    }
    assert_eq!(script.matches("imgfree ||").count(), 2);
    assert!(script.contains("\nntp pool.ntp.org || echo "));
    assert!(!text(&Media { ntp: None, ..media() }).contains("ntp "));
    assert_eq!(slot::read(script.as_bytes()), Ok(None));
}

/// A script that returned used to be fetched again over IPv6 at once, which used up a try of its
/// generation.
#[test]
fn a_boot_host_that_sent_a_script_is_not_asked_again_in_the_same_round() {
    let script = text(&media());
    let asks = script.split("\n:fg-ask\n").nth(1).unwrap();
    let end = asks.find("goto ${fg-after}").unwrap();
    assert!(asks.starts_with("clear generation ||\n"));
    assert!(asks[..end].ends_with("isset ${generation} && goto fg-close ||\n"));
}

#[test]
fn the_contact_is_named_when_there_is_one() {
    let called = text(&Media { contact: Some(contact()), ..media() });
    assert!(called.contains("\nset fg-contact the farm team, +49 30 1234 ||\n"));
    assert!(!text(&media()).contains("set fg-contact"));
}

#[test]
fn a_shell_opens_only_when_asked_for() {
    let shells = |media: &Media| text(media).lines().filter(|l| l.starts_with("shell")).count();
    assert_eq!(shells(&media()), 0);
    assert_eq!(shells(&Media { debug: true, ..media() }), 2);
}

/// As text, a list of DNS servers was cut to its first entry. Where that server was dead, nothing
/// booted.
#[test]
fn lists_of_servers_are_copied_as_bytes() {
    for line in text(&media()).lines().filter(|line| line.contains("set dns")) {
        let from = line.matches("/dns").count() - line.matches("isset ${net${fg-nic}/dns").count();
        assert_eq!(from, line.matches(":hex}").count(), "{line}");
    }
}

#[test]
fn a_fixed_address_is_set_and_taken_away_again() {
    let script = text(&static_media());
    assert!(!script.contains("ifconf "));
    for (name, value) in [("ip", "192.0.2.10"), ("netmask", "255.255.255.0")] {
        assert!(script.contains(&format!("set net${{fg-nic}}/{name} {value} ||")));
        assert!(script.contains(&format!("clear net${{fg-nic}}/{name} ||")));
    }
    assert!(script.contains("\nset dns 192.0.2.53 ||\n"));
    assert!(text(&media()).contains("\nifconf -c dhcp net${fg-nic} || "));
}
