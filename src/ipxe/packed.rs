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
    #[error("no packed iPXE payload is in it; the file may be truncated or not an iPXE")]
    NoStream,
    #[error("the packed payload's CRC-32 is wrong: the file is damaged or truncated")]
    WrongCrc,
    #[error("two places look like iPXE's packed payload")]
    SeveralStreams,
    #[error("the packed payload cannot be decompressed")]
    Undecodable,
    #[error("the packed payload is larger than {most} bytes")]
    TooLarge { most: usize },
    #[error("the payload packed again is longer, and something stands behind it")]
    NoRoom,
    #[error("the size in its Linux boot header is not the file's: it is damaged")]
    WrongSize,
    #[error("cannot compress the payload")]
    Encode(#[source] std::io::Error),
    #[error("the payload packed again does not read back")]
    NotReadBack,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT_AT: usize = 60_000;

    /// A payload that does not compress, much like machine code.
    fn payload() -> Vec<u8> {
        let mut state = 1u32;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        };
        (0..100_000).map(|_| random()).collect()
    }

    fn with_root(root: &[u8; 32]) -> Vec<u8> {
        let mut payload = payload();
        payload[ROOT_AT - 8..ROOT_AT + 40].fill(0);
        payload[ROOT_AT..ROOT_AT + 32].copy_from_slice(root);
        payload
    }

    /// Builds a file as zbin does: a Linux boot header, length word, stream, CRC.
    fn file(payload: &[u8]) -> Vec<u8> {
        let stream = pack(payload).unwrap();
        let mut file = vec![0; 3072];
        file[SETUP_SECTS] = 5;
        file.extend_from_slice(&(stream.len() as u32 + 4).to_le_bytes());
        file.extend_from_slice(&stream);
        file.extend_from_slice(&crc32(&stream).to_le_bytes());
        let size = syssize(&file).to_le_bytes();
        file[SYSSIZE].copy_from_slice(&size);
        file
    }

    /// A root that contains a near call, as one of the tests' CAs has.
    fn root_with_a_call() -> [u8; 32] {
        let mut root = [0x55; 32];
        root[10..15].copy_from_slice(&[0xe9, 0x10, 0x20, 0, 0]);
        root
    }

    #[test]
    fn a_root_with_a_call_in_it_arrives_unchanged() {
        let file = file(&with_root(&[7; 32]));
        let packed = Packed::read(&file).unwrap();
        let wanted = with_root(&root_with_a_call());
        let new = packed.replace(&file, &wanted).unwrap();
        assert_eq!(Packed::read(&new).unwrap().payload, wanted);
        assert_eq!(new[SYSSIZE], syssize(&new).to_le_bytes());
    }

    /// This shows why the filter must be reversed: iPXE would see this root at run time if the root
    /// were replaced in the decompressed but still filtered bytes.
    #[test]
    fn the_same_root_put_into_the_filtered_bytes_would_not() {
        let mut filtered = with_root(&[7; 32]);
        bcj::filter(&mut filtered);
        filtered[ROOT_AT..ROOT_AT + 32].copy_from_slice(&root_with_a_call());
        bcj::unfilter(&mut filtered);
        assert_ne!(filtered[ROOT_AT..ROOT_AT + 32], root_with_a_call());
    }

    #[test]
    fn a_shorter_stream_leaves_all_lengths_as_they_are() {
        let file = file(&payload());
        let mut compressible = payload();
        compressible[..50_000].fill(0);
        let new = Packed::read(&file).unwrap().replace(&file, &compressible).unwrap();
        assert_eq!(new.len(), file.len());
        assert_eq!(new[..3076], file[..3076]);
    }

    #[test]
    fn a_longer_stream_needs_the_end_of_the_file_and_a_sound_header() {
        let mut compressible = payload();
        compressible[..20_000].fill(0);
        let mut file = file(&compressible);
        let grown = Packed::read(&file).unwrap().replace(&file, &payload()).unwrap();
        assert!(grown.len() > file.len());
        let tail = [file.as_slice(), b"something"].concat();
        let refused = Packed::read(&tail).unwrap().replace(&tail, &payload());
        assert!(matches!(refused, Err(Error::NoRoom)));
        file[SYSSIZE].fill(1);
        let refused = Packed::read(&file).unwrap().replace(&file, &payload());
        assert!(matches!(refused, Err(Error::WrongSize)));
    }

    #[test]
    fn damage_is_named() {
        let whole = file(&payload());
        assert!(Packed::read(&whole).is_ok());
        let mut flipped = whole.clone();
        flipped[50_000] ^= 1;
        assert!(matches!(Packed::read(&flipped), Err(Error::WrongCrc)));
        assert!(matches!(Packed::read(&whole[..50_000]), Err(Error::NoStream)));
        assert!(matches!(Packed::read(b""), Err(Error::NoStream)));
        // A correct CRC over bytes that are not an LZMA stream.
        let mut stream = vec![0xff; LEAST + 100];
        stream[0] = 0;
        let mut other = vec![0; 3072];
        other.extend_from_slice(&(stream.len() as u32 + 4).to_le_bytes());
        other.extend_from_slice(&stream);
        other.extend_from_slice(&crc32(&stream).to_le_bytes());
        assert!(matches!(Packed::read(&other), Err(Error::Undecodable)));
    }

    #[test]
    fn a_bomb_does_not_go_off() {
        let bomb = file(&[payload(), vec![0; MOST_UNPACKED]].concat());
        assert!(matches!(Packed::read(&bomb), Err(Error::TooLarge { .. })));
    }
}
