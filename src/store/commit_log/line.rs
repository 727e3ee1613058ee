//! Lines of the log: text, so that a person can read it. Pure.
//!
//! ```text
//! CRC-32 EPOCH GATEWAY EVENT OBJECT
//! ```
//!
//! The object is the JSON of the event, byte for byte as its file holds it.

use std::fmt::Write;

use crate::fleet::EventId;
use crate::fleet::GatewayId;

/// Hex digits of a CRC-32.
const CRC_LEN: usize = 8;

/// An event in the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) gateway: GatewayId,
    pub(super) event: EventId,
    /// The object's bytes; the only newline in them is the last byte.
    pub(super) object: &'a [u8],
}

impl Line<'_> {
    /// Adds the line to `buffer`.
    pub(super) fn write(&self, epoch: u64, buffer: &mut Vec<u8>) {
        let mut head = String::new();
        // Writing to a string cannot fail.
        let _ = write!(head, "{epoch:016x} {} {} ", self.gateway, self.event);
        let mut crc = crc32fast::Hasher::new();
        crc.update(head.as_bytes());
        crc.update(self.object);
        buffer.extend_from_slice(format!("{:08x} {head}", crc.finalize()).as_bytes());
        buffer.extend_from_slice(self.object);
    }
}

/// The complete lines of one epoch at the beginning of `half`. Whatever follows was torn, or
/// belongs to an earlier epoch.
pub(super) fn read(half: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let (mut rest, mut epoch) = (half, None);
    std::iter::from_fn(move || {
        let (line, after) = rest.split_at(memchr::memchr(b'\n', rest)? + 1);
        let (found, line) = parse(line)?;
        if *epoch.get_or_insert(found) != found {
            return None;
        }
        rest = after;
        Some(line)
    })
}

fn parse(line: &[u8]) -> Option<(u64, Line<'_>)> {
    let (crc, rest) = line.split_at_checked(CRC_LEN)?;
    let crc = u32::from_str_radix(std::str::from_utf8(crc).ok()?, 16).ok()?;
    let rest = rest.strip_prefix(b" ")?;
    if crc32fast::hash(rest) != crc {
        return None;
    }
    let mut words = rest.splitn(4, |byte| *byte == b' ');
    let mut word = || std::str::from_utf8(words.next()?).ok();
    let epoch = u64::from_str_radix(word()?, 16).ok()?;
    let (gateway, event) = (word()?.parse().ok()?, EventId::parse(word()?)?);
    Some((epoch, Line { gateway, event, object: words.next()? }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(objects: &[String]) -> Vec<(GatewayId, EventId, Vec<u8>)> {
        let line = |(n, object): (usize, &String)| {
            let gateway = format!("lab-{}", n % 3).parse().unwrap();
            (gateway, EventId::after(None, n as u64), format!("{object}\n").into_bytes())
        };
        objects.iter().enumerate().map(line).collect()
    }

    fn written(epoch: u64, lines: &[(GatewayId, EventId, Vec<u8>)]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for (gateway, event, object) in lines {
            Line { gateway: gateway.clone(), event: *event, object }.write(epoch, &mut bytes);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn texts() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec("[^\n]{0,20}", 1..6)
    }

    proptest! {
        /// A torn log over an old one yields all complete lines, and no other.
        #[test]
        fn a_torn_line_ends_the_log(old in texts(), new in texts(), cut in any::<prop::sample::Index>()) {
            let ((old, _), lines) = (written(1, &lines(&old)), lines(&new));
            let (new, ends) = written(2, &lines);
            let cut = cut.index(new.len() + 1);
            let mut half = new[..cut].to_vec();
            half.extend(old.get(cut..).unwrap_or_default());
            half.extend([0; 100]);
            let whole = ends.iter().filter(|end| **end <= cut).count();
            let found: Vec<_> = read(&half).map(|l| (l.gateway, l.event, l.object.to_vec())).collect();
            if whole > 0 {
                prop_assert_eq!(&found, &lines[..whole]);
            } else {
                // Old lines, which are durable elsewhere.
                prop_assert!(found.iter().all(|found| !lines[..whole].contains(found)));
            }
        }

        #[test]
        fn no_log_is_too_strange(half in any::<Vec<u8>>(), text in "([0-9a-f -]|\n){0,99}") {
            prop_assert_eq!(read(&half).count() + read(text.as_bytes()).count(), 0);
        }
    }
}
