//! Images: no panic whatever they hold; what is sealed into one is read back, and
//! touches nothing but the slot.
#![no_main]

use farmgate::ipxe::slot;
use farmgate::ipxe::slot::Contents;
use farmgate::iso;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<u8>, Vec<u8>, Vec<u8>, u16)| {
    let (mut image, certificate, private_key, at) = input;
    let _ = slot::read(&image);
    let _ = iso::verify(&image, &iso::AtHand::default(), time::OffsetDateTime::UNIX_EPOCH);
    let at = usize::from(at).min(image.len());
    image.splice(at..at, slot::empty());
    let contents = Contents { certificate, private_key };
    if let Ok(sealed) = slot::seal(&image, &contents) {
        let place = slot::find(&image).expect("what can be sealed has a slot");
        assert_eq!(slot::read(&sealed), Ok(Some(contents)));
        assert_eq!(sealed[..place.start], image[..place.start]);
        assert_eq!(sealed[place.end..], image[place.end..]);
    }
});
