//! The files that the boot script brings into the initramfs: the agent's profile and the boot's
//! secrets.

use std::fs;

use super::host::Host;
use super::secrets::Secrets;
use crate::profile::agent::AgentProfile;
use crate::profile::agent::FORMAT;
use crate::profile::agent::PROFILE_PATH;
use crate::profile::agent::SECRETS_PATH;

/// The files, and the boot host that they name.
pub struct Brought {
    pub secrets: Secrets,
    pub host: Host,
    /// Or the reason why it cannot be used: the boot host is told of it.
    pub profile: Result<AgentProfile, String>,
}

impl Brought {
    pub fn read() -> Result<Self, String> {
        let read = |path: &str| {
            fs::read_to_string(path).map_err(|error| {
                format!("{path} cannot be read: {error}. The boot script has to bring it")
            })
        };
        let secrets = Secrets::parse(&read(SECRETS_PATH)?);
        let host = secrets.boot_host().map_err(|error| error.to_string())?;
        let host = Host::new(host).map_err(|error| format!("the boot host's CA: {error}"))?;
        let profile = read(PROFILE_PATH).and_then(|text| {
            let profile: AgentProfile =
                serde_json::from_str(&text).map_err(|error| format!("{PROFILE_PATH}: {error}"))?;
            if profile.format > FORMAT {
                let format = profile.format;
                return Err(format!("{PROFILE_PATH} has the format {format}; this agent is older"));
            }
            Ok(profile)
        });
        Ok(Self { secrets, host, profile })
    }
}
