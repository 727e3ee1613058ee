/// Fills in a secrets template: `${name}` and `$name` of a name that `value` knows
/// are replaced, `$$` is `$`, and all else stays byte for byte. The rules are those
/// of Python's `string.Template.safe_substitute`, which the templates in the field
/// were written for.
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

/// What stands for the beginning of `rest`, a `$`, and how many bytes of it.
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
            // What was filled in is not read again.
            ("${s3_bucket_name}", "B$key"),
        ] {
            assert_eq!(filled(template), expected, "{template}");
        }
    }

    proptest! {
        #[test]
        fn without_names_only_doubled_dollars_change(template in proptest::collection::vec(any::<u8>(), 0..200)) {
            let doubled: Vec<u8> =
                template.iter().flat_map(|b| if *b == b'$' { vec![b'$'; 2] } else { vec![*b] }).collect();
            prop_assert_eq!(render(&doubled, |_| Some("x")), template);
        }
    }
}
