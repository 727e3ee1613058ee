//! The description of what a gateway runs after the kernel, `gateway.toml`, and the words that a
//! gateway's agent and the boot host have for it. Pure.

pub mod agent;
pub mod description;
pub mod distribution;
pub mod download;
pub mod oci;
pub mod reference;
pub mod report;
pub mod secrets;
