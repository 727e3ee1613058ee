//! Options that are read before the leased ones are fetched.

use super::Options;
use crate::foreign::Foreign;
use crate::ipxe::script::codes;
use crate::profile::agent::Drive;
use crate::profile::agent::Format;
use crate::profile::agent::Missing;
use crate::profile::description::problem::Placed;
use crate::profile::description::problem::Problem;

/// Name of the cache's file system.
const CACHE: &str = "farmgate-cache";

impl Options<'_> {
    /// On the command line itself.
    pub(super) fn early(&mut self) -> Vec<String> {
        let description = self.description;
        let mut line = vec![
            "b2c.hostname=${gateway_name}".to_owned(),
            // Its own ending switches the machine off.
            "b2c.shutdown_cmd=\"reboot -f\"".to_owned(),
            "b2c.poweroff_delay=30".to_owned(),
            format!("b2c.ntp_peer={}", description.ntp.as_deref().unwrap_or("auto")),
        ];
        let Placed { value: cache, span } = &description.cache;
        if let Drive::Device(path) = &cache.drive
            && path.starts_with("/dev/disk/")
        {
            let what = "boot2container has no udev, which makes the names below /dev/disk";
            self.problems.push(Problem::warning(
                codes::CANNOT_HOLD,
                span,
                what,
                "write the name of the kernel: /dev/nvme0n1p1",
            ));
        }
        match (&cache.drive, cache.format) {
            (Drive::Label(_), _) if description.cache_is_default => {
                line.push("b2c.cache_device=none".to_owned())
            }
            (Drive::Label(_), _) => {
                let what = "boot2container finds no drive by a label of your own";
                self.cannot(span, what, "name its partition: `device = \"/dev/...\"`");
            }
            (Drive::Device(path), Format::Never) => {
                line.push(format!("b2c.filesystem={CACHE},type=ext4,src={path}"));
                line.push(format!("b2c.cache_device={CACHE}"));
            }
            (Drive::Device(path), Format::IfBlank) => {
                let what = format!(
                    "boot2container partitions `{path}` anew, blank or not, if it finds no cache on it"
                );
                let help = "make the file system once, and write `format = \"never\"`";
                self.problems.push(Problem::warning(codes::B2C_AUTO_CACHE, span, what, help));
                line.push(format!("b2c.cache_device={path}"));
            }
        }
        if cache.missing == Missing::Reboot {
            let what = "boot2container goes on in memory without its cache drive";
            self.cannot(span, what, "write `missing = \"run-in-memory\"`");
        }
        if cache.swap > 0 {
            line.push(format!("b2c.swap={}M", cache.swap.div_ceil(1 << 20)));
        }
        for word in description.command_line.with_prefix("b2c.") {
            let name = word.split('=').next().unwrap_or(word);
            let ours = line.iter().any(|option| option.split('=').next() == Some(name));
            let later = [
                "b2c.run",
                "b2c.run_service",
                "b2c.container",
                "b2c.service",
                "b2c.extra_args_url",
                "b2c.volume",
                "b2c.minio",
            ];
            if ours || later.contains(&name) {
                let what = format!(
                    "gateway.toml makes the option `{}` already",
                    Foreign::shorter(name, 64)
                );
                let help = "leave it out of `cmdline`, and use the key of gateway.toml";
                self.problems.push(Problem::error(
                    codes::TWICE,
                    &description.command_line.span,
                    what,
                    help,
                ));
            }
        }
        line
    }
}
