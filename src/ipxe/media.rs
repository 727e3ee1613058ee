//! The script on the media: what a gateway's iPXE does from power-on until it
//! runs what the boot host gave it.

mod facts;
mod reread;
mod settings;

use std::fmt::Write;

pub use facts::Error as FactsError;
pub use facts::Facts;
pub use settings::Cidr;
pub use settings::ParseError;
pub use settings::StaticAddress;

use super::slot;
use crate::identity::pki::ServerName;

/// The script, with places that depend on the image.
pub const TEMPLATE: &str = include_str!("../../ipxe/autoexec.ipxe");

/// Rounds over all network cards and addresses before the machine restarts:
/// with the waits between them (5, 10, 20 ... 320 s) some twelve minutes.
const ROUNDS: u32 = 8;
/// Milliseconds without progress after which an address is given up.
const TIMEOUT: u32 = 30_000;

/// What the script does, beyond what is the same on all media.
#[derive(Clone, Debug)]
pub struct Media {
    /// Recorded in the script's head, for `iso verify`; holds the boot hosts.
    pub facts: Facts,
    /// Where to ask for the time.
    pub ntp: Option<ServerName>,
    /// A fixed address, where no DHCP is.
    pub address: Option<StaticAddress>,
    /// Opens iPXE's shell after a round that failed.
    pub debug: bool,
}

impl Media {
    /// The script, with an empty slot.
    pub fn render(&self) -> Vec<u8> {
        let mut script = Vec::new();
        for line in TEMPLATE.lines() {
            match line.strip_prefix("# @").and_then(|rest| rest.strip_suffix('@')) {
                Some("SLOT") => script.extend_from_slice(&slot::empty()),
                Some(part) => script.extend_from_slice(self.part(part).as_bytes()),
                None => {
                    let line = line
                        .replace("@ROUNDS@", &ROUNDS.to_string())
                        .replace("@TITLE@", self.title());
                    script.extend_from_slice(line.as_bytes());
                    script.push(b'\n');
                }
            }
        }
        script
    }

    fn title(&self) -> &'static str {
        if self.debug { "gateway medium, with shell" } else { "gateway medium" }
    }

    fn part(&self, part: &str) -> String {
        let mut text = String::new();
        match part {
            "FACTS" => text.push_str(&self.facts.to_string()),
            "ADDRESS" => self.address(&mut text),
            "RELEASE" => self.release(&mut text),
            "NTP" => self.time(&mut text),
            "URLS" => self.urls(&mut text),
            "DEBUG" if self.debug => {
                text.push_str("echo farmgate: type exit to go on ||\nshell ||\n");
            }
            "DEBUG" => {}
            _ => unreachable!("the template has no other part"),
        }
        text
    }

    fn address(&self, text: &mut String) {
        let Some(address) = &self.address else {
            text.push_str(
                "dhcp net${fg-nic} || goto fg-no-address ||\n\
                 isset ${net${fg-nic}/dns} && set dns ${net${fg-nic}/dns} || clear dns ||\n",
            );
            return;
        };
        text.push_str("ifopen net${fg-nic} || goto fg-no-address ||\n");
        for (name, value) in address.settings() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "set net${{fg-nic}}/{name} {value} ||");
        }
        if let Some(dns) = address.dns {
            let _ = writeln!(text, "set dns {dns} ||");
        }
        text.push_str("iflinkwait --timeout 15000 net${fg-nic} || goto fg-no-address ||\n");
    }

    /// Two cards with one address would leave iPXE to pick the wrong one.
    fn release(&self, text: &mut String) {
        for (name, _) in self.address.iter().flat_map(StaticAddress::settings) {
            let _ = writeln!(text, "clear net${{fg-nic}}/{name} ||");
        }
    }

    fn time(&self, text: &mut String) {
        if let Some(host) = &self.ntp {
            let _ = writeln!(
                text,
                "ntp {host} || echo farmgate: no time from {host} (error ${{errno}}), going on ||"
            );
        }
    }

    fn urls(&self, text: &mut String) {
        const LABELS: &str = "mac=${net${fg-nic}/mac:hexhyp}&platform=${platform}\
            &buildarch=${buildarch}&version=${version:uristring}&uuid=${uuid}\
            &manufacturer=${manufacturer:uristring}&product=${product:uristring}\
            &serial=${serial:uristring}&ip=${net${fg-nic}/ip}";
        for url in &self.facts.urls {
            // A script that was fetched and came back has not booted either.
            let _ = write!(
                text,
                "imgfree ||\n\
                 echo farmgate: asking {url} ||\n\
                 chain --timeout {TIMEOUT} {url}/boot/ipxe?{LABELS} && \
                 echo farmgate: what {url} gave did not boot || \
                 echo farmgate: no boot from {url} (error ${{errno}}) ||\n"
            );
        }
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn no_line_can_end_the_script() {
        for media in [media(), Media { debug: true, ..media() }, static_media()] {
            for line in text(&media).lines() {
                let harmless = line.is_empty() || line.starts_with('#') || line.starts_with(':');
                assert!(harmless || line.ends_with(" ||"), "{line}");
                assert!(!line.contains('@'), "{line}");
                // The very last command of a line decides what it returns.
                assert!(!line.ends_with('\\'), "{line}");
            }
        }
    }

    #[test]
    fn every_goto_has_its_label_and_the_script_never_runs_off_its_end() {
        let script = text(&media());
        for word in script.split("goto ").skip(1) {
            let label = word.split_whitespace().next().unwrap();
            assert_eq!(script.matches(&format!("\n:{label}\n")).count(), 1, "{label}");
        }
        assert_eq!(script.lines().last(), Some("goto fg-round ||"));
        for forbidden in ["exit", "prompt", "poweroff", "sanboot", "shell"] {
            assert!(!script.lines().any(|line| line.starts_with(forbidden)), "{forbidden}");
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

    #[test]
    fn a_shell_opens_only_when_asked_for() {
        let shells = |media: &Media| text(media).lines().filter(|l| l.starts_with("shell")).count();
        assert_eq!(shells(&media()), 0);
        assert_eq!(shells(&Media { debug: true, ..media() }), 2);
    }

    #[test]
    fn a_fixed_address_is_set_and_taken_away_again() {
        let script = text(&static_media());
        assert!(!script.contains("dhcp "));
        for (name, value) in [("ip", "192.0.2.10"), ("netmask", "255.255.255.0")] {
            assert!(script.contains(&format!("set net${{fg-nic}}/{name} {value} ||")));
            assert!(script.contains(&format!("clear net${{fg-nic}}/{name} ||")));
        }
        assert!(script.contains("\nset dns 192.0.2.53 ||\n"));
        assert!(text(&media()).contains("\ndhcp net${fg-nic} || "));
    }
}
