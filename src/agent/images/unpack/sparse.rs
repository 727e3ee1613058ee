//! Files with holes, as GNU tar writes them: a map of the parts that are in the archive. Pure, but
//! for the reading of maps that stand in the archive.

use tar::GnuSparseHeader;

use super::pax;
use super::pax::Records;

/// Most parts of a file.
pub(super) const MAX_PARTS: usize = 100_000;

/// The places of an entry's bytes in its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Map {
    /// Offsets and lengths, ascending.
    pub parts: Vec<(u64, u64)>,
    /// Size of the file.
    pub size: u64,
}

/// The file with holes that pax records describe.
pub(super) struct Sparse {
    /// Its name, which another one hides.
    pub name: Option<Vec<u8>>,
    pub holes: Holes,
}

/// The place of a map.
pub(super) enum Holes {
    /// The map is in the records.
    Here(Map),
    /// The map stands before the content.
    Before {
        /// Size of the file.
        size: u64,
    },
}

impl Map {
    /// True if the parts ascend, do not overlap, lie in the file, and are `stored` bytes together.
    pub(super) fn is_valid(&self, stored: u64) -> bool {
        let mut end = 0;
        let mut sum: u64 = 0;
        for (offset, length) in &self.parts {
            let Some(next) = offset.checked_add(*length) else { return false };
            if *offset < end {
                return false;
            }
            end = next;
            sum += length;
        }
        end <= self.size && sum == stored
    }

    /// Adds a part from a GNU header.
    pub(super) fn add(&mut self, header: &GnuSparseHeader) -> Option<()> {
        if header.is_empty() {
            return Some(());
        }
        self.push(header.offset().ok()?, header.length().ok()?)
    }

    pub(super) fn push(&mut self, offset: u64, length: u64) -> Option<()> {
        self.parts.push((offset, length));
        (self.parts.len() <= MAX_PARTS).then_some(())
    }
}

/// The file with holes that these records, of which there are some, describe.
pub(super) fn describe(records: &Records) -> Option<Sparse> {
    let (mut name, mut size, mut major) = (None, None, 0);
    let (mut map, mut offset) = (Map::default(), None);
    for (key, value) in &records.sparse {
        let value_number = || pax::number(value).flatten();
        match &key[..] {
            b"name" => name = Some(value.clone()),
            b"size" | b"realsize" => size = Some(value_number()?),
            b"major" => major = value_number()?,
            b"map" => {
                let numbers: Option<Vec<u64>> =
                    value.split(|byte| *byte == b',').map(|n| pax::number(n).flatten()).collect();
                for pair in numbers?.chunks(2) {
                    let [offset, length] = pair else { return None };
                    map.push(*offset, *length)?;
                }
            }
            b"offset" => offset = Some(value_number()?),
            b"numbytes" => map.push(offset.take()?, value_number()?)?,
            _ => {}
        }
    }
    let size = size?;
    map.size = size;
    let holes = if major >= 1 { Holes::Before { size } } else { Holes::Here(map) };
    Some(Sparse { name, holes })
}
