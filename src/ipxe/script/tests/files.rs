//! Files that a script names: that they exist, and that they are what they are used as.

use super::*;
use crate::ipxe::contents::tests::efi_head;

#[test]
fn files_are_resolved_as_ipxe_does() {
    for good in [
        "./vmlinuz",
        "sub/../vmlinuz",
        "vmlinuz?x=1#y",
        "sub/a%20b",
        "%C3%A4.img",
        "/files/other",
        "https://example.org/other",
        "../2/vmlinuz",
        "${ack_url}",
    ] {
        assert_clean(&with(&format!("initrd {good}")));
    }
    for bad in ["vmlinus", "sub", "secrets", "VMLINUZ", "sub/a", "boot.ipxe/x", "--name x other"] {
        assert_one(&with(&format!("initrd {bad}")), "FG040", Severity::Error);
    }
    // An image has the name that it was given, or the last part of its address.
    assert_clean("#!ipxe\nimgfetch --name k vmlinuz\nkernel k panic=1\nboot\n");
    assert_clean("#!ipxe\nimgfetch https://a/b/k?x\nkernel k panic=1\nboot\n");
    assert_clean("#!ipxe\nimgfetch --name ${mac} vmlinuz ||\nkernel k panic=1\nboot\n");
}

/// Adds a file of this size and content to the folder and checks the findings of a line.
#[track_caller]
fn assert_file(line: &str, head: &[u8], len: u64, expected: &[(&str, Severity)]) {
    let (mut files, mut heads) = folder();
    files.insert("file".to_owned(), len);
    heads.insert("file".to_owned(), head.to_vec());
    let options = Options { files: Some(&files), heads: Some(&heads), ..Options::default() };
    let source = format!("#!ipxe\n{line}\nboot\n");
    let findings = check(source.as_bytes(), &options);
    let found: Vec<_> = findings
        .iter()
        .filter(|finding| finding.code != codes::NO_TIMEOUT)
        .map(|finding| (finding.code.id, finding.severity))
        .collect();
    assert_eq!(found, expected, "{source}{head:?}");
}

/// A machine used to jump into each of these files, and hung.
#[test]
fn the_booted_file_is_a_kernel() {
    use Severity::*;
    const LFS: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
    let kernel = kernel_head(8 << 20);
    let line = "kernel file panic=1";
    let big = 8 << 20;
    for (head, len) in [
        (LFS, 131),
        (&b"<!DOCTYPE html>"[..], 3000),
        (b"-----BEGIN PGP SIGNATURE-----", 800),
        (b"\x1f\x8b\x08", 3000),
        (b"", 0),
        (b"anything", 8),
        (&kernel, big - 4096),
        (&kernel, 2000),
    ] {
        assert_file(line, head, len, &[("FG047", Error)]);
        // Handling the failure does not help, because the command succeeds.
        let looked_after = "kernel file panic=1 || kernel vmlinuz panic=1";
        assert_file(looked_after, head, len, &[("FG047", Error)]);
    }
    // iPXE refuses a large file that is not a kernel. The severity depends on what is booted then.
    for head in [&b"\x7fELF\x02"[..], b"\x1f\x8b\x08", &efi_head(0xaa64, 2048), b"anything"] {
        assert_file(line, head, big, &[("FG047", Error)]);
        assert_file(
            "kernel file panic=1 || kernel vmlinuz panic=1",
            head,
            big,
            &[("FG047", Warning)],
        );
    }
    for (head, len) in [
        (&kernel[..], big),
        (&kernel, big + 1472),
        (&efi_head(0x8664, 2048), 2048),
        (b"\x7fELF\x01", big),
        (b"#!ipxe\nboot\n", 12),
    ] {
        assert_file(line, head, len, &[]);
    }
    let arm = efi_head(0xaa64, 2048);
    let both = "iseq ${buildarch} arm64 && kernel file panic=1 || kernel vmlinuz panic=1";
    assert_file(both, &arm, big, &[]);
    // Boot programs have no magic number, but their names tell what they are.
    assert_file("kernel vmlinuz panic=1 || chain file", b"\xfa\x31\xc0", 42_000, &[]);
    assert_file("kernel vmlinuz panic=1 || chain file", LFS, 131, &[("FG047", Error)]);
    // The image has the name that it was fetched by.
    assert_file("imgfetch --name k file\nkernel k panic=1", &kernel, big, &[]);
    assert_file("imgfetch --name k file\nkernel k panic=1", LFS, 131, &[("FG047", Error)]);
}

#[test]
fn the_initramfs_is_an_archive() {
    use Severity::*;
    let with = |line: &str| format!("kernel vmlinuz panic=1\n{line}");
    for magic in [
        &b"070701"[..],
        b"\x1f\x8b",
        b"BZh9",
        b"\x5d\0\0",
        b"\xfd7zXZ\0",
        b"\x89LZO",
        b"\x02\x21\x4c\x18",
        b"\x28\xb5\x2f\xfd",
    ] {
        assert_file(&with("initrd file"), magic, 3000, &[]);
    }
    for head in [&b"anything"[..], b"", b"070707", b"-----BEGIN"] {
        assert_file(&with("initrd file"), head, 3000, &[("FG048", Warning)]);
        // A file in the initramfs, or for another system, may be anything.
        assert_file(&with("initrd file /etc/file"), head, 3000, &[]);
        assert_file("kernel wimboot\ninitrd file", head, 3000, &[("FG040", Error)]);
    }
    let lfs = b"version https://git-lfs.github.com/spec/v1\n";
    assert_file(&with("initrd file"), lfs, 131, &[("FG048", Error)]);
    assert_file(&with("initrd file /etc/file"), lfs, 131, &[("FG048", Error)]);
    assert_file(&with("initrd file"), b"<html>", 3000, &[("FG048", Error)]);
}

#[test]
fn an_initramfs_is_not_put_into_another() {
    use Severity::*;
    let script = |line: &str| format!("#!ipxe\nkernel vmlinuz panic=1\n{line}\nboot\n");
    for bad in [
        "initrd initrd.img initrd",
        "initrd signature initramfs",
        "initrd sub/a%20b x",
        "initrd https://a/initrd.img initrd.img",
    ] {
        assert_one(&script(bad), "FG049", Warning);
    }
    for good in [
        "initrd initrd.img",
        "initrd initrd.img /boot/initrd.img",
        "initrd signature x",
        "initrd https://a/ca.crt ca.crt",
        "initrd initrd.img\ninitrd sub/a%20b firmware",
    ] {
        assert_clean(&script(good));
    }
    assert_clean("#!ipxe\nkernel https://a/wimboot\ninitrd initrd.img boot.wim\nboot\n");
}

#[test]
fn the_files_that_a_script_names_are_known() {
    let script =
        b"#!ipxe\nkernel ./a%20b x\ninitrd ${x}\ninitrd https://a/b\nchain sub/../c || boot\n";
    let named: Vec<String> = names(script).into_iter().collect();
    assert_eq!(named, ["a b", "c"]);
    assert!(names(b"no script").is_empty());
}
