//! Walks through a tar archive, one entry after the other, with little memory whatever it says.
//!
//! The crate `tar` reads the fields of a header. The walk is our own: that of the crate keeps
//! headers of any length in memory, and loses attributes whose value has a line end.

use std::io::ErrorKind;
use std::io::Read;

use tar::EntryType;
use tar::GnuExtSparseHeader;
use tar::Header;

use super::Flaw;
use super::pax::Records;
use super::pax::Time;
use super::sparse;
use super::sparse::Holes;
use super::sparse::Map;
use super::unreadable;

const BLOCK: u64 = 512;

/// Longest header of the kinds that hold names, attributes and maps of holes. Go's reader, which
/// container tools use, takes as much.
const MAX_EXTENSION: u64 = 1 << 20;

/// Headers in a row before an entry: a long name, a long link, pax records. Global ones do not
/// count.
const MAX_EXTENSIONS: u64 = 16;

/// Kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Symlink,
    HardLink,
    Fifo,
    Character { major: u32, minor: u32 },
    Block { major: u32, minor: u32 },
}

/// An entry without its content.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub name: Vec<u8>,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub modified: Time,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Target of a link.
    pub link: Vec<u8>,
    /// The places of the content in the file.
    pub map: Map,
}

pub(super) struct Archive<R> {
    input: R,
    /// Bytes of the entry that were not read yet.
    left: u64,
    /// Bytes between the entry and the next block.
    padding: u64,
    ended: bool,
}

