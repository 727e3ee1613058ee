//! The boot, step by step: drivers, network, time, drive, images, containers; then it watches over
//! them. Whatever fails is reported, and the gateway restarts.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;

use super::brought::Brought;
use super::clock;
use super::cmdline::CommandLine;
use super::console;
use super::console::say;
use super::container;
use super::container::Bundle;
use super::container::Places;
use super::container::watch::Action;
use super::container::watch::Event;
use super::container::watch::Watch;
use super::drive;
use super::drive::Drive;
use super::ending::Failures;
use super::host::Host;
use super::host::Told;
use super::http::Client;
use super::http::Trust;
use super::modules;
use super::network;
use super::network::Network;
use super::progress::expect_within;
use super::progress::uptime;
use super::pull;
use super::pull::Images;
use super::pull::Puller;
use super::report::Reporter;
use super::secrets::Secrets;
use super::volumes;
use super::volumes::Bucket;
use super::volumes::Volumes;
use crate::backoff::Backoff;
use crate::backoff::jitter;
use crate::profile::agent::AgentProfile;
use crate::profile::agent::Missing;
use crate::profile::report::Step;
use crate::profile::secrets::GATEWAY;

/// Between two looks at everything, once the containers run.
const TURN: Duration = Duration::from_secs(1);
/// The boot is overdue when the watch over containers does not turn for so long.
const QUIET: Duration = Duration::from_secs(120);
/// Within this time all containers have to work.
const WORKS_WITHIN: Duration = Duration::from_secs(15 * 60);
/// Between two questions for a container's health.
const OFTEN: Duration = Duration::from_secs(2);
/// Time that containers get to end in good order.
const END: Duration = Duration::from_secs(15);
/// Time that the last changes of volumes get.
const LAST_PUSH: Duration = Duration::from_secs(60);
/// Place of volumes that must not be on the drive as it is.
const MEMORY_VOLUMES: &str = "/run/farmgate/volumes";
/// Time that the last reports get.
const LAST_REPORTS: Duration = Duration::from_secs(20);
const ACKNOWLEDGE: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// A restart that a container asked for follows at once.
const ASKED: Duration = Duration::ZERO;

/// The end of a boot.
#[derive(Debug)]
enum End {
    Failed(String),
    /// A container asked for a restart.
    Asked(String),
}

impl From<String> for End {
    fn from(what: String) -> Self {
        Self::Failed(what)
    }
}

/// The state that the steps share.
struct Boot {
    host: Host,
    secrets: Secrets,
    reporter: Reporter,
    network: Network,
    failures: Failures,
    hostname: String,
    bundles: Vec<Bundle>,
    images: Option<Images>,
    volumes: Option<Arc<Volumes>>,
}

/// Boots. Returns when the gateway is to restart.
pub fn run() {
    console::log_here();
    expect_within(QUIET);
    let brought = match Brought::read() {
        Ok(brought) => brought,
        Err(why) => {
            say(&why);
            return wait(Failures::kept_in(None).another(jitter()));
        }
    };
    let host = brought.host.clone();
    let reports = host.clone();
    let hostname = brought.secrets.get(GATEWAY).unwrap_or("gateway").to_owned();
    let line = CommandLine::parse(&fs::read_to_string("/proc/cmdline").unwrap_or_default());
    for word in &line.unknown {
        say(&format!("{word} on the kernel's command line is not understood"));
    }
    let mut boot = Boot {
        host,
        secrets: brought.secrets,
        reporter: Reporter::new(move |report| reports.report(report)),
        network: Network::new(line.addresses, hostname.clone()),
        failures: Failures::kept_in(None),
        hostname,
        bundles: Vec::new(),
        images: None,
        volumes: None,
    };
    let end = boot.until_the_end(brought.profile, &line.modules);
    boot.end(end);
}

/// Reports that the boot's process crashed, which it could not do itself.
pub fn report_crash(what: &str) {
    let Ok(brought) = Brought::read() else { return };
    let host = brought.host;
    let reporter = Reporter::new(move |report| host.report(report));
    reporter.tell(Step::Failed { what: what.to_owned(), console: console::tail() });
    reporter.flush(LAST_REPORTS);
}

impl Boot {
    fn until_the_end(&mut self, profile: Result<AgentProfile, String>, modules: &[String]) -> End {
        match self.steps(profile, modules) {
            Ok(end) | Err(end) => end,
        }
    }

