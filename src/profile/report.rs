//! The reports of a gateway's agent to the boot host, the body of `POST /boot/report/<token>` (JSON).
//! They come from a machine that may have gone bad: every text in them is foreign. Pure.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;

use crate::foreign::Foreign;
use crate::foreign::harmless_lines;

/// Longest report in bytes.
pub const MAX_REPORT: usize = 128 * 1024;

/// Most bytes of the console in a report.
pub const MAX_CONSOLE: usize = 64 * 1024;

/// One report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// Milliseconds since the kernel started.
    pub uptime: u64,
    /// The step.
    #[serde(flatten)]
    pub step: Step,
}

/// Steps of the way from the kernel to a gateway that works. `T` is the type of its texts: the
/// agent writes them, and the boot host takes them as [`Foreign`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Step<T = String> {
    /// The network is up.
    Network {
        /// Address of the interface that reaches the boot host.
        address: T,
    },
    /// The clock is right.
    Time {
        /// `ntp`, `boot-host` or `clock`.
        source: T,
        /// Seconds that the clock was set forward.
        forward: u64,
    },
    /// The cache drive is mounted, or there is none.
    Drive {
        /// `cache`, `formatted` or `memory`.
        kind: T,
        /// Bytes of the file system.
        size: u64,
        /// Free bytes of it.
        free: u64,
        /// The reason why it is not the drive that was wanted.
        #[serde(default = "none", skip_serializing_if = "Option::is_none")]
        trouble: Option<T>,
    },
    /// A volume is ready.
    Volume {
        name: T,
        /// `pulled`, `last-copy` or `local`.
        kind: T,
        #[serde(default = "none", skip_serializing_if = "Option::is_none")]
        trouble: Option<T>,
    },
    /// An image is ready on the drive.
    Image {
        reference: T,
        digest: T,
        /// Bytes of its layers that came over the network.
        fetched: u64,
        /// Bytes of its layers that were on the drive.
        reused: u64,
    },
    /// A container was started.
    Started { container: T },
    /// Every container works: the boot is acknowledged with this.
    Healthy,
    /// A container ended, or does not answer. The agent goes on.
    Trouble { what: T },
    /// The boot failed, and the gateway restarts.
    Failed {
        what: T,
        /// Last lines of the console. The boot host keeps them apart from the step.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        console: String,
    },
    /// A step that only a later version knows.
    #[serde(other)]
    Other,
}

fn none<T>() -> Option<T> {
    None
}

impl<T> Step<T> {
    /// All names.
    pub const NAMES: [&str; 10] = [
        "network", "time", "drive", "volume", "image", "started", "healthy", "trouble", "failed",
        "other",
    ];

    /// Its name in a report.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Network { .. } => "network",
            Self::Time { .. } => "time",
            Self::Drive { .. } => "drive",
            Self::Volume { .. } => "volume",
            Self::Image { .. } => "image",
            Self::Started { .. } => "started",
            Self::Healthy => "healthy",
            Self::Trouble { .. } => "trouble",
            Self::Failed { .. } => "failed",
            Self::Other => "other",
        }
    }
}

impl Step {
    /// The step as the boot host keeps it, and the console of a failure.
    pub fn received(self) -> (Step<Foreign>, Option<String>) {
        let mut last_words = None;
        let step = match self {
            Self::Network { address } => Step::Network { address: address.into() },
            Self::Time { source, forward } => Step::Time { source: source.into(), forward },
            Self::Drive { kind, size, free, trouble } => {
                Step::Drive { kind: kind.into(), size, free, trouble: trouble.map(Foreign::from) }
            }
            Self::Volume { name, kind, trouble } => Step::Volume {
                name: name.into(),
                kind: kind.into(),
                trouble: trouble.map(Foreign::from),
            },
            Self::Image { reference, digest, fetched, reused } => {
                Step::Image { reference: reference.into(), digest: digest.into(), fetched, reused }
            }
            Self::Started { container } => Step::Started { container: container.into() },
            Self::Healthy => Step::Healthy,
            Self::Trouble { what } => Step::Trouble { what: what.into() },
            Self::Failed { what, console } => {
                last_words = Some(last(&console)).filter(|text| !text.is_empty());
                Step::Failed { what: what.into(), console: String::new() }
            }
            Self::Other => Step::Other,
        };
        (step, last_words)
    }
}