impl<R: Read> Archive<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, left: 0, padding: 0, ended: false }
    }

    /// The next entry; what was not read of the last one is skipped.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Flaw> {
        let mut long_name = None;
        let mut long_link = None;
        let mut records = Records::default();
        let mut extensions = 0;
        loop {
            let Some(header) = self.header()? else {
                if extensions > 0 {
                    return Err(Flaw::Bad("it ends before an entry that it announces".to_owned()));
                }
                return Ok(None);
            };
            let stored = size(&header)?;
            match header.entry_type() {
                EntryType::XGlobalHeader => {
                    self.begin(stored);
                    continue;
                }
                EntryType::GNULongName => long_name = Some(without_end(self.extension(stored)?)),
                EntryType::GNULongLink => long_link = Some(without_end(self.extension(stored)?)),
                EntryType::XHeader => {
                    let bytes = self.extension(stored)?;
                    records = Records::parse(&bytes).map_err(|why| Flaw::Bad(why.to_owned()))?;
                }
                _ => {
                    let stored = records.size.unwrap_or(stored);
                    return self.entry(&header, stored, long_name, long_link, records).map(Some);
                }
            }
            extensions += 1;
            if extensions > MAX_EXTENSIONS {
                return Err(Flaw::Bad("it has too many headers before an entry".to_owned()));
            }
        }
    }

    fn entry(
        &mut self,
        header: &Header,
        stored: u64,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
        records: Records,
    ) -> Result<Entry, Flaw> {
        let name = long_name.or_else(|| records.path.clone());
        let mut name = name.unwrap_or_else(|| header.path_bytes().into_owned());
        let bad = |name: &[u8], why: &str| Flaw::entry(name, why);
        let device = || {
            let major = header.device_major().ok().flatten().unwrap_or_default();
            (major, header.device_minor().ok().flatten().unwrap_or_default())
        };
        let kind = match header.entry_type() {
            // The first tar knew directories by their name.
            EntryType::Regular if name.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink,
            EntryType::Link => Kind::HardLink,
            EntryType::Fifo => Kind::Fifo,
            EntryType::Char => {
                let (major, minor) = device();
                Kind::Character { major, minor }
            }
            EntryType::Block => {
                let (major, minor) = device();
                Kind::Block { major, minor }
            }
            other => {
                let why = format!("it is of an unknown kind ({})", other.as_byte());
                return Err(bad(&name, &why));
            }
        };
        let map = if kind == Kind::File {
            self.begin(stored);
            let invalid = || Flaw::Bad("it has an invalid map of a file with holes".to_owned());
            let map = if header.entry_type() == EntryType::GNUSparse {
                self.gnu_map(header)?
            } else if records.sparse.is_empty() {
                Some(Map { parts: vec![(0, stored)], size: stored })
            } else {
                let found = sparse::describe(&records).ok_or_else(invalid)?;
                name = found.name.unwrap_or(name);
                match found.holes {
                    Holes::Here(map) => Some(map),
                    Holes::Before { size } => self.map_before(size)?,
                }
            };
            map.filter(|map| map.is_valid(self.left)).ok_or_else(invalid)?
        } else {
            // As Go has it: the others have no content, whatever the header says.
            Map::default()
        };
        let id = |field: &[u8], read: std::io::Result<u64>, pax: Option<u64>| {
            let value = match pax {
                Some(value) => Some(value),
                None if is_blank(field) => Some(0),
                None => read.ok(),
            };
            // The largest means "as it is" to the kernel.
            let value = value.and_then(|value| u32::try_from(value).ok());
            value.filter(|value| *value != u32::MAX)
        };
        let old = header.as_old();
        let owner =
            id(&old.uid, header.uid(), records.uid).zip(id(&old.gid, header.gid(), records.gid));
        let (uid, gid) = owner.ok_or_else(|| bad(&name, "it has an invalid owner"))?;
        let mode = if is_blank(&old.mode) { Some(0) } else { header.mode().ok() };
        let mode = mode.ok_or_else(|| bad(&name, "it has an invalid mode"))? & 0o7777;
        let seconds = header.mtime().ok().and_then(|seconds| i64::try_from(seconds).ok());
        let modified =
            records.mtime.unwrap_or(Time { seconds: seconds.unwrap_or(0), nanoseconds: 0 });
        let link = long_link.or(records.linkpath);
        let link = link.or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
        let (link, xattrs) = (link.unwrap_or_default(), records.xattrs);
        Ok(Entry { name, kind, mode, uid, gid, modified, xattrs, link, map })
    }

    /// Reads content of the entry; 0 at its end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Flaw> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let mut filled = 0;
        while filled < most {
            match self.input.read(&mut buffer[filled..most]) {
                Ok(0) => return Err(Flaw::Bad("it is cut short".to_owned())),
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(&error)),
            }
        }
        self.left -= filled as u64;
        Ok(filled)
    }

    /// Reads what follows the end, up to `most` bytes and some: decoders check their sums there.
    pub(super) fn drain(&mut self, most: u64) -> Result<u64, Flaw> {
        let mut buffer = vec![0; 64 * 1024];
        let mut drained = 0;
        while drained <= most {
            match self.input.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => drained += read as u64,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(&error)),
            }
        }
        Ok(drained)
    }

    /// Passes over what is left of the entry.
    fn skip(&mut self) -> Result<(), Flaw> {
        let mut buffer = [0; 4096];
        while self.left > 0 {
            self.read(&mut buffer)?;
        }
        Ok(())
    }

    fn begin(&mut self, stored: u64) {
        self.left = stored;
        self.padding = stored.wrapping_neg() % BLOCK;
    }

    /// The next header, verified; `None` at the end.
    fn header(&mut self) -> Result<Option<Header>, Flaw> {
        if self.ended {
            return Ok(None);
        }
        self.skip()?;
        self.left = std::mem::take(&mut self.padding);
        self.skip()?;
        let mut header = Header::new_old();
        if !self.block(header.as_mut_bytes())? || header.as_bytes().iter().all(|byte| *byte == 0) {
            self.ended = true;
            return Ok(None);
        }
        let bytes = header.as_bytes();
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        // The eight bytes of the checksum itself count as spaces.
        let sum = sum(&bytes[..148]) + sum(&bytes[156..]) + 8 * u32::from(b' ');
        if header.cksum().ok() != Some(sum) {
            return Err(Flaw::Bad("it is no tar archive, or damaged".to_owned()));
        }
        Ok(Some(header))
    }

    /// False at the very end.
    fn block(&mut self, block: &mut [u8]) -> Result<bool, Flaw> {
        let mut filled = 0;
        while filled < block.len() {
            match self.input.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(Flaw::Bad("it is cut short".to_owned())),
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(&error)),
            }
        }
        Ok(true)
    }

    /// The content of a header that describes the next entry.
    fn extension(&mut self, stored: u64) -> Result<Vec<u8>, Flaw> {
        if stored > MAX_EXTENSION {
            return Err(Flaw::Bad(format!("it has a header of {stored} bytes")));
        }
        self.begin(stored);
        let mut bytes = vec![0; stored as usize];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    /// The map of GNU's own format, in the header and in blocks that follow it.
    fn gnu_map(&mut self, header: &Header) -> Result<Option<Map>, Flaw> {
        let Some(gnu) = header.as_gnu() else { return Ok(None) };
        let Ok(size) = gnu.real_size() else { return Ok(None) };
        let mut map = Map { parts: Vec::new(), size };
        if gnu.sparse.iter().any(|part| map.add(part).is_none()) {
            return Ok(None);
        }
        let mut more = gnu.is_extended();
        while more {
            let mut extended = GnuExtSparseHeader::new();
            if !self.block(extended.as_mut_bytes())? {
                return Ok(None);
            }
            if extended.sparse().iter().any(|part| map.add(part).is_none()) {
                return Ok(None);
            }
            more = extended.is_extended();
        }
        Ok(Some(map))
    }

    /// The map of format 1.0: numbers, one a line, before the content; the first is their count.
    fn map_before(&mut self, size: u64) -> Result<Option<Map>, Flaw> {
        let mut map = Map { parts: Vec::new(), size };
        let mut block = [0; BLOCK as usize];
        let mut numbers: Vec<u64> = Vec::new();
        let mut number: Option<u64> = None;
        loop {
            if self.read(&mut block)? < block.len() {
                return Ok(None);
            }
            for byte in block {
                match byte {
                    b'0'..=b'9' => {
                        let digit = u64::from(byte - b'0');
                        let next =
                            number.unwrap_or(0).checked_mul(10).and_then(|n| n.checked_add(digit));
                        let Some(next) = next else { return Ok(None) };
                        number = Some(next);
                    }
                    b'\n' => match number.take() {
                        Some(number) => numbers.push(number),
                        None => return Ok(None),
                    },
                    _ => return Ok(None),
                }
                let Some(count) = numbers.first() else { continue };
                if *count > sparse::MAX_PARTS as u64 {
                    return Ok(None);
                }
                if numbers.len() as u64 == 1 + 2 * count {
                    map.parts = numbers[1..].chunks(2).map(|pair| (pair[0], pair[1])).collect();
                    return Ok(Some(map));
                }
            }
        }
    }
}

fn size(header: &Header) -> Result<u64, Flaw> {
    if is_blank(&header.as_old().size) {
        return Ok(0);
    }
    header.entry_size().map_err(|_| Flaw::Bad("it has an entry of no valid size".to_owned()))
}

/// A field that says nothing, which means 0.
fn is_blank(field: &[u8]) -> bool {
    field.iter().all(|byte| matches!(byte, 0 | b' '))
}

fn without_end(mut name: Vec<u8>) -> Vec<u8> {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    name.truncate(end);
    name
}
