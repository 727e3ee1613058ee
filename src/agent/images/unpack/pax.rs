//! Records of pax headers: `LENGTH KEY=VALUE\n`. The crate `tar` splits them at line ends, which
//! values (capabilities of a file, for one) may have. Pure.

use std::str;

/// Facts of pax records about the next entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub path: Option<Vec<u8>>,
    pub linkpath: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<Time>,
    /// Attributes in the order of the archive.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Keys `GNU.sparse.*` without the prefix, in the order of the archive.
    pub sparse: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A time since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Time {
    pub seconds: i64,
    pub nanoseconds: u32,
}

const XATTR: &[u8] = b"SCHILY.xattr.";
const SPARSE: &[u8] = b"GNU.sparse.";

impl Records {
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, &'static str> {
        let mut records = Self::default();
        while !bytes.is_empty() {
            let (key, value, rest) = record(bytes).ok_or("it has an invalid pax header")?;
            records.set(key, value).ok_or("it has an invalid value in a pax header")?;
            bytes = rest;
        }
        Ok(records)
    }

    /// An empty value takes back an earlier one.
    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.path = (!value.is_empty()).then(|| value.to_vec()),
            b"linkpath" => self.linkpath = (!value.is_empty()).then(|| value.to_vec()),
            b"size" => self.size = number(value)?,
            b"uid" => self.uid = number(value)?,
            b"gid" => self.gid = number(value)?,
            b"mtime" => self.mtime = time(value)?,
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                } else if let Some(name) = key.strip_prefix(SPARSE) {
                    self.sparse.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Some(())
    }
}

/// Key and value of the first record, and what follows it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length: usize = str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    if length > bytes.len() || length < space + 2 {
        return None;
    }
    let (record, rest) = bytes.split_at(length);
    let record = record[space + 1..].strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], rest))
}

/// `Some(None)` for an empty value.
pub(super) fn number(value: &[u8]) -> Option<Option<u64>> {
    match value {
        [] => Some(None),
        _ => str::from_utf8(value).ok()?.parse().ok().map(Some),
    }
}

/// Seconds with a fraction: `1718000000.25`.
fn time(value: &[u8]) -> Option<Option<Time>> {
    if value.is_empty() {
        return Some(None);
    }
    let text = str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let mut time = Time { seconds, nanoseconds: digits.parse().ok()? };
    if whole.starts_with('-') && time.nanoseconds > 0 {
        time = Time {
            seconds: seconds.checked_sub(1)?,
            nanoseconds: 1_000_000_000 - time.nanoseconds,
        };
    }
    Some(Some(time))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(key: &[u8], value: &[u8]) -> Vec<u8> {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length.to_string().len() + rest != length {
            length += 1;
        }
        [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
    }

    #[test]
    fn values_may_have_any_byte() {
        let capability = b"\x01\0\0\x02\x0a\n\0=\0\0\0\0\0\0\0\0\0\0\0\0";
        let bytes = [
            written(b"SCHILY.xattr.security.capability", capability),
            written(b"path", b"a\nb"),
            written(b"mtime", b"12.5"),
            written(b"size", b"7"),
            written(b"size", b""),
        ];
        let records = Records::parse(&bytes.concat()).unwrap();
        assert_eq!(records.xattrs, [(b"security.capability".to_vec(), capability.to_vec())]);
        assert_eq!(records.path.unwrap(), b"a\nb");
        assert_eq!(records.mtime, Some(Time { seconds: 12, nanoseconds: 500_000_000 }));
        assert_eq!(records.size, None);
    }

    #[test]
    fn invalid_records_are_refused() {
        for bad in
            [&b"x"[..], b"5 a=", b"0 a=b\n", b"99 a=b\n", b"6 a=b\0", b"6 abc\n", b"11 size=-1\n"]
        {
            assert!(Records::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(time(b"-1.25"), Some(Some(Time { seconds: -2, nanoseconds: 750_000_000 })));
        assert_eq!(time(b"1.x"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in any::<Vec<u8>>(), noise in any::<Vec<u8>>()) {
            let records = Records::parse(&written(b"SCHILY.xattr.user.a", &value)).unwrap();
            prop_assert_eq!(&records.xattrs, &[(b"user.a".to_vec(), value)]);
            let _ = Records::parse(&noise);
        }
    }
}
