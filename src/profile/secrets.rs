//! The lines `NAME=VALUE` of secrets: the form that an operator writes them in and that a boot reads
//! them in, and the names that are farmgate's own. Pure.

/// Origin of the boot host.
pub const BOOT_URL: &str = "FARMGATE_URL";
/// Base64 of the DER of the CA that issued the boot host's certificate.
pub const BOOT_CA: &str = "FARMGATE_CA";
/// The boot's token: with it the agent acknowledges, reports and pulls images.
pub const BOOT_TOKEN: &str = "FARMGATE_TOKEN";
/// The gateway's name.
pub const GATEWAY: &str = "FARMGATE_GATEWAY";
/// The number of the generation that boots.
pub const GENERATION: &str = "FARMGATE_GENERATION";
/// The gateway's bucket, and the key for it; empty where it has none.
pub const S3_ENDPOINT: &str = "S3_ENDPOINT";
/// See [`S3_ENDPOINT`].
pub const S3_REGION: &str = "S3_REGION";
/// See [`S3_ENDPOINT`].
pub const S3_BUCKET: &str = "S3_BUCKET";
/// See [`S3_ENDPOINT`].
pub const S3_ACCESS_KEY_ID: &str = "S3_ACCESS_KEY_ID";
/// See [`S3_ENDPOINT`].
pub const S3_ACCESS_KEY: &str = "S3_ACCESS_KEY";

/// Beginnings of the names above, and of those to come: an operator's names have others.
pub const RESERVED: [&str; 2] = ["FARMGATE_", "S3_"];

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// It is empty or a comment.
    Nothing,
    /// A name and its value, as they stand: whether they fit is for the reader to say.
    Secret(&'a str, &'a str),
    /// It has no `=`.
    Strange,
}

impl<'a> Line<'a> {
    /// Reads a line without its line feed.
    pub fn parse(line: &'a str) -> Self {
        if line.trim().is_empty() || line.starts_with('#') {
            return Self::Nothing;
        }
        line.split_once('=').map_or(Self::Strange, |(name, value)| Self::Secret(name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_secrets_comments_or_strange() {
        assert_eq!(Line::parse("A=b=c "), Line::Secret("A", "b=c "));
        assert_eq!(Line::parse("A="), Line::Secret("A", ""));
        for nothing in ["", " \t\r", "# A=b", "#"] {
            assert_eq!(Line::parse(nothing), Line::Nothing, "{nothing:?}");
        }
        for strange in ["A", " # no comment"] {
            assert_eq!(Line::parse(strange), Line::Strange, "{strange:?}");
        }
    }

    #[test]
    fn our_own_names_are_reserved() {
        for name in [
            BOOT_URL,
            BOOT_CA,
            BOOT_TOKEN,
            GATEWAY,
            GENERATION,
            S3_ENDPOINT,
            S3_REGION,
            S3_BUCKET,
            S3_ACCESS_KEY_ID,
            S3_ACCESS_KEY,
        ] {
            assert!(RESERVED.iter().any(|reserved| name.starts_with(reserved)), "{name}");
        }
    }
}
