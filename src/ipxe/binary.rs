//! Reads iPXE binaries: their version, their root of trust, and what was compiled in. Pure.

use memchr::memmem;

use super::packed;
use super::packed::Packed;
use crate::identity::Fingerprint;

/// The root that iPXE trusts by default: SHA-256 of the iPXE root CA's certificate (iPXE's
/// `src/crypto/rootcert.c`).
pub const STOCK_ROOT: Fingerprint = Fingerprint::from_bytes([
    0x9f, 0xaf, 0x71, 0x7b, 0x7f, 0x8c, 0xa2, 0xf9, 0x3c, 0x25, 0x6c, 0x79, 0xf8, 0xac, 0x55, 0x91,
    0x89, 0x5d, 0x66, 0xd1, 0xff, 0x3b, 0xee, 0x63, 0x97, 0xa7, 0x0d, 0x29, 0xc6, 0x5e, 0xed, 0x1a,
]);

/// DER content of the OID ecdsa-with-SHA256 (RFC 5758, section 3.2), without tag and length.
const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// Name of the feature, as iPXE prints it when it starts.
const HTTPS: &[u8] = b"\0HTTPS\0";
const LONGEST_VERSION: usize = 80;

/// The firmware that an iPXE binary is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `ipxe.lkrn`, which isolinux starts like a Linux kernel.
    Bios,
    Efi,
}

/// A parsed iPXE binary.
pub struct Binary<'a> {
    pub(super) file: &'a [u8],
    pub(super) packed: Option<Packed>,
}

impl<'a> Binary<'a> {
    /// Parses a binary for this firmware.
    pub fn read(kind: Kind, file: &'a [u8]) -> Result<Self, Error> {
        let packed = match kind {
            Kind::Bios if is_linux_kernel(file) => Some(Packed::read(file)?),
            Kind::Efi if is_x86_64_pe(file) => None,
            Kind::Bios => return Err(Error::NotLinuxKernel),
            Kind::Efi => return Err(Error::NotX8664Pe),
        };
        let binary = Self { file, packed };
        if binary.count(b"iPXE") == 0 {
            return Err(Error::NotIpxe);
        }
        Ok(binary)
    }

    /// The code that runs: the unpacked payload of a packed binary, otherwise the file itself.
    pub fn payload(&self) -> &[u8] {
        self.packed.as_ref().map_or(self.file, |packed| &packed.payload)
    }

    /// The number of times that this root occurs in the binary.
    pub fn count_root(&self, root: &Fingerprint) -> usize {
        self.count(root.as_bytes())
    }

    /// True if it can sign and verify with ECDSA, which a P-256 PKI needs.
    pub fn has_ecdsa(&self) -> bool {
        self.count(ECDSA_WITH_SHA256) > 0
    }

    /// True if it can fetch by HTTPS.
    pub fn has_https(&self) -> bool {
        self.count(HTTPS) > 0
    }

    /// The version that iPXE prints when it starts.
    pub fn version(&self) -> Option<String> {
        // An EFI binary states the version in its SBAT section. All binaries state it after the
        // short product name, with padding between.
        let payload = self.payload();
        let sbat = memmem::find(payload, b"\nipxe,").and_then(|at| {
            let line = payload[at + 1..].split(|byte| *byte == b'\n').next()?;
            version_at(line.split(|byte| *byte == b',').nth(4)?)
        });
        sbat.or_else(|| {
            memmem::find_iter(payload, b"iPXE\0").find_map(|at| {
                let near = &payload[at + 5..payload.len().min(at + 5 + 48)];
                let digit = near.iter().position(u8::is_ascii_digit)?;
                version_at(&payload[at + 5 + digit..])
            })
        })
    }

    fn count(&self, needle: &[u8]) -> usize {
        memmem::find_iter(self.payload(), needle).count()
    }
}

/// Reads a version (digits, dot, digit ...) that begins here and ends at a NUL.
fn version_at(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    let (major, rest) = text.split_once('.')?;
    let numeric = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let sound = numeric(major)
        && rest.starts_with(|c: char| c.is_ascii_digit())
        && text.len() <= LONGEST_VERSION
        && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    sound.then(|| text.to_owned())
}

/// Looks for "HdrS" of the Linux boot protocol (Linux `Documentation/arch/x86/boot.rst`).
fn is_linux_kernel(file: &[u8]) -> bool {
    file.get(0x1fe..0x206)
        .is_some_and(|header| header.starts_with(&[0x55, 0xaa]) && header.ends_with(b"HdrS"))
}

/// Looks for a PE file for x86-64 (Microsoft PE format, "Machine Types").
fn is_x86_64_pe(file: &[u8]) -> bool {
    let pe = || {
        let offset: [u8; 4] = file.get(0x3c..0x40)?.try_into().ok()?;
        let start = u32::from_le_bytes(offset) as usize;
        file.get(start..start.checked_add(6)?)
    };
    file.starts_with(b"MZ") && pe().is_some_and(|header| header == b"PE\0\0\x64\x86")
}

/// Why a file is not a usable iPXE binary.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("not an iPXE for BIOS: it has no Linux boot header (ipxe.lkrn is expected)")]
    NotLinuxKernel,
    #[error("not an iPXE for UEFI on x86-64: it is not a PE file for that machine")]
    NotX8664Pe,
    #[error("a program, but not iPXE")]
    NotIpxe,
    #[error(transparent)]
    Packed(#[from] packed::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_versions_from_other_text() {
        for good in ["2.0.0+dfsg-5", "1.21.1+git20250501.dad20602+dfsg-1", "1.0.0+ (g0ab2)"] {
            assert_eq!(version_at(format!("{good}\0rest").as_bytes()).as_deref(), Some(good));
        }
        for bad in ["", "1", "1.", "a.b", "1.x", "1.2\u{7f}"] {
            assert_eq!(version_at(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn other_files_are_refused_by_what_they_are() {
        let refused = |kind, file: &[u8]| Binary::read(kind, file).err().unwrap();
        assert!(matches!(refused(Kind::Bios, b""), Error::NotLinuxKernel));
        assert!(matches!(refused(Kind::Efi, b"MZ"), Error::NotX8664Pe));
        let mut pe = vec![0; 256];
        pe[..2].copy_from_slice(b"MZ");
        pe[0x3c] = 0x80;
        pe[0x80..0x86].copy_from_slice(b"PE\0\0\x64\xaa");
        assert!(matches!(refused(Kind::Efi, &pe), Error::NotX8664Pe));
        pe[0x85] = 0x86;
        assert!(matches!(refused(Kind::Efi, &pe), Error::NotIpxe));
        pe.extend_from_slice(b"iPXE");
        assert!(Binary::read(Kind::Efi, &pe).is_ok());
    }
}
