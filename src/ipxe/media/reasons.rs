//! Explains iPXE's error numbers to the person in front of the screen. Pure.
//!
//! An error number has four parts (`src/include/errno.h`): the POSIX number, the source file, a
//! number within that file, and in the last byte the firmware's own error code. The first three are
//! the same everywhere; the last differs between BIOS and UEFI.

use std::fmt::Write;

/// An error number and its meaning on this medium.
struct Reason {
    /// The upper three bytes.
    number: u32,
    /// The last byte under BIOS and under UEFI.
    firmware: [u8; 2],
    words: &'static str,
}

const fn reason(number: u32, firmware: [u8; 2], words: &'static str) -> Reason {
    Reason { number, firmware, words }
}

// The firmware's codes for the POSIX errors (`errno/pcbios.h`, `errno/efi.h`).
const DENIED: [u8; 2] = [0x3c, 0x8f];
const INVALID: [u8; 2] = [0x02, 0x82];
const IO: [u8; 2] = [0x39, 0x98];
const NOT_FOUND: [u8; 2] = [0x3b, 0x8e];
const RESET: [u8; 2] = [0x39, 0x95];
const BROKEN_PIPE: [u8; 2] = [0x01, 0x95];
const UNREACHABLE: [u8; 2] = [0x11, 0x90];
const TIMED_OUT: [u8; 2] = [0x35, 0x92];

const REFUSED: &str = "the boot host refuses this medium: revoked, or unknown to it";
const NOT_ACCEPTED: &str =
    "the boot host does not accept the certificate of this medium: expired, or of another CA";
const CLOSED: &str =
    "the boot host closed the connection: is this medium from another CA? Or a fault of its own";
const OTHER_CA: &str =
    "the boot host is not the one this medium trusts, or the machine's clock is wrong";
const NO_ANSWER: &str = "no answer: is there a way to the boot host, to a DNS server? A firewall?";
const NO_ROUTE: &str = "no way to the boot host: the network names no router";

const REASONS: &[Reason] = &[
    // httpcore.c: 403, 404, other 4xx (nginx: 400), 5xx.
    reason(0x410c61, DENIED, REFUSED),
    reason(
        0x2d0c61,
        NOT_FOUND,
        "the boot host has nothing published for this gateway, or a file of it is missing",
    ),
    reason(0x1d0c64, IO, NOT_ACCEPTED),
    reason(0x1d0c65, IO, "the boot host has a fault of its own, or too much to do"),
    // An empty answer. nginx sends it when another CA of the same name signed the certificate.
    reason(0x420c60, BROKEN_PIPE, CLOSED),
    // tls.c: the server ended the handshake.
    reason(0x410de1, DENIED, NOT_ACCEPTED),
    // x509.c: no usable certificate, wrong name. validator.c: no chain to the root.
    reason(0x0216eb, DENIED, OTHER_CA),
    reason(0x1c2ee0, INVALID, OTHER_CA),
    reason(0x0216ea, DENIED, "the boot host's certificate is for another name"),
    // dns.c: unknown name, no server configured, no answer.
    reason(0x3e1161, NOT_FOUND, "the DNS server does not know the boot host's name"),
    reason(0x3e1162, NOT_FOUND, "the network names no DNS server"),
    reason(0x4c1160, TIMED_OUT, NO_ANSWER),
    // tcp.c, monojob.c (the script's own --timeout), neighbour.c.
    reason(0x0f0a60, RESET, "the connection is refused: the boot host's port, or a firewall"),
    reason(0x4c0a60, TIMED_OUT, NO_ANSWER),
    reason(0x4c0720, TIMED_OUT, NO_ANSWER),
    reason(0x4c3760, TIMED_OUT, NO_ANSWER),
    // tcp.c, ipv4.c, ipv6.c.
    reason(0x280a60, UNREACHABLE, NO_ROUTE),
    reason(0x280560, UNREACHABLE, NO_ROUTE),
    reason(0x280660, UNREACHABLE, NO_ROUTE),
];

/// Script lines that set `fg-why` according to `fg-error`.
pub(super) fn lines() -> String {
    let mut text = "set fg-why see the number ||\n\
         iseq ${fg-error} 0 && set fg-why what it gave came back without a boot ||\n"
        .to_owned();
    for reason in REASONS {
        let [bios, uefi] = reason.firmware.map(|byte| reason.number << 8 | u32::from(byte));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "iseq ${{fg-error}} {bios:#x} || iseq ${{fg-error}} {uefi:#x} && \
             set fg-why {} ||",
            reason.words
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_number_has_one_reason() {
        let numbers: HashSet<_> = REASONS.iter().map(|reason| reason.number).collect();
        assert_eq!(numbers.len(), REASONS.len());
        // 24 bits. With more, the last byte would not be the firmware's.
        assert!(numbers.iter().all(|number| *number < 1 << 24));
    }

    /// The table in the documentation used to lack four of them.
    #[test]
    fn every_reason_is_in_the_table_for_operators() {
        let docs = include_str!("../../../docs/images.md");
        let rows: Vec<_> = docs.lines().filter(|line| line.starts_with("| `")).collect();
        for Reason { number, words, .. } in REASONS {
            let number = format!("`{number:06x}..`");
            let row = rows.iter().find(|row| row.contains(&number));
            let row = row.unwrap_or_else(|| panic!("no row of docs/images.md has {number}"));
            let shown = row.split('`').nth(1).unwrap_or_default();
            assert!(words.contains(shown), "{number} is shown as {words:?}, not {shown:?}");
        }
    }

    /// What may be on the screen is explained to whoever stands before it, in the words of the screen.
    #[test]
    fn every_reason_is_in_the_page_for_volunteers() {
        let page = include_str!("../../../docs/volunteer.md");
        let rows: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("| `")).collect();
        let shown: Vec<_> = rows.iter().filter_map(|row| row.split('`').next()).collect();
        let script = super::super::TEMPLATE.to_owned() + super::super::ADDRESS + &lines();
        for Reason { words, .. } in REASONS {
            let there = shown.iter().any(|shown| words.contains(shown));
            assert!(there, "docs/volunteer.md does not have {words:?}");
        }
        for shown in &shown {
            assert!(script.contains(shown), "no screen says {shown:?}");
        }
        assert!(shown.len() > 15, "{shown:?}");
    }

    #[test]
    fn both_firmwares_are_asked_for() {
        let text = lines();
        for number in ["0x410c613c", "0x410c618f", "0x410de13c", "0x2d0c618e", "0x1c2ee002"] {
            assert_eq!(text.matches(number).count(), 1, "{number}");
        }
        // iPXE shows numbers in settings without leading zeros (`%#x`).
        assert!(
            text.contains(" 0xf0a6039 ") && text.contains(" 0x216ea8f ") && !text.contains(" 0x0")
        );
        assert!(text.lines().all(|line| line.ends_with(" ||")));
    }
}
