//! Tests: a replaced root survives packing, and damaged files are refused.

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
fn a_decompression_bomb_is_refused() {
    let bomb = file(&[payload(), vec![0; MOST_UNPACKED]].concat());
    assert!(matches!(Packed::read(&bomb), Err(Error::TooLarge { .. })));
}
