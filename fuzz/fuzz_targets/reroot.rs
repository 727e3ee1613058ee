//! iPXE binaries: no panic and bounded memory, and what is re-rooted trusts the
//! new root alone.
#![no_main]

use farmgate::identity::Fingerprint;
use farmgate::ipxe::Binary;
use farmgate::ipxe::Kind;
use farmgate::ipxe::STOCK_ROOT;
use farmgate::ipxe::reroot;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, [u8; 32], Vec<u8>)| {
    let (efi, root, file) = input;
    let kind = if efi { Kind::Efi } else { Kind::Bios };
    let root = Fingerprint::from_bytes(root);
    if let Ok(done) = reroot(kind, &file, &root) {
        let read = Binary::read(kind, &done).expect("what was re-rooted can be read");
        assert_eq!((read.count_root(&root), read.count_root(&STOCK_ROOT)), (1, 0));
    }
});
