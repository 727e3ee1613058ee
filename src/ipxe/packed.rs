//! The packed payload of an iPXE for BIOS: a length word, a raw LZMA1 stream and a CRC-32 (iPXE's
//! `src/util/zbin.c`, `process_zinfo_pack`). Pure.

use std::io::Read;
use std::io::Write;
use std::ops::Range;

use lzma_rust2::EncodeMode;
use lzma_rust2::LzmaOptions;
use lzma_rust2::LzmaReader;
use lzma_rust2::LzmaWriter;
use lzma_rust2::MfType;

use super::bcj;

/// `LZMA_LC`, `LZMA_LP`, `LZMA_PB` of zbin.c and unlzma.S.
const LC: u32 = 2;
const LP: u32 = 0;
const PB: u32 = 0;
/// Packed blocks begin at multiples of `_max_align`.
const ALIGN: usize = 16;
/// The payload's block begins after the prefix, which has about 5 kB.
const LAST_START: usize = 64 * 1024;
/// Smallest payload. The other packed blocks (real-mode code) have about 2 kB.
const LEAST: usize = 32 * 1024;
/// Fields `setup_sects` and `syssize` of the Linux boot header.
const SETUP_SECTS: usize = 0x1f1;
const SYSSIZE: Range<usize> = 0x1f4..0x1f8;
/// Larger than any iPXE. This limits the memory that a hostile file can make us use.
const MOST_UNPACKED: usize = 16 * 1024 * 1024;

/// A packed payload and its position in the file.
pub(super) struct Packed {
    /// The LZMA stream with its padding, without length word and CRC.
    stream: Range<usize>,
    /// The code that iPXE runs: decompressed and unfiltered.
    pub(super) payload: Vec<u8>,
}

impl Packed {
    /// Finds and unpacks the payload of an iPXE for BIOS.
    pub(super) fn read(file: &[u8]) -> Result<Self, Error> {
        let candidates: Vec<_> = candidates(file).collect();
        if candidates.is_empty() {
            return Err(Error::NoStream);
        }
        let mut sound = candidates.into_iter().filter(|stream| crc_holds(file, stream));
        let stream = sound.next().ok_or(Error::WrongCrc)?;
        if sound.next().is_some() {
            return Err(Error::SeveralStreams);
        }
        let payload = unpack(&file[stream.clone()])?;
        Ok(Self { stream, payload })
    }

    /// Returns the file with another payload of the same length.
    ///
    /// If the new stream is shorter, zeros after its end marker fill the block and all lengths stay
    /// the same. If it is longer, the file grows.
    pub(super) fn replace(&self, file: &[u8], payload: &[u8]) -> Result<Vec<u8>, Error> {
        debug_assert_eq!(payload.len(), self.payload.len());
        let mut stream = pack(payload)?;
        stream.resize(stream.len().max(self.stream.len()), 0);
        let grows = stream.len() > self.stream.len();
        if grows && self.stream.end + 4 != file.len() {
            return Err(Error::NoRoom);
        }
        let mut new = file[..self.stream.start - 4].to_vec();
        new.extend_from_slice(&(stream.len() as u32 + 4).to_le_bytes());
        new.extend_from_slice(&stream);
        new.extend_from_slice(&crc32(&stream).to_le_bytes());
        new.extend_from_slice(&file[self.stream.end + 4..]);
        if grows {
            let size = &mut new[SYSSIZE];
            if size != syssize(file).to_le_bytes() {
                return Err(Error::WrongSize);
            }
            let grown = syssize(&new).to_le_bytes();
            new[SYSSIZE].copy_from_slice(&grown);
        }
        // Do not trust the encoder: read back what iPXE will see.
        if Self::read(&new)?.payload != payload {
            return Err(Error::NotReadBack);
        }
        Ok(new)
    }
}

/// The value that `syssize` in the Linux boot header must have: the number of paragraphs after the
/// real-mode sectors (Linux `Documentation/arch/x86/boot.rst`).
fn syssize(file: &[u8]) -> u32 {
    let real_mode = (usize::from(file[SETUP_SECTS]) + 1) * 512;
    file.len().saturating_sub(real_mode).div_ceil(16) as u32
}

/// Positions where a payload could be, judged by length words alone.
fn candidates(file: &[u8]) -> impl Iterator<Item = Range<usize>> {
    (0..file.len().min(LAST_START)).step_by(ALIGN).filter_map(|offset| {
        let word = file.get(offset..offset + 4)?;
        let len = u32::from_le_bytes([word[0], word[1], word[2], word[3]]) as usize;
        let start = offset + 4;
        let end = start.checked_add(len.checked_sub(4)?)?;
        // A range coder's output always begins with 0.
        let plausible = len >= LEAST && end + 4 <= file.len() && file[start] == 0;
        plausible.then_some(start..end)
    })
}

fn crc_holds(file: &[u8], stream: &Range<usize>) -> bool {
    file[stream.end..stream.end + 4] == crc32(&file[stream.clone()]).to_le_bytes()
}

/// CRC-32 without the final inversion.
fn crc32(data: &[u8]) -> u32 {
    !crc32fast::hash(data)
}

fn unpack(stream: &[u8]) -> Result<Vec<u8>, Error> {
    let mut payload = Vec::new();
    LzmaReader::new(stream, u64::MAX, LC, LP, PB, MOST_UNPACKED as u32, None)
        .map_err(|_| Error::Undecodable)?
        .take(MOST_UNPACKED as u64 + 1)
        .read_to_end(&mut payload)
        .map_err(|_| Error::Undecodable)?;
    if payload.len() > MOST_UNPACKED {
        return Err(Error::TooLarge { most: MOST_UNPACKED });
    }
    bcj::unfilter(&mut payload);
    Ok(payload)
}

fn pack(payload: &[u8]) -> Result<Vec<u8>, Error> {
    let mut filtered = payload.to_vec();
    bcj::filter(&mut filtered);
    let options = LzmaOptions {
        dict_size: 8 << 20,
        lc: LC,
        lp: LP,
        pb: PB,
        mode: EncodeMode::Normal,
        nice_len: LzmaOptions::NICE_LEN_MAX,
        mf: MfType::Bt4,
        depth_limit: 512,
        preset_dict: None,
    };
    let mut writer =
        LzmaWriter::new_no_header(Vec::new(), &options, true).map_err(Error::Encode)?;
    writer.write_all(&filtered).map_err(Error::Encode)?;
    writer.finish().map_err(Error::Encode)
}

/// Why a packed payload was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no packed iPXE payload found: the file may be truncated, or not an iPXE")]
    NoStream,
    #[error("the packed payload's CRC-32 is wrong: the file is damaged or truncated")]
    WrongCrc,
    #[error("two places look like iPXE's packed payload")]
    SeveralStreams,
    #[error("the packed payload cannot be decompressed")]
    Undecodable,
    #[error("the packed payload is larger than {most} bytes")]
    TooLarge { most: usize },
    #[error("the repacked payload is longer, and other data follows it")]
    NoRoom,
    #[error("the size in its Linux boot header does not match the file: it is damaged")]
    WrongSize,
    #[error("cannot compress the payload")]
    Encode(#[source] std::io::Error),
    #[error("the repacked payload does not read back")]
    NotReadBack,
}

#[cfg(test)]
mod tests;