    fn steps(
        &mut self,
        profile: Result<AgentProfile, String>,
        wanted: &[String],
    ) -> Result<End, End> {
        network::prepare(&self.hostname);
        modules::load(wanted);
        expect_within(QUIET);
        // Also for a profile that cannot be used: the boot host has to know why.
        let profile = match profile {
            Ok(profile) => profile,
            Err(why) => {
                self.network.wait(&self.host)?;
                return Err(End::Failed(why));
            }
        };
        // Disks and DHCP servers let wait for themselves, and not for each other.
        let cache = profile.cache.clone();
        let drive = thread::spawn(move || Drive::mount(&cache));
        let (address, answers) = self.network.wait(&self.host)?;
        say(&format!("the network is up, with the address {address}"));
        self.reporter.tell(Step::Network { address: address.to_string() });
        self.reporter.tell(clock::set(profile.ntp.as_deref(), answers.then_some(&self.host)));
        // The steps so far promised to be quick, and a check of a large drive is not.
        expect_within(drive::CHECK);
        let drive = drive.join().map_err(|_| "the cache drive: the agent failed".to_owned())??;
        self.reporter.tell(drive.step());
        let kept = (!drive.is_memory()).then(|| drive.root());
        self.failures = Failures::kept_in(kept);
        self.prepare(&profile, &drive)?;
        container::limit_memory()
            .unwrap_or_else(|error| say(&format!("containers have no limit of memory: {error}")));
        self.watch(&profile, &drive)
    }

    /// Volumes, images, and what crun is told of each container.
    fn prepare(&mut self, profile: &AgentProfile, drive: &Drive) -> Result<(), String> {
        let volumes = self.volumes(profile, drive)?;
        let may_do_without = profile.cache.missing == Missing::RunInMemory && !drive.is_memory();
        let (host, secrets, reporter) = (&self.host, &self.secrets, &self.reporter);
        let puller = Puller { host, secrets, reporter };
        let (images, roots) = match pull::all(&puller, profile, &drive.root().join("images")) {
            Err(error) if error.is_of_drive && may_do_without => {
                say(&format!("{}; memory takes the place of the drive", error.what));
                let (memory, step) = drive::instead(error.what)?;
                self.reporter.tell(step);
                pull::all(&puller, profile, memory).map_err(|error| error.what)?
            }
            result => result.map_err(|error| error.what)?,
        };
        let shared = drive.root().join("cache");
        let volume = |name: &str| volumes.path(name);
        let places = Places { shared: &shared, volume: &volume };
        for (container, (image, root)) in profile.containers.iter().zip(roots) {
            let (secrets, hostname) = (&self.secrets, &self.hostname);
            let bundle =
                Bundle::write(container, &image.config, secrets, &root.path, &places, hostname);
            let named = |why| format!("container {}: {why}", container.name);
            self.bundles.push(bundle.map_err(named)?);
        }
        (self.images, self.volumes) = (Some(images), Some(Arc::new(volumes)));
        Ok(())
    }

    /// Directories that outlive the boot. A volume that cannot be pulled does not stop it.
    fn volumes(&self, profile: &AgentProfile, drive: &Drive) -> Result<Volumes, String> {
        expect_within(pull::SILENT);
        let bucket = self.bucket().unwrap_or_else(|error| {
            say(&format!("the bucket: {error}"));
            None
        });
        let on_drive = drive.root().join("volumes");
        let places = volumes::Places { drive: &on_drive, memory: Path::new(MEMORY_VOLUMES) };
        let secret = |name: &str| self.secrets.get(name).map(str::to_owned);
        let tell = |step| self.reporter.tell(step);
        Volumes::prepare(places, &profile.volumes, &secret, bucket, &tell)
            .map_err(|error| format!("the volumes: {error}"))
    }

    fn bucket(&self) -> io::Result<Option<Bucket>> {
        let Some(access) = self.secrets.bucket() else { return Ok(None) };
        Bucket::new(Client::new(Trust::Public, 0)?, &access).map(Some)
    }

    /// Pushes what changes in the volumes, until what is returned is dropped.
    fn push(&self) -> mpsc::Sender<()> {
        let (stop, stopped) = mpsc::channel();
        if let Some(volumes) = self.volumes.clone() {
            let reporter = self.reporter.clone();
            thread::spawn(move || volumes.push_loop(&stopped, &|step| reporter.tell(step)));
        }
        stop
    }

