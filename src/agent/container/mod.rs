//! Containers: what the profile and the image say about one becomes a process, by crun.

use std::fs;
use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
use rustix::fs::openat2;

use self::spec::Bind;
use self::spec::CGROUP;
use self::spec::Parts;
use super::console::LONGEST_LINE;
use super::console::say_of;
use super::http::Client;
use super::secrets::Secrets;
use crate::profile::agent::Container;
use crate::profile::agent::Source;
use crate::profile::oci::ImageConfig;

mod rights;
pub mod spec;
pub mod user;
pub mod watch;

const BUNDLES: &str = "/run/farmgate/containers";
const CGROUPS: &str = "/sys/fs/cgroup";
/// Most bytes of a file that names users.
const MOST_USERS: u64 = 1 << 20;
/// The memory that containers leave to the agent and the kernel: a twentieth, within these bounds.
const LEAST_LEFT: u64 = 48 << 20;
const MOST_LEFT: u64 = 512 << 20;
/// Status of a container that could not be started, as in a shell.
const NOT_STARTED: i32 = 127;
const SIGNALLED: i32 = 128;
/// Time for the last words of a container that has ended.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Time that an answer about its health may take.
const HEALTH: Duration = Duration::from_secs(10);

/// A container that was described for crun.
#[derive(Clone, Debug)]
pub struct Bundle {
    name: String,
    directory: PathBuf,
}

/// Directories of the gateway that containers see.
pub struct Places<'a> {
    /// Of all containers, on the drive.
    pub shared: &'a Path,
    /// One for each volume, by its name.
    pub volume: &'a dyn Fn(&str) -> Option<PathBuf>,
}

impl Bundle {
    /// Describes the container, whose root file system is mounted at `root`.
    pub fn write(
        container: &Container,
        image: &ImageConfig,
        secrets: &Secrets,
        root: &Path,
        places: &Places<'_>,
        hostname: &str,
    ) -> Result<Self, String> {
        let users = |file| users(root, file).map_err(|error| format!("/etc/{file}: {error}"));
        let user = user::find(&image.user, &users("passwd")?, &users("group")?)
            .map_err(|error| error.to_string())?;
        let binds = binds(container, places).map_err(|error| error.to_string())?;
        let parts = Parts { container, image, user: &user, secrets, root, binds: &binds, hostname };
        let spec = parts.spec().map_err(|error| error.to_string())?;
        let directory = Path::new(BUNDLES).join(&container.name);
        fs::create_dir_all(&directory)
            .and_then(|()| private(&directory.join("config.json"), spec.to_string().as_bytes()))
            .map_err(|error| format!("{}: {error}", directory.display()))?;
        Ok(Self { name: container.name.clone(), directory })
    }

    /// Starts the container. When it has ended, `ended` gets its status.
    pub fn start(&self, ended: impl FnOnce(i32) + Send + 'static) {
        // What an earlier run left.
        let _ = crun(&["delete", "--force", &self.name]).status();
        let mut command = crun(&["run", "--no-pivot", "--bundle"]);
        command.arg(&self.directory).arg(&self.name);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => {
                say_of(&self.name, &format!("crun cannot be started: {error}"));
                ended(NOT_STARTED);
                return;
            }
        };
        let outputs = [
            child.stdout.take().map(|output| repeat(&self.name, output)),
            child.stderr.take().map(|output| repeat(&self.name, output)),
        ];
        thread::spawn(move || {
            let status = child.wait().map_or(NOT_STARTED, status);
            // Its last words come before the news of its end. Something that it left behind may
            // hold its output open, and is not waited for.
            thread::sleep(LAST_WORDS);
            drop(outputs);
            ended(status);
        });
    }

    /// True while a process of it runs.
    pub fn is_running(&self) -> bool {
        let events = format!("{CGROUPS}{CGROUP}/{}/cgroup.events", self.name);
        fs::read_to_string(events).is_ok_and(|text| text.contains("populated 1"))
    }

    /// Asks the container to end.
    pub fn ask_to_end(&self, signal: &str) {
        let _ = crun(&["kill", &self.name, signal]).status();
    }

    /// Ends the container.
    pub fn end(&self) {
        let _ = crun(&["kill", "--all", &self.name, "KILL"]).status();
        let _ = fs::write(format!("{CGROUPS}{CGROUP}/{}/cgroup.kill", self.name), "1");
    }
}

