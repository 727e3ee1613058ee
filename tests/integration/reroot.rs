//! Re-rooting the iPXE binaries that Debian ships.

use std::borrow::Cow;
use std::path::PathBuf;

use farmgate::identity::Fingerprint;
use farmgate::ipxe::Binary;
use farmgate::ipxe::Kind;
use farmgate::ipxe::PackedError;
use farmgate::ipxe::RerootError;
use farmgate::ipxe::STOCK_ROOT;
use farmgate::ipxe::reroot;

/// Debian's iPXE. A test that cannot find it fails: it must not pass unseen.
pub(crate) fn stock_dir() -> PathBuf {
    let dir = std::env::var_os("FARMGATE_IPXE").map_or("/usr/lib/ipxe".into(), PathBuf::from);
    assert!(
        dir.join("ipxe.lkrn").exists(),
        "no ipxe.lkrn in {}: install Debian's package ipxe (trixie or later), or set \
         FARMGATE_IPXE to the folder that holds it",
        dir.display()
    );
    dir
}

fn stock(kind: Kind) -> Vec<u8> {
    let name = if kind == Kind::Bios { "ipxe.lkrn" } else { "ipxe.efi" };
    std::fs::read(stock_dir().join(name)).unwrap()
}

const KINDS: [Kind; 2] = [Kind::Bios, Kind::Efi];

#[test]
fn the_result_holds_our_root_alone_and_differs_in_nothing_else() {
    let root = Fingerprint::of_der(b"some CA");
    for kind in KINDS {
        let before = stock(kind);
        let after = reroot(kind, &before, &root).unwrap();
        assert!(after.len().abs_diff(before.len()) < 1024);
        let (before, after) =
            (Binary::read(kind, &before).unwrap(), Binary::read(kind, &after).unwrap());
        assert_eq!((before.count_root(&STOCK_ROOT), before.count_root(&root)), (1, 0));
        assert_eq!((after.count_root(&STOCK_ROOT), after.count_root(&root)), (0, 1));
        let different =
            before.payload().iter().zip(after.payload()).filter(|(a, b)| a != b).count();
        assert!(different <= 32, "{different} bytes of the payload differ");
        assert!(before.has_https());
        assert_eq!(before.version(), after.version());
        assert!(before.version().is_some());
    }
}

/// iPXE's branch filter changes a root that is written into the packed bytes
/// and holds a call or jump to somewhere near: about one in twelve thousand.
#[test]
fn a_root_that_looks_like_machine_code_arrives_unchanged() {
    let mut jumps = [0; 32];
    for (at, jump) in jumps.chunks_exact_mut(5).enumerate() {
        jump.copy_from_slice(&[0xe8 + (at as u8 & 1), 0x10 + at as u8, 0x20, 0, 0]);
    }
    jumps[31] = 0xe8; // reaches over the root's end
    for root in [jumps, [0xe8; 32], [0xe9; 32]].map(Fingerprint::from_bytes) {
        let before = stock(Kind::Bios);
        let after = reroot(Kind::Bios, &before, &root).unwrap();
        assert_eq!(Binary::read(Kind::Bios, &after).unwrap().count_root(&root), 1);
    }
}

#[test]
fn the_same_input_gives_the_same_bytes_and_a_second_time_changes_nothing() {
    let root = Fingerprint::of_der(b"some CA");
    for kind in KINDS {
        let stock = stock(kind);
        let once = reroot(kind, &stock, &root).unwrap();
        assert!(matches!(once, Cow::Owned(_)));
        assert_eq!(once, reroot(kind, &stock, &root).unwrap());
        let twice = reroot(kind, &once, &root).unwrap();
        assert!(matches!(twice, Cow::Borrowed(_)), "built with TRUST= looks the same");
        assert_eq!(once, twice);
    }
}

#[test]
fn an_ipxe_that_trusts_another_root_is_refused() {
    let (own, other) = (Fingerprint::of_der(b"own"), Fingerprint::of_der(b"other"));
    for kind in KINDS {
        let theirs = reroot(kind, &stock(kind), &other).unwrap().into_owned();
        assert!(matches!(reroot(kind, &theirs, &own), Err(RerootError::NoRoot)));
        assert!(reroot(kind, &theirs, &other).is_ok());
    }
    let mut twice = stock(Kind::Efi);
    twice.extend_from_slice(STOCK_ROOT.as_bytes());
    assert!(matches!(
        reroot(Kind::Efi, &twice, &own),
        Err(RerootError::SeveralRoots { stock: 2, own: 0 })
    ));
}

#[test]
fn damage_is_seen_before_anything_is_touched() {
    let root = Fingerprint::of_der(b"some CA");
    let whole = stock(Kind::Bios);
    assert!(reroot(Kind::Bios, &whole, &root).is_ok());
    let mut flipped = whole.clone();
    flipped[200_000] ^= 1;
    let refused = reroot(Kind::Bios, &flipped, &root).unwrap_err().to_string();
    assert_eq!(refused, PackedError::WrongCrc.to_string());
    // What is left may hold something that looks like a payload, or not.
    let refused = reroot(Kind::Bios, &whole[..200_000], &root).unwrap_err().to_string();
    assert!(
        [PackedError::WrongCrc, PackedError::NoStream].iter().any(|e| e.to_string() == refused)
    );
    assert!(reroot(Kind::Efi, &whole, &root).is_err());
    assert!(reroot(Kind::Bios, &stock(Kind::Efi), &root).is_err());
    assert!(reroot(Kind::Bios, &[], &root).is_err());
}