/// The end of a console, without what could harm a terminal.
fn last(console: &str) -> String {
    // A replaced character may be longer than the one before.
    let text = harmless_lines(console.trim_end()).into_owned();
    let mut from = text.len().saturating_sub(MAX_CONSOLE);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..].to_owned()
}

/// In words, for people.
impl fmt::Display for Step<Foreign> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let but = |f: &mut fmt::Formatter<'_>, trouble: &Option<Foreign>| match trouble {
            Some(trouble) => write!(f, ": {trouble}"),
            None => Ok(()),
        };
        match self {
            Self::Network { address } => write!(f, "network up, {address}"),
            Self::Time { source, forward: 0 } => write!(f, "time from {source}"),
            Self::Time { source, forward } => {
                write!(f, "time from {source}, set forward by {forward} s")
            }
            Self::Drive { kind, size, free, trouble } => {
                write!(f, "drive ({kind}), {} of {} MB free", free / 1_000_000, size / 1_000_000)?;
                but(f, trouble)
            }
            Self::Volume { name, kind, trouble } => {
                write!(f, "volume {name} ({kind})")?;
                but(f, trouble)
            }
            Self::Image { reference, fetched, reused, .. } => {
                let tenths = |bytes: u64| bytes as f64 / 1_000_000.0;
                let (fetched, reused) = (tenths(*fetched), tenths(*reused));
                write!(f, "image {reference}, {fetched:.1} MB fetched, {reused:.1} MB reused")
            }
            Self::Started { container } => write!(f, "container {container} started"),
            Self::Healthy => write!(f, "healthy"),
            Self::Trouble { what } => write!(f, "trouble: {what}"),
            Self::Failed { what, .. } => write!(f, "failed: {what}"),
            Self::Other => write!(f, "a step that a later version knows"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_gateway_says_becomes_harmless_and_stays_what_it_is() {
        let text = r#"{"uptime":7,"step":"volume","name":"a\u001b[2J","kind":"pulled"}"#;
        let report: Report = serde_json::from_str(text).unwrap();
        let (step, console) = report.step.received();
        assert_eq!((step.name(), console), ("volume", None));
        assert_eq!(step.to_string(), "volume a\u{fffd}[2J (pulled)");
        let failed = Step::Failed { what: "x".to_owned(), console: "a\n\x1bb\n".to_owned() };
        let (step, console) = failed.received();
        assert_eq!(console.as_deref(), Some("a\n\u{fffd}b"));
        assert_eq!(serde_json::to_string(&step).unwrap(), r#"{"step":"failed","what":"x"}"#);
    }

    #[test]
    fn a_step_of_a_later_version_is_a_step() {
        let report: Report =
            serde_json::from_str(r#"{"uptime":7,"step":"teleported","to":"mars"}"#).unwrap();
        assert_eq!(report.step, Step::Other);
        for wrong in ["{}", r#"{"uptime":7}"#, r#"{"uptime":-1,"step":"healthy"}"#, "[]", "x"] {
            assert!(serde_json::from_str::<Report>(wrong).is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<Report>(r#"{"uptime":7,"step":"image"}"#).is_err());
    }

    proptest! {
        #[test]
        fn a_console_is_bounded(noise in ".{0,30}", times in 0..9000_usize) {
            let console = noise.repeat(times);
            let failed = Step::Failed { what: String::new(), console };
            let kept = failed.received().1.unwrap_or_default();
            prop_assert!(kept.len() <= MAX_CONSOLE);
        }

        #[test]
        fn what_is_written_is_read(what in ".{0,20}", fetched: u64, trouble: Option<bool>) {
            let trouble = trouble.map(|_| what.clone());
            for step in [
                Step::Image { reference: what.clone(), digest: what.clone(), fetched, reused: 0 },
                Step::Drive { kind: what.clone(), size: fetched, free: 1, trouble },
                Step::Failed { what: what.clone(), console: what.clone() },
                Step::Healthy,
            ] {
                let report = Report { uptime: fetched, step };
                let text = serde_json::to_string(&report).unwrap();
                let read: Report = serde_json::from_str(&text).unwrap();
                prop_assert!(Step::<String>::NAMES.contains(&read.step.name()));
                prop_assert_eq!(read, report);
            }
        }
    }
}
