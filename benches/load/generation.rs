//! Generations to publish: folders with a boot script, a kernel and an initramfs.

use std::fs;
use std::path::Path;

use anyhow::Result;

const KERNEL_LEN: usize = 14_000_000;
const INITRAMFS_LEN: usize = 30_000_000;
const SMALL_LEN: usize = 64 * 1024;

const SECRETS: &str = "REGISTRY_TOKEN=0123456789abcdef0123456789abcdef\nGATEWAY=${gateway_name}\n";

/// A script of the usual size, with kernel and initramfs as large as those of a gateway.
pub(crate) fn plain(folder: &Path) -> Result<()> {
    write(folder, KERNEL_LEN, INITRAMFS_LEN, false)
}

/// The same with secrets.
pub(crate) fn full(folder: &Path) -> Result<()> {
    write(folder, KERNEL_LEN, INITRAMFS_LEN, true)
}

/// Files of 64 KiB: what a boot costs beside its bytes.
pub(crate) fn small(folder: &Path) -> Result<()> {
    write(folder, SMALL_LEN, SMALL_LEN, true)
}

fn write(folder: &Path, kernel: usize, initramfs: usize, secrets: bool) -> Result<()> {
    fs::create_dir_all(folder)?;
    let fetch = if secrets {
        "initrd --timeout 30000 ${secrets_url} /secrets.env mode=600 || goto failed\n"
    } else {
        ""
    };
    let script = format!(
        "#!ipxe\n\
         kernel --timeout 30000 vmlinuz panic=30 console=ttyS0 farm.gateway=${{gateway_name}} \
         farmgate.ack=${{ack_url}} || goto failed\n\
         initrd --timeout 30000 initrd.img || goto failed\n\
         {fetch}boot\n\
         :failed\n\
         reboot\n"
    );
    fs::write(folder.join("boot.ipxe"), script)?;
    fs::write(folder.join("vmlinuz"), linux(kernel))?;
    fs::write(folder.join("initrd.img"), cpio(initramfs))?;
    if secrets {
        fs::write(folder.join("secrets"), SECRETS)?;
    }
    Ok(())
}

/// Bytes that `publish` takes for a Linux kernel: a setup header, and as many bytes as it says.
fn linux(len: usize) -> Vec<u8> {
    let mut kernel = noise(len, 1);
    // The boot sector and one sector of setup.
    let paragraphs = ((len - 1024) / 16) as u32;
    kernel[0x1f1] = 1;
    kernel[0x1f4..0x1f8].copy_from_slice(&paragraphs.to_le_bytes());
    kernel[0x1fe..0x200].copy_from_slice(b"\x55\xaa");
    kernel[0x202..0x208].copy_from_slice(b"HdrS\x0f\x02");
    kernel
}

/// Bytes that it takes for an initramfs.
fn cpio(len: usize) -> Vec<u8> {
    let mut archive = noise(len, 2);
    archive[..6].copy_from_slice(b"070701");
    archive
}

/// Bytes that nothing can compress, the same each time (xorshift64).
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut word = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed);
    let words = std::iter::repeat_with(move || {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word
    });
    words.flat_map(u64::to_le_bytes).take(len).collect()
}
