//! The script on the media (`autoexec.ipxe`): what a gateway's iPXE does from power-on until it
//! runs a boot host's script. Pure: settings in, text out.

mod facts;
mod reasons;
mod reread;
mod settings;

use std::fmt::Write;

pub use facts::Error as FactsError;
pub use facts::Facts;
pub use settings::Cidr;
pub use settings::ParseError;
pub use settings::StaticAddress;

use super::slot;
use crate::config::Contact;
use crate::identity::pki::ServerName;

/// The script, with placeholders for the parts that depend on the image.
const TEMPLATE: &str = include_str!("../../ipxe/autoexec.ipxe");
/// The part of the script that gets an address from the network.
const ADDRESS: &str = include_str!("../../ipxe/address.ipxe");

/// Rounds over all network cards and boot hosts before the machine restarts. The waits between
/// rounds (5, 10, 20 ... 320 s) take about eleven minutes. Where no address can be had, trying for
/// one takes as long again.
const ROUNDS: u32 = 8;
/// Milliseconds without progress after which the script gives a boot host up.
const TIMEOUT: u32 = 30_000;

/// The settings of a medium's script.
#[derive(Clone, Debug)]
pub struct Media {
    /// Recorded at the head of the script for `iso verify`; contains the boot hosts.
    pub facts: Facts,
    /// The time server.
    pub ntp: Option<ServerName>,
    /// A fixed address for a network without DHCP.
    pub address: Option<StaticAddress>,
    /// The contact that the screen shows when nothing boots.
    pub contact: Option<Contact>,
    /// Opens iPXE's shell after a failed round.
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
            "REASONS" => text.push_str(&reasons::lines()),
            "CONTACT" => {
                if let Some(contact) = &self.contact {
                    let _ = writeln!(text, "set fg-contact {contact} ||");
                }
            }
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
            text.push_str(ADDRESS);
            return;
        };
        for (name, value) in address.settings() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "set net${{fg-nic}}/{name} {value} ||");
        }
        if let Some(dns) = address.dns {
            let _ = writeln!(text, "set dns {dns} ||");
        }
        text.push_str(
            "set fg-ip ${net${fg-nic}/ip} ||\n\
             echo farmgate: net${fg-nic} has address ${fg-ip}, \
             router ${net${fg-nic}/gateway}, DNS ${dns} ||\n\
             set fg-after fg-close ||\n\
             goto fg-ask ||\n",
        );
    }

    /// If two cards had the same address, iPXE could pick the wrong one.
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
            &serial=${serial:uristring}&ip=${fg-ip}";
        for (number, url) in self.facts.urls.iter().enumerate() {
            // If a script was fetched and returned, nothing has booted either.
            let _ = write!(
                text,
                "imgfree ||\n\
                 echo farmgate: asking {url} ||\n\
                 set fg-back fg-asked-{number} ||\n\
                 chain --timeout {TIMEOUT} {url}/boot/ipxe?{LABELS} && \
                 set fg-error 0 || set fg-error ${{errno}} ||\n\
                 goto fg-why ||\n\
                 :fg-asked-{number}\n\
                 echo farmgate: no boot from {url} (error ${{fg-error}}) ||\n\
                 echo farmgate: ${{fg-why}} ||\n"
            );
        }
    }
}

#[cfg(test)]
mod tests;
