//! The OCI runtime's description of a container, `config.json`, out of the profile and the image
//! (<https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md>). Pure.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value as Json;
use serde_json::json;

use super::rights::ALL;
use super::rights::MASKED;
use super::rights::READ_ONLY;
use super::rights::USUAL;
use super::rights::devices;
use super::user::User;
use crate::agent::secrets::Secrets;
use crate::profile::agent::Container;
use crate::profile::agent::Network;
use crate::profile::agent::Value;
use crate::profile::oci::ImageConfig;

/// The cgroup of all containers. It has a limit of memory, so that the agent always has some.
pub const CGROUP: &str = "/farmgate";

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A directory of this machine for a mount of the profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    pub source: String,
    pub target: String,
    pub read_only: bool,
}

/// A container that cannot be described.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("neither the image nor gateway.toml says what to run")]
    NothingToRun,
    #[error("the boot's secrets have no line {0}")]
    NoSecret(String),
}

/// All that the description is made of.
pub struct Parts<'a> {
    pub container: &'a Container,
    pub image: &'a ImageConfig,
    pub user: &'a User,
    pub secrets: &'a Secrets,
    pub root: &'a Path,
    pub binds: &'a [Bind],
    pub hostname: &'a str,
}

impl Parts<'_> {
    /// The description.
    pub fn spec(&self) -> Result<Json, Error> {
        let arguments = self.arguments()?;
        let systemd = is_init(&arguments[0]);
        let privileged = self.container.privileged;
        let capabilities = if privileged { ALL } else { USUAL };
        // A user that is not root has them only in reserve.
        let in_force = if self.user.uid == 0 { capabilities } else { &[][..] };
        let directory = match self.image.working_dir.as_str() {
            directory if directory.starts_with('/') => directory,
            _ => "/",
        };
        let mut namespaces = vec!["pid", "ipc", "uts", "mount", "cgroup"];
        if self.container.network == Network::None {
            namespaces.push("network");
        }
        let namespaces: Vec<Json> = namespaces.iter().map(|kind| json!({ "type": kind })).collect();
        let (masked, read_only) = if privileged { (&[][..], &[][..]) } else { (MASKED, READ_ONLY) };
        Ok(json!({
            "ociVersion": "1.0.2",
            "hostname": self.hostname,
            "root": { "path": self.root, "readonly": false },
            "process": {
                "terminal": false,
                "user": {
                    "uid": self.user.uid,
                    "gid": self.user.gid,
                    "additionalGids": self.user.groups,
                },
                "args": arguments,
                "env": self.environment(systemd)?,
                "cwd": directory,
                "capabilities": {
                    "bounding": capabilities,
                    "effective": in_force,
                    "permitted": in_force,
                },
                "oomScoreAdj": 0,
                "noNewPrivileges": false,
            },
            "mounts": self.mounts(systemd),
            "linux": {
                "cgroupsPath": format!("{CGROUP}/{}", self.container.name),
                "namespaces": namespaces,
                "resources": { "devices": devices(privileged) },
                "maskedPaths": masked,
                "readonlyPaths": read_only,
                "rootfsPropagation": "private",
            },
        }))
    }

    /// As podman does it: an entry point of ours makes the image's command void too.
    fn arguments(&self) -> Result<Vec<String>, Error> {
        let entrypoint = self.container.entrypoint.as_ref().unwrap_or(&self.image.entrypoint);
        let command = match (&self.container.command, &self.container.entrypoint) {
            (Some(command), _) => command.as_slice(),
            (None, Some(_)) => &[],
            (None, None) => &self.image.command,
        };
        let arguments: Vec<String> = entrypoint.iter().chain(command).cloned().collect();
        if arguments.first().is_none_or(String::is_empty) {
            return Err(Error::NothingToRun);
        }
        Ok(arguments)
    }

    fn environment(&self, systemd: bool) -> Result<Vec<String>, Error> {
        let mut values: BTreeMap<String, String> = BTreeMap::new();
        let home = self.user.home.clone().unwrap_or_else(|| "/".to_owned());
        values.insert("HOME".to_owned(), home);
        values.insert("HOSTNAME".to_owned(), self.hostname.to_owned());
        if systemd {
            values.insert("container".to_owned(), "oci".to_owned());
        }
        for pair in std::iter::once(PATH).chain(self.image.environment.iter().map(String::as_str)) {
            if let Some((name, value)) = pair.split_once('=') {
                values.insert(name.to_owned(), value.to_owned());
            }
        }
        for (name, value) in &self.container.environment {
            let value = match value {
                Value::Plain(text) => text,
                Value::Secret(secret) => {
                    self.secrets.get(secret).ok_or_else(|| Error::NoSecret(secret.clone()))?
                }
            };
            values.insert(name.clone(), value.to_owned());
        }
        Ok(values.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
    }

    fn mounts(&self, systemd: bool) -> Vec<Json> {
        let privileged = self.container.privileged;
        let access = if privileged { "rw" } else { "ro" };
        let mount = |target: &str, kind: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": kind, "options": options });
        let bind = |source: &str, target: &str, options: &[&str]| {
            let all = [&["rbind", "rprivate"], options].concat();
            json!({ "destination": target, "type": "bind", "source": source, "options": all })
        };
        let mut mounts = vec![mount("/proc", "proc", &["nosuid", "noexec", "nodev"])];
        // A gateway's devices come and go while the container runs.
        mounts.push(if privileged {
            bind("/dev", "/dev", &["nosuid", "rw"])
        } else {
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"])
        });
        let terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
        mounts.push(mount("/dev/pts", "devpts", &terminals));
        let shared = ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"];
        mounts.push(json!({
            "destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": shared,
        }));
        mounts.push(mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
        mounts.push(mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", access]));
        let group_access = if privileged || systemd { "rw" } else { "ro" };
        let group = ["nosuid", "noexec", "nodev", "relatime", group_access];
        mounts.push(mount("/sys/fs/cgroup", "cgroup", &group));
        if systemd {
            for target in ["/run", "/run/lock", "/tmp"] {
                mounts.push(mount(target, "tmpfs", &["nosuid", "nodev", "mode=1777", "tmpcopyup"]));
            }
        }
        if self.container.network == Network::Host {
            mounts.push(bind("/etc/resolv.conf", "/etc/resolv.conf", &["rw"]));
            mounts.push(bind("/etc/hosts", "/etc/hosts", &["rw"]));
        }
        for own in self.binds {
            let access = if own.read_only { "ro" } else { "rw" };
            mounts.push(bind(&own.source, &own.target, &[access]));
        }
        mounts
    }
}

/// True for the programs that podman takes for systemd, and for other init systems: they want
/// memory for /run and /tmp.
fn is_init(program: &str) -> bool {
    ["init", "systemd"].contains(&program.rsplit('/').next().unwrap_or(program))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::agent::Image;
    use crate::profile::agent::Restart;

    fn container() -> Container {
        Container {
            name: "farm".to_owned(),
            image: Image { reference: "example.org/farm:v1".to_owned(), digest: None, held: true },
            entrypoint: None,
            command: None,
            environment: BTreeMap::new(),
            mounts: Vec::new(),
            privileged: false,
            network: Network::None,
            health: None,
            restart: Restart::Always,
        }
    }

    fn image() -> ImageConfig {
        ImageConfig {
            entrypoint: vec!["/entry".to_owned()],
            command: vec!["serve".to_owned()],
            environment: vec!["PATH=/opt".to_owned(), "A=1".to_owned()],
            working_dir: "/srv".to_owned(),
            ..ImageConfig::default()
        }
    }

    fn spec(container: &Container, image: &ImageConfig) -> Result<Json, Error> {
        let secrets = Secrets::parse("password=horse");
        let user = User::default();
        let root = Path::new("/root");
        let binds =
            [Bind { source: "/v".to_owned(), target: "/config".to_owned(), read_only: true }];
        let hostname = "lab-1";
        Parts { container, image, user: &user, secrets: &secrets, root, binds: &binds, hostname }
            .spec()
    }

    fn mount(spec: &Json, target: &str) -> Json {
        let mounts = spec["mounts"].as_array().unwrap();
        mounts.iter().find(|mount| mount["destination"] == target).cloned().unwrap_or_default()
    }

    #[test]
    fn a_plain_container_has_few_rights_and_no_network() {
        let spec = spec(&container(), &image()).unwrap();
        assert_eq!(spec["process"]["args"], json!(["/entry", "serve"]));
        assert_eq!(spec["process"]["cwd"], "/srv");
        assert_eq!(spec["process"]["capabilities"]["bounding"], json!(USUAL));
        assert!(
            spec["linux"]["namespaces"].as_array().unwrap().contains(&json!({"type": "network"}))
        );
        assert_eq!(
            spec["linux"]["resources"]["devices"][0],
            json!({"allow": false, "access": "rwm"})
        );
        assert_eq!(mount(&spec, "/dev")["type"], "tmpfs");
        assert!(mount(&spec, "/sys")["options"].as_array().unwrap().contains(&json!("ro")));
        assert_eq!(spec["linux"]["maskedPaths"], json!(MASKED));
        assert_eq!(mount(&spec, "/config")["options"], json!(["rbind", "rprivate", "ro"]));
        assert_eq!(mount(&spec, "/etc/resolv.conf"), Json::Null);
    }

    #[test]
    fn a_privileged_container_with_the_gateways_network_has_everything() {
        let container = Container { privileged: true, network: Network::Host, ..container() };
        let spec = spec(&container, &image()).unwrap();
        assert_eq!(spec["process"]["capabilities"]["effective"], json!(ALL));
        assert!(
            !spec["linux"]["namespaces"].as_array().unwrap().contains(&json!({"type": "network"}))
        );
        assert_eq!(mount(&spec, "/dev")["type"], "bind");
        assert_eq!(spec["linux"]["maskedPaths"], json!([]));
        assert_eq!(mount(&spec, "/etc/resolv.conf")["type"], "bind");
    }

    #[test]
    fn a_user_who_is_not_root_has_no_rights_in_force() {
        let (container, image, user) = (container(), image(), User { uid: 7, ..User::default() });
        let root = Path::new("/root");
        let secrets = Secrets::default();
        let parts = Parts {
            container: &container,
            image: &image,
            user: &user,
            secrets: &secrets,
            root,
            binds: &[],
            hostname: "lab-1",
        };
        let spec = parts.spec().unwrap();
        assert_eq!(spec["process"]["capabilities"]["effective"], json!([]));
        assert_eq!(spec["process"]["user"]["uid"], 7);
    }

    #[test]
    fn the_profile_comes_before_the_image() {
        let environment =
            [("A", Value::Plain("2".to_owned())), ("B", Value::Secret("password".to_owned()))];
        let environment =
            environment.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
        let changed = Container { environment, command: Some(vec!["x".to_owned()]), ..container() };
        let made = spec(&changed, &image()).unwrap();
        assert_eq!(made["process"]["args"], json!(["/entry", "x"]));
        let environment = made["process"]["env"].as_array().unwrap();
        for pair in ["A=2", "B=horse", "PATH=/opt", "HOSTNAME=lab-1", "HOME=/"] {
            assert!(environment.contains(&json!(pair)), "{pair}: {environment:?}");
        }
        let entry = Container { entrypoint: Some(vec!["/sbin/init".to_owned()]), ..container() };
        let made = spec(&entry, &image()).unwrap();
        assert_eq!(made["process"]["args"], json!(["/sbin/init"]));
        assert_eq!(mount(&made, "/run")["type"], "tmpfs");
    }

    #[test]
    fn without_a_command_or_a_secret_there_is_no_container() {
        assert_eq!(spec(&container(), &ImageConfig::default()), Err(Error::NothingToRun));
        let secret = Value::Secret("else".to_owned());
        let environment = BTreeMap::from([("A".to_owned(), secret)]);
        let missing = spec(&Container { environment, ..container() }, &image());
        assert_eq!(missing, Err(Error::NoSecret("else".to_owned())));
    }
}
