//! Names of buckets and keys at the provider. Pure.

use sha2::Digest;
use sha2::Sha256;

/// The prefix of every bucket that is made here. No provider reserves it, as B2 does `b2-`.
const PREFIX: &str = "farmgate-";

/// Longest name of a bucket: B2 allows 63, but 50 in its older documentation.
const MAX_LEN: usize = 50;

/// Hex digits of the digest that replace the end of a long name.
const DIGEST_LEN: usize = 16;

/// Hex digits in a key's name: of the boot host, and of the part that is unique on it.
const PART_LEN: usize = 8;

/// The name of a gateway's bucket, from the id of its record: `farmgate-` and the id, which ends in
/// eight hex digits. Of ids longer than 41 characters it is the beginning and 16 digits of the
/// SHA-256. The two kinds never collide: the ninth character from the end is a hyphen in the first
/// and a digit in the second.
pub fn bucket_name(gateway_id: &str) -> String {
    let whole = format!("{PREFIX}{gateway_id}");
    if whole.len() <= MAX_LEN {
        return whole;
    }
    let digest = hex::encode(Sha256::digest(gateway_id));
    let head = &whole[..MAX_LEN - DIGEST_LEN - 1];
    format!("{}-{}", head.trim_end_matches('-'), &digest[..DIGEST_LEN])
}

/// The name of the bucket that valve-infra's ipxe-boot-server made for a certificate.
/// nginx gave it the SHA-1 of the certificate as its fingerprint.
pub fn valve_infra_name(server_name: &str, fingerprint: &str) -> String {
    let mut name = format!("ipxe-{server_name}-{fingerprint}");
    name.truncate(MAX_LEN);
    name
}

/// The name of a key: bucket, boot host, and eight digits that are unique on that host. A key whose
/// secret was lost on the way is found by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyName;

impl KeyName {
    /// The name of a new key. `host` and `unique` are eight hex digits each.
    pub fn new_for(gateway_id: &str, host: &str, unique: &str) -> String {
        format!("{}-{host}-{unique}", bucket_name(gateway_id))
    }

    /// The boot host that made the key called `name`, if the key is for this gateway.
    pub fn host<'a>(name: &'a str, gateway_id: &str) -> Option<&'a str> {
        let rest = name.strip_prefix(&bucket_name(gateway_id))?.strip_prefix('-')?;
        let (host, unique) = rest.split_once('-')?;
        let part = |part: &str| {
            part.len() == PART_LEN && part.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        (part(host) && part(unique)).then_some(host)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_valve_infra_are_those_that_it_made() {
        let sha1 = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(valve_infra_name("farm", sha1), format!("ipxe-farm-{sha1}"));
        // 25 characters leave 19 digits.
        let long = valve_infra_name("abcdefghijklmnopqrstuvwxy", sha1);
        assert_eq!(long, "ipxe-abcdefghijklmnopqrstuvwxy-0123456789abcdef012");
    }

    #[test]
    fn a_key_is_told_from_that_of_a_gateway_with_a_longer_name() {
        let name = KeyName::new_for("lab-1-0a1b2c3d-11111111", "aaaaaaaa", "bbbbbbbb");
        assert_eq!(KeyName::host(&name, "lab-1-0a1b2c3d-11111111"), Some("aaaaaaaa"));
        assert_eq!(KeyName::host(&name, "lab-1-0a1b2c3d"), None);
        assert_eq!(KeyName::host("farmgate-lab-1-0a1b2c3d", "lab-1-0a1b2c3d"), None);
    }

    fn id() -> impl Strategy<Value = String> {
        "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?-[0-9a-f]{8}"
    }

    proptest! {
        #[test]
        fn every_provider_takes_the_names(id in id()) {
            let name = bucket_name(&id);
            prop_assert!((6..=50).contains(&name.len()), "{}", name);
            prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            prop_assert!(!name.ends_with('-') && !name.starts_with("b2-"));
            let key = KeyName::new_for(&id, "01234567", "89abcdef");
            prop_assert!(key.len() <= 100);
            prop_assert_eq!(KeyName::host(&key, &id), Some("01234567"));
        }

        #[test]
        fn no_two_gateways_share_a_name(a in id(), b in id(), cut in 0usize..40) {
            prop_assert_eq!(bucket_name(&a) == bucket_name(&b), a == b);
            // Even if they begin alike.
            let twin = format!("{}{}", &a[..cut.min(a.len())], b);
            prop_assert_eq!(bucket_name(&a) == bucket_name(&twin), a == twin);
        }
    }
}