    /// Starts the containers and watches over them, as long as the gateway works.
    fn watch(&mut self, profile: &AgentProfile, drive: &Drive) -> Result<End, End> {
        let containers = &profile.containers;
        let (sender, events) = mpsc::channel();
        let client = Client::new(Trust::Public, 0).map_err(|error| error.to_string())?;
        let mut watches: Vec<Watch> = Vec::new();
        for (number, container) in containers.iter().enumerate() {
            watches.push(Watch::new(container.restart, container.health.is_some()));
            if let Some(url) = &container.health {
                let sender = sender.clone();
                container::ask_health(client.clone(), url.clone(), OFTEN, sender, number);
            }
        }
        let begun = uptime();
        let mut acknowledged = false;
        // Dropped at the end of this watch, whatever ends it.
        let _pushing = self.push();
        loop {
            expect_within(QUIET);
            self.network.tend();
            drive.check()?;
            let ready = match events.recv_timeout(TURN) {
                Ok(event) => vec![event],
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Vec::new(),
            };
            let ticks = (0..watches.len()).map(|number| (number, Event::Tick));
            for (number, event) in ready.into_iter().chain(ticks).collect::<Vec<_>>() {
                let name = &containers[number].name;
                for action in watches[number].on(uptime(), event) {
                    match action {
                        Action::Start => {
                            say(&format!("container {name} is started"));
                            self.reporter.tell(Step::Started { container: name.clone() });
                            let sender = sender.clone();
                            self.bundles[number].start(move |status| {
                                // Nobody listens any more once the gateway restarts.
                                let _ = sender.send((number, Event::Ended(status)));
                            });
                        }
                        Action::End => self.bundles[number].end(),
                        Action::Tell(what) => {
                            let what = format!("container {name} {what}");
                            say(&what);
                            self.reporter.tell(Step::Trouble { what });
                        }
                        Action::Fail(what) => {
                            return Err(End::Failed(format!("container {name} {what}")));
                        }
                        Action::Restart => return Ok(End::Asked(name.clone())),
                    }
                }
            }
            if !acknowledged && watches.iter().all(Watch::works) {
                acknowledged = true;
                self.failures.none();
                say("every container works");
                self.reporter.tell(Step::Healthy);
                acknowledge(self.host.clone(), self.images.take());
            }
            if !acknowledged && uptime() - begun > WORKS_WITHIN {
                let lazy = containers.iter().zip(&watches).find(|(_, watch)| !watch.works());
                let name = lazy.map(|(container, _)| container.name.as_str()).unwrap_or_default();
                let minutes = WORKS_WITHIN.as_secs() / 60;
                let what = format!("container {name} does not work after {minutes} minutes");
                return Err(End::Failed(what));
            }
        }
    }

    /// Tells the boot host, ends the containers, and waits.
    fn end(self, end: End) {
        expect_within(END + LAST_REPORTS + QUIET);
        let pause = match end {
            End::Failed(what) => {
                say(&format!("the boot failed: {what}"));
                self.reporter.tell(Step::Failed { what, console: console::tail() });
                self.failures.another(jitter())
            }
            End::Asked(name) => {
                let what = format!("container {name} asked for a restart");
                say(&what);
                self.reporter.tell(Step::Trouble { what });
                ASKED
            }
        };
        for bundle in &self.bundles {
            bundle.ask_to_end("TERM");
        }
        let end = uptime() + END;
        while uptime() < end && self.bundles.iter().any(Bundle::is_running) {
            thread::sleep(Duration::from_millis(200));
        }
        self.bundles.iter().for_each(Bundle::end);
        if let Some(volumes) = &self.volumes {
            expect_within(LAST_PUSH + LAST_REPORTS + QUIET);
            volumes.finish(LAST_PUSH, &|step| self.reporter.tell(step));
        }
        self.reporter.flush(LAST_REPORTS);
        rustix::fs::sync();
        wait(pause);
    }
}

/// Acknowledges the boot, however long that takes.
fn acknowledge(host: Host, images: Option<Images>) {
    thread::spawn(move || {
        let mut tries = 0;
        loop {
            match host.acknowledge() {
                Told::Arrived => {
                    say("the boot is acknowledged");
                    return images.as_ref().map_or((), Images::acknowledged);
                }
                Told::Refused(status) => {
                    return say(&format!(
                        "the boot host does not take the acknowledgement: {status}"
                    ));
                }
                Told::Away(error) => say(&format!("the acknowledgement did not arrive: {error}")),
            }
            thread::sleep(ACKNOWLEDGE.wait(tries, None, jitter()));
            tries = tries.saturating_add(1);
        }
    });
}

fn wait(pause: Duration) {
    if !pause.is_zero() {
        say(&format!("restarting in {} s", pause.as_secs()));
    }
    expect_within(pause + QUIET);
    thread::sleep(pause);
}
