//! Encryption of a directory on the drive, by the kernel: fscrypt, with policies of version 2
//! (`Documentation/filesystems/fscrypt.rst`). Touches the drive.
//!
//! No library has these calls, so this is the one file of the agent that speaks to the kernel by
//! memory: two structures of a fixed size, whose layout is the kernel's (`linux/fscrypt.h`).

#![allow(unsafe_code, reason = "system calls that no library wraps")]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::ioctl;
use rustix::ioctl::Opcode;
use rustix::ioctl::Setter;
use rustix::ioctl::Updater;

/// Bytes of a key. The kernel takes shorter ones, and then makes no file with them: AES-256 wants
/// as many (`security_strength` in `fs/crypto/keysetup.c`).
const SHORTEST: usize = 32;
const LONGEST: usize = 64;

/// `struct fscrypt_add_key_arg`, with room for the longest key behind it.
#[repr(C)]
struct AddKey {
    kind: u32,
    reserved: u32,
    identifier: [u8; 32],
    raw_size: u32,
    key_id: u32,
    more_reserved: [u32; 8],
    raw: [u8; LONGEST],
}

/// `struct fscrypt_policy_v2`.
#[repr(C)]
struct Policy {
    version: u8,
    contents: u8,
    names: u8,
    flags: u8,
    unit: u8,
    reserved: [u8; 3],
    identifier: [u8; 16],
}

/// The opcodes name the size of the structure without what follows it, and of the first version.
const ADD_KEY: Opcode = ioctl::opcode::read_write::<[u8; 80]>(b'f', 23);
const SET_POLICY: Opcode = ioctl::opcode::read::<[u8; 12]>(b'f', 19);

const BY_IDENTIFIER: u32 = 2;
const VERSION_2: u8 = 2;
const AES_256_XTS: u8 = 1;
const AES_256_CTS: u8 = 4;
const PAD_NAMES_TO_32: u8 = 3;

/// The kernel's name of a key, made from the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyName(pub(super) [u8; 16]);

/// Gives the kernel the key for directories of the file system that `path` is on. The key is
/// forgotten when that is unmounted.
pub(super) fn add_key(path: &Path, key: &[u8]) -> io::Result<KeyName> {
    if !(SHORTEST..=LONGEST).contains(&key.len()) {
        return Err(io::Error::other("its key is not of 32 to 64 bytes"));
    }
    let mut argument = AddKey {
        kind: BY_IDENTIFIER,
        reserved: 0,
        identifier: [0; 32],
        raw_size: u32::try_from(key.len()).unwrap_or_default(),
        key_id: 0,
        more_reserved: [0; 8],
        raw: [0; LONGEST],
    };
    argument.raw[..key.len()].copy_from_slice(key);
    let directory = File::open(path)?;
    // SAFETY: the kernel reads and writes `fscrypt_add_key_arg`, whose layout `AddKey` has, and
    // reads `raw_size` bytes behind it, of which there are at most `LONGEST`.
    let done = unsafe {
        let call = Updater::<ADD_KEY, AddKey>::new(&mut argument);
        ioctl::ioctl(directory.as_fd(), call)
    };
    let name = argument.identifier.first_chunk().copied().unwrap_or_default();
    argument.raw.fill(0);
    done?;
    Ok(KeyName(name))
}

/// Has everything in a directory encrypted with a key. The directory is empty, or has this policy.
pub(super) fn set_policy(path: &Path, key: KeyName) -> io::Result<()> {
    let policy = Policy {
        version: VERSION_2,
        contents: AES_256_XTS,
        names: AES_256_CTS,
        flags: PAD_NAMES_TO_32,
        unit: 0,
        reserved: [0; 3],
        identifier: key.0,
    };
    let directory = File::open(path)?;
    // SAFETY: the kernel reads the version, and then as many bytes as `fscrypt_policy_v2` has,
    // whose layout `Policy` has.
    unsafe {
        let call = Setter::<SET_POLICY, Policy>::new(policy);
        ioctl::ioctl(directory.as_fd(), call)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_sizes() {
        assert_eq!(size_of::<AddKey>(), 80 + LONGEST);
        assert_eq!(size_of::<Policy>(), 24);
        assert_eq!((ADD_KEY, SET_POLICY), (0xc050_6617, 0x800c_6613));
    }
}
