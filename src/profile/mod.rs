//! What a gateway runs after the kernel, as `gateway.toml` describes it, and what a gateway's agent
//! and the boot host say to each other about it. Pure.

pub mod agent;
pub mod description;
pub mod download;
pub mod oci;
pub mod reference;
pub mod report;
pub mod secrets;
