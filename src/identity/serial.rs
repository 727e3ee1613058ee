//! Serial numbers of certificates (RFC 5280, section 4.1.2.2). Equal integers are equal values.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

/// Serial number of a certificate. Two encodings of one integer are equal.
///
/// Shown as hex digits, with a `-` before a negative number. RFC 5280 forbids negative numbers, but
/// some CAs issued them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Serial {
    negative: bool,
    /// Big-endian, without leading zeros. Zero is one zero byte.
    magnitude: Vec<u8>,
}

impl Serial {
    /// Reads the content of a DER INTEGER (X.690, section 8.3), which is in two's complement. Empty
    /// content counts as zero.
    pub fn from_der(contents: &[u8]) -> Self {
        if contents.first().is_none_or(|first| first & 0x80 == 0) {
            return Self::positive(contents);
        }
        let mut magnitude: Vec<u8> = contents.iter().map(|byte| !byte).collect();
        for byte in magnitude.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
        Self { negative: true, ..Self::positive(&magnitude) }
    }

    fn positive(bytes: &[u8]) -> Self {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let digits = &bytes[zeros..];
        let magnitude = if digits.is_empty() { vec![0] } else { digits.to_vec() };
        Self { negative: false, magnitude }
    }

    /// Negative numbers cannot be in a CRL that farmgate signs.
    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// The absolute value, big-endian.
    pub fn magnitude(&self) -> &[u8] {
        &self.magnitude
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        write!(f, "{sign}{}", hex::encode(&self.magnitude))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

impl FromStr for Serial {
    type Err = hex::FromHexError;

    /// Reads the text that `Display` writes. Older versions wrote an empty text for zero.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (digits, negative) = match text.strip_prefix('-') {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        let positive = Self::positive(&hex::decode(digits)?);
        let negative = negative && positive.magnitude != [0];
        Ok(Self { negative, ..positive })
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> Self {
        serial.to_string()
    }
}

impl TryFrom<String> for Serial {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Zero used to be two different values, and -128 used to equal 128.
        #[test]
        fn one_integer_is_one_serial(a in any::<i32>(), b in -300i32..300, pad in 0usize..3) {
            let der = |number: i32| {
                let sign = if number < 0 { 0xff } else { 0 };
                [vec![sign; pad], number.to_be_bytes().to_vec()].concat()
            };
            for (one, two) in [(a, b), (b, a), (a, a), (b, b), (b, -b)] {
                let (x, y) = (Serial::from_der(&der(one)), Serial::from_der(&der(two)));
                prop_assert_eq!(x == y, one == two);
                prop_assert_eq!(x.is_negative(), one < 0);
                prop_assert_eq!(x.to_string().parse::<Serial>().unwrap(), x.clone());
                let digits = x.magnitude().iter().fold(0i64, |sum, byte| sum << 8 | i64::from(*byte));
                prop_assert_eq!(digits, i64::from(one).abs());
            }
        }
    }

    #[test]
    fn zero_is_zero_in_whatever_form() {
        let zero = Serial::from_der(&[0]);
        assert_eq!(zero.to_string(), "00");
        for text in ["", "00", "-00", "0000"] {
            assert_eq!(text.parse::<Serial>().unwrap(), zero, "{text:?}");
        }
        assert_eq!(Serial::from_der(&[]), zero);
        assert_eq!(Serial::from_der(&[0, 0x80]).to_string(), "80");
        assert_eq!(Serial::from_der(&[0x80]).to_string(), "-80");
        assert!("0g".parse::<Serial>().is_err());
    }
}
