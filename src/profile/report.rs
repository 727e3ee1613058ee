//! What a gateway's agent tells the boot host, the body of `POST /boot/report/<token>` (JSON). It
//! comes from a machine that may have gone bad: every text in it is foreign. Pure.

use serde::Deserialize;
use serde::Serialize;

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
    /// What happened.
    #[serde(flatten)]
    pub step: Step,
}

/// Steps of the way from the kernel to a gateway that works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Step {
    /// The network is up.
    Network {
        /// Address of the interface that reaches the boot host.
        address: String,
    },
    /// The clock is right.
    Time {
        /// `ntp`, `boot-host` or `clock`.
        source: String,
        /// Seconds that the clock was set forward.
        forward: u64,
    },
    /// The cache drive is mounted, or there is none.
    Drive {
        /// `cache`, `formatted` or `memory`.
        kind: String,
        /// Bytes of the file system.
        size: u64,
        /// Free bytes of it.
        free: u64,
        /// Why it is not the drive that was wanted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trouble: Option<String>,
    },
    /// A volume is ready.
    Volume {
        name: String,
        /// `pulled`, `last-copy` or `local`.
        kind: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trouble: Option<String>,
    },
    /// An image is ready on the drive.
    Image {
        reference: String,
        digest: String,
        /// Bytes of its layers that came over the network.
        fetched: u64,
        /// Bytes of its layers that were on the drive.
        reused: u64,
    },
    /// A container was started.
    Started { container: String },
    /// Every container works: the boot is acknowledged with this.
    Healthy,
    /// A container ended, or does not answer. The agent goes on.
    Trouble { what: String },
    /// The boot failed, and the gateway restarts.
    Failed {
        what: String,
        /// Last lines of the console.
        console: String,
    },
}
