//! Reads from a block device's first bytes which file system it holds. Pure.

/// Bytes that are needed from the start of a device.
pub(super) const HEAD: usize = 2048;

const SUPERBLOCK: usize = 1024;
const MAGIC: usize = SUPERBLOCK + 0x38;
const UUID: usize = SUPERBLOCK + 0x68;
const LABEL: usize = SUPERBLOCK + 0x78;
const LABEL_LENGTH: usize = 16;

/// A file system of the ext family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ext {
    pub(super) label: Vec<u8>,
    /// In its usual form.
    pub(super) uuid: String,
}

pub(super) fn read(head: &[u8]) -> Option<Ext> {
    if head.get(MAGIC..MAGIC + 2)? != [0x53, 0xef] {
        return None;
    }
    let label = head.get(LABEL..LABEL + LABEL_LENGTH)?;
    let label = label.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
    let uuid = hex::encode(head.get(UUID..UUID + 16)?);
    let uuid = [&uuid[..8], &uuid[8..12], &uuid[12..16], &uuid[16..20], &uuid[20..]].join("-");
    Some(Ext { label, uuid })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn label_and_uuid_are_read() {
        let mut head = [0; HEAD];
        assert_eq!(read(&head), None);
        head[MAGIC..MAGIC + 2].copy_from_slice(&[0x53, 0xef]);
        head[LABEL..LABEL + 5].copy_from_slice(b"CACHE");
        for (at, byte) in (1u8..).enumerate().take(16) {
            head[UUID + at] = byte;
        }
        let found = read(&head).unwrap();
        assert_eq!(found.label, b"CACHE");
        assert_eq!(found.uuid, "01020304-0506-0708-090a-0b0c0d0e0f10");
        assert_eq!(read(&head[..MAGIC + 1]), None);
    }

    proptest! {
        #[test]
        fn no_device_panics(head in prop::collection::vec(any::<u8>(), 0..HEAD + 1)) {
            read(&head);
        }
    }
}
