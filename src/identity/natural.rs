//! The order in which people list names: `lab-2` before `lab-10`. Pure.

use std::cmp::Ordering;

/// Compares two names with runs of digits as numbers. Names that are equal in this sense, such as
/// `lab-1` and `lab-01`, are ordered as text, so that only identical ones are equal.
pub fn natural_cmp(one: &str, other: &str) -> Ordering {
    let (mut a, mut b) = (one.as_bytes(), other.as_bytes());
    loop {
        let order = match (a.first(), b.first()) {
            (None, None) => return one.cmp(other),
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (x, y) = (number(&mut a), number(&mut b));
                x.len().cmp(&y.len()).then_with(|| x.cmp(y))
            }
            (x, y) => {
                (a, b) = (a.get(1..).unwrap_or_default(), b.get(1..).unwrap_or_default());
                x.cmp(&y)
            }
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Takes the digits at the start of `text`, and returns them without leading zeros.
fn number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    &digits[digits.iter().take_while(|byte| **byte == b'0').count()..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_count_as_numbers() {
        let sorted = [
            "",
            "-1",
            "0",
            "1",
            "2",
            "10",
            "10-a",
            "10a",
            "lab",
            "lab-1",
            "lab-01",
            "lab-2",
            "lab-10",
            "lab-10-b",
            "lab-10-c",
            "lab-99999999999999999999999",
            "lab1",
            "labs",
        ];
        let mut names = sorted.to_vec();
        names.reverse();
        names.sort_by(|a, b| natural_cmp(a, b));
        // Only ties are ordered as text, and there a zero comes first.
        let ties = |name: &&str| if *name == "lab-01" { "lab-1" } else { *name }.to_owned();
        assert_eq!(
            names.iter().map(ties).collect::<Vec<_>>(),
            sorted.iter().map(ties).collect::<Vec<_>>()
        );
        assert_eq!(natural_cmp("lab-01", "lab-1"), Ordering::Less);
    }

    proptest! {
        #[test]
        fn it_is_a_total_order(
            a in "[0-2a-]{0,6}", b in "[0-2a-]{0,6}", c in "[0-2a-]{0,6}",
        ) {
            let cmp = natural_cmp;
            prop_assert_eq!(cmp(&a, &b), cmp(&b, &a).reverse());
            prop_assert_eq!(cmp(&a, &b).is_eq(), a == b);
            if cmp(&a, &b).is_le() && cmp(&b, &c).is_le() {
                prop_assert!(cmp(&a, &c).is_le());
            }
        }
    }
}