/// The status as a shell gives it: signals are numbers above 128.
fn status(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| SIGNALLED + signal))
        .unwrap_or(NOT_STARTED)
}

fn crun(arguments: &[&str]) -> Command {
    let mut command = Command::new("crun");
    command.args(["--cgroup-manager=cgroupfs", "--root=/run/crun"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Says what the container says, line by line.
fn repeat(name: &str, output: impl Read + Send + 'static) -> thread::JoinHandle<()> {
    let name = name.to_owned();
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        loop {
            line.clear();
            let most = u64::try_from(LONGEST_LINE).unwrap_or(u64::MAX);
            match (&mut output).take(most).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => say_of(&name, String::from_utf8_lossy(&line).trim_end()),
            }
        }
    })
}

fn binds(container: &Container, places: &Places<'_>) -> io::Result<Vec<Bind>> {
    let mut binds = Vec::new();
    for mount in &container.mounts {
        let source = match &mount.source {
            Source::Cache => places.shared.to_owned(),
            Source::Volume(name) => (places.volume)(name)
                .ok_or_else(|| io::Error::other(format!("there is no volume {name}")))?,
            Source::Path(path) => PathBuf::from(path),
        };
        if mount.source == Source::Cache {
            fs::create_dir_all(&source)?;
        }
        binds.push(Bind {
            source: source.to_string_lossy().into_owned(),
            target: mount.target.clone(),
            read_only: mount.read_only,
        });
    }
    Ok(binds)
}

/// A file of the image's /etc; empty if there is none. Links of the image lead nowhere else.
fn users(root: &Path, name: &str) -> io::Result<String> {
    let root = File::open(root)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match openat2(&root, format!("etc/{name}"), flags, Mode::empty(), resolve) {
        Ok(file) => {
            let mut text = Vec::new();
            File::from(file).take(MOST_USERS).read_to_end(&mut text)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        }
        Err(error) if error == rustix::io::Errno::NOENT => Ok(String::new()),
        Err(error) => Err(error.into()),
    }
}

/// The description has the container's secrets in it.
fn private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(bytes)
}

/// Makes the cgroup of all containers, with less memory than the machine has.
pub fn limit_memory() -> io::Result<()> {
    let total = fs::read_to_string("/proc/meminfo")?;
    let total =
        total.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().split(' ').next());
    let total: u64 = total.and_then(|text| text.parse().ok()).unwrap_or(0) * 1024;
    let left = (total / 20).clamp(LEAST_LEFT, MOST_LEFT);
    let group = format!("{CGROUPS}{CGROUP}");
    let _ = fs::write(format!("{CGROUPS}/cgroup.subtree_control"), "+cpu +io +memory +pids");
    fs::create_dir_all(&group)?;
    fs::write(format!("{group}/cgroup.subtree_control"), "+cpu +io +memory +pids")?;
    fs::write(format!("{group}/memory.max"), total.saturating_sub(left).to_string())
}

/// Sends what `url` answers to `answered`, every few seconds, while that takes it.
pub fn ask_health(
    client: Client,
    url: String,
    often: Duration,
    answered: Sender<(usize, watch::Event)>,
    number: usize,
) {
    let client = client.within(HEALTH);
    thread::spawn(move || {
        loop {
            thread::sleep(often);
            let good = client.get(&url, &[]).is_ok_and(|answer| answer.status.as_u16() == 200);
            if answered.send((number, watch::Event::Answered(good))).is_err() {
                return;
            }
        }
    });
}
