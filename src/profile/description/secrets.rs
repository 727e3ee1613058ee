//! The file `secrets` beside a `gateway.toml`: lines `NAME=VALUE`, which the description names as
//! `secret:NAME`. No message holds a value.

use std::collections::BTreeMap;
use std::ops::Range;

use super::problem::Problem;
use crate::fleet::render;
use crate::ipxe::script::codes;
use crate::profile::secrets::BOOT_CA;
use crate::profile::secrets::BOOT_TOKEN;
use crate::profile::secrets::BOOT_URL;
use crate::profile::secrets::GATEWAY;
use crate::profile::secrets::GENERATION;
use crate::profile::secrets::Line;
use crate::profile::secrets::RESERVED;
use crate::profile::secrets::S3_ACCESS_KEY;
use crate::profile::secrets::S3_ACCESS_KEY_ID;
use crate::profile::secrets::S3_BUCKET;
use crate::profile::secrets::S3_ENDPOINT;
use crate::profile::secrets::S3_REGION;

/// Beginning of a value that is the name of a secret.
pub(super) const REFERENCE: &str = "secret:";

/// Most bytes of a name.
const MAX_NAME: usize = 64;

/// Farmgate's own lines, which every boot gets: what the agent needs to talk to the boot host and
/// to the gateway's bucket.
pub fn own_lines() -> String {
    let lines = [
        (BOOT_URL, "boot_url"),
        (BOOT_CA, "boot_ca"),
        (BOOT_TOKEN, "boot_token"),
        (GATEWAY, "gateway_name"),
        (GENERATION, "generation"),
        (S3_ENDPOINT, "s3_endpoint"),
        (S3_REGION, "s3_region"),
        (S3_BUCKET, "s3_bucket_name"),
        (S3_ACCESS_KEY_ID, "s3_access_key_id"),
        (S3_ACCESS_KEY, "s3_access_key"),
    ];
    lines.map(|(name, field)| format!("{name}=${{{field}}}\n")).concat()
}

/// The lines of an operator's `secrets`.
#[derive(Debug, Default)]
pub(super) struct Secrets<'a> {
    pub(super) lines: BTreeMap<&'a str, &'a str>,
}

impl<'a> Secrets<'a> {
    /// Reads the file. What is no line of a secret is a problem.
    pub(super) fn parse(source: &'a [u8]) -> (Self, Vec<Problem>) {
        let mut secrets = Self::default();
        let mut problems = Vec::new();
        let text = match std::str::from_utf8(source) {
            Ok(text) => text,
            Err(error) => {
                let at = error.valid_up_to();
                let what = "the file is not UTF-8 from here on";
                problems.push(Problem::error(
                    codes::WRONG_VALUE,
                    &(at..at + 1),
                    what,
                    "encode it, for example in base64",
                ));
                return (secrets, problems);
            }
        };
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let span = at..at + line.trim_end_matches('\n').len();
            at += line.len();
            secrets.line(line.trim_end_matches('\n'), &span, &mut problems);
        }
        (secrets, problems)
    }

    fn line(&mut self, line: &'a str, span: &Range<usize>, problems: &mut Vec<Problem>) {
        let mut error = |code, what: &str, help: &str| {
            problems.push(Problem::error(code, span, what, help));
        };
        let help =
            "beside a gateway.toml each line of `secrets` is NAME=VALUE; `#` begins a comment";
        let (name, value) = match Line::parse(line) {
            Line::Nothing => return,
            Line::Secret(name, value) => (name, value),
            Line::Strange => return error(codes::WRONG_VALUE, "this line has no `=`", help),
        };
        if !is_name(name) {
            return error(
                codes::WRONG_VALUE,
                "this line does not begin with a name and `=`",
                "a name is a letter, then letters, digits, `_` and `-`, with no space around it",
            );
        }
        if let Some(reserved) = RESERVED.iter().find(|reserved| name.starts_with(**reserved)) {
            let what = format!("names that begin with `{reserved}` belong to farmgate");
            return error(codes::TWICE, &what, "choose another name");
        }
        if value.contains(|c: char| c.is_control() && c != '\t') {
            return error(
                codes::WRONG_VALUE,
                &format!("the value of `{name}` holds a control character"),
                "save the file with Unix line ends, and encode binary values in base64",
            );
        }
        if self.lines.insert(name, value).is_some() {
            error(codes::TWICE, &format!("there is a `{name}` already"), "remove one of the two");
        }
    }
}

/// The value as a boot gets it, as far as it depends on no gateway.
pub(super) fn as_leased(value: &str) -> String {
    String::from_utf8_lossy(&render(value.as_bytes(), |_| None)).into_owned()
}

/// Says whether a secret can be called so.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.len() <= MAX_NAME
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}
