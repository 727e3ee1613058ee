//! Templates of secrets: their fields, and how they are filled in. Pure.

use std::ops::Range;

/// Fills in a secrets template. `${name}` and `$name` are replaced if `value` knows the name, `$$`
/// becomes `$`, and everything else stays byte for byte. These are the rules of Python's
/// `string.Template.safe_substitute`, for which existing templates were written.
pub fn render<'v>(template: &[u8], value: impl Fn(&str) -> Option<&'v str>) -> Vec<u8> {
    let mut rendered = Vec::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = memchr::memchr(b'$', rest) {
        rendered.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let (len, text) = substitute(rest, &value).unwrap_or((1, "$"));
        rendered.extend_from_slice(text.as_bytes());
        rest = &rest[len..];
    }
    rendered.extend_from_slice(rest);
    rendered
}

/// Names in every template, besides those of the gateway's bucket.
pub const NAMES: [&str; 8] = [
    "gateway",
    "gateway_name",
    "fingerprint",
    "client_cert_fingerprint",
    "generation",
    BOOT_URL,
    BOOT_CA,
    BOOT_TOKEN,
];

/// Name of the boot host's address, as the gateway reached it.
pub const BOOT_URL: &str = "boot_url";

/// Name of the certificate of the boot host's CA: base64 of its DER, on one line.
pub const BOOT_CA: &str = "boot_ca";

/// Name of the boot's token; empty if the boot could not be recorded.
pub const BOOT_TOKEN: &str = "boot_token";

/// The places of names that `known` does not know; they stay unchanged.
pub fn unknown_names(template: &[u8], known: impl Fn(&str) -> bool) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = memchr::memchr(b'$', &template[at..]) {
        at += next;
        let rest = &template[at..];
        // Every name gets a value here, so that it is found.
        let len = substitute(rest, |_| Some("")).map_or(1, |(len, _)| len);
        let name = &rest[..len];
        let bare = name.strip_prefix(b"${").and_then(|rest| rest.strip_suffix(b"}"));
        let bare = bare.or(name.strip_prefix(b"$")).unwrap_or_default();
        let text = std::str::from_utf8(bare).unwrap_or_default();
        if identifier_len(bare) > 0 && !known(text) {
            found.push(at..at + len);
        }
        at += len;
    }
    found
}

/// The replacement of the `$` at the beginning of `rest`, and the bytes that it replaces.
fn substitute<'v>(
    rest: &[u8],
    value: impl Fn(&str) -> Option<&'v str>,
) -> Option<(usize, &'v str)> {
    if rest.get(1) == Some(&b'$') {
        return Some((2, "$"));
    }
    let braced = rest.get(1) == Some(&b'{');
    let start = if braced { 2 } else { 1 };
    let len = identifier_len(rest.get(start..)?);
    let name = std::str::from_utf8(rest.get(start..start + len)?).ok()?;
    if braced && rest.get(start + len) != Some(&b'}') {
        return None;
    }
    Some((start + len + usize::from(braced), value(name)?))
}

fn identifier_len(text: &[u8]) -> usize {
    match text.first() {
        Some(first) if first.is_ascii_alphabetic() || *first == b'_' => {
            text.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(template: &str) -> String {
        let value = |name: &str| match name {
            "key" => Some("K"),
            "s3_bucket_name" => Some("B$key"),
            _ => None,
        };
        String::from_utf8(render(template.as_bytes(), value)).unwrap()
    }

    #[test]
    fn known_names_are_replaced_and_nothing_else() {
        for (template, expected) in [
            ("a=$key b=${key}\n", "a=K b=K\n"),
            ("$keys ${keys} $Key", "$keys ${keys} $Key"),
            ("$key_ $key-", "$key_ K-"),
            ("$$key $$$key", "$key $K"),
            ("${net0/mac} ${key:hex} ${ key}", "${net0/mac} ${key:hex} ${ key}"),
            ("$", "$"),
            ("${", "${"),
            ("${key", "${key"),
            ("$1 $é ${}", "$1 $é ${}"),
            // Values are not expanded again.
            ("${s3_bucket_name}", "B$key"),
        ] {
            assert_eq!(filled(template), expected, "{template}");
        }
    }

    /// A misspelled name used to reach the gateway unreplaced and unreported.
    #[test]
    fn names_that_nothing_fills_in_are_found() {
        let known = |name: &str| name == "key";
        for (template, expected) in [
            ("a=$key b=${key}\n", &[][..]),
            ("$$word $$ $ ${ ${} $1 ${net0/mac} $é", &[]),
            ("a=$kye b=${Key}", &[2..6, 9..15]),
            ("$$$x$key$y", &[2..4, 8..10]),
        ] {
            assert_eq!(unknown_names(template.as_bytes(), known), expected, "{template}");
        }
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_stays(template in "[$]{0,3}[{]?[a-c]{0,2}[}]?[$]?[{]?[a-c]?[}]?") {
            let value = |name: &str| (name == "a").then_some("");
            let found = unknown_names(template.as_bytes(), |name| name == "a");
            let filled = |name: &str| value(name).or((!name.is_empty()).then_some("!"));
            let with_marks = render(template.as_bytes(), filled);
            let marks = with_marks.iter().filter(|byte| **byte == b'!').count();
            prop_assert_eq!(found.len(), marks);
        }

        #[test]
        fn without_names_only_doubled_dollars_change(template in proptest::collection::vec(any::<u8>(), 0..200)) {
            let doubled: Vec<u8> =
                template.iter().flat_map(|b| if *b == b'$' { vec![b'$'; 2] } else { vec![*b] }).collect();
            prop_assert_eq!(render(&doubled, |_| Some("x")), template);
        }
    }
}
