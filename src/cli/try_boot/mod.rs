//! `farmgate try`: boots the image of a gateway in QEMU, and shows how far it comes.

mod console;
mod machine;
mod watch;

use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use clap::Args;
use serde::Serialize;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use self::machine::Firmware;
use self::machine::Hardware;
use self::machine::Machine;
use self::machine::Medium;
use self::watch::Reached;
use self::watch::Watch;
use super::context::Context;
use super::context::Gateway;
use super::context::now;
use super::context::print;
use super::context::runtime;
use super::iso::Parts;
use crate::config::Period;
use crate::fleet::CertificateState;
use crate::fleet::Record;
use crate::foreign::harmless_lines;
use crate::identity::GatewayName;
use crate::iso;
use crate::iso::AtHand;
use crate::iso::sources;
use crate::store::State;
use crate::store::files;
use crate::store::owner::as_caller;

/// Pause between looks at the boot host and the machine.
const PAUSE: Duration = Duration::from_millis(200);

/// Longest wait for an acknowledgement after the machine powered itself off.
const LAST_WORD: Duration = Duration::from_secs(3);

#[derive(Args)]
pub(super) struct Try {
    #[command(flatten)]
    gateway: Gateway,
    /// Firmware of the machine
    #[arg(long, value_enum, default_value = "uefi")]
    firmware: Firmware,
    /// Medium that the machine starts from
    #[arg(long, value_enum, default_value = "usb")]
    medium: Medium,
    /// Give up after this time
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    timeout: Period,
    /// Sealed image to boot, in place of one that is made now
    #[arg(long, value_name = "FILE")]
    iso: Option<PathBuf>,
    /// Keep the image that was made, as NAME.iso in this folder
    #[arg(long, conflicts_with = "iso")]
    keep_image: bool,
    /// Memory of the machine, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory: u32,
    /// Run the machine with KVM, for which /dev/kvm must work
    #[arg(long)]
    kvm: bool,
    #[command(flatten)]
    parts: Parts,
}

impl Try {
    pub(super) fn run(self, cx: &Context) -> Result<()> {
        let (state, name) = (cx.state()?, &self.gateway.name);
        let record = state.gateways().load(name)?;
        let scratch =
            as_caller(tempfile::tempdir).context("cannot make a folder for the machine")?;
        let image = self.image(cx, &state, &record, scratch.path())?;
        cx.warn(&[format!(
            "this is a boot of {name} as any other: it counts as a try of its generation, and what \
             runs in it is {name} for the outside world"
        )]);
        let mac = mac()?;
        let hardware = Hardware {
            firmware: self.firmware,
            medium: self.medium,
            memory: self.memory,
            kvm: self.kvm,
            mac: mac.clone(),
            image: &image,
            scratch: scratch.path(),
        };
        let runtime = runtime()?;
        let mut watch = Watch::new(&mac);
        let why = runtime.block_on(self.watch(cx, &state, &record, &hardware, &mut watch))?;
        let seconds = watch.stages.last().map_or(0.0, |reached| reached.seconds);
        let stage = watch.last_stage().to_owned();
        let acknowledged = watch.acknowledged;
        let outcome = Outcome {
            gateway: name.clone(),
            firmware: format!("{:?}", self.firmware).to_lowercase(),
            medium: format!("{:?}", self.medium).to_lowercase(),
            acknowledged,
            generation: watch.generation,
            seconds,
            stages: watch.stages,
            console: if acknowledged { Vec::new() } else { watch.console.into() },
        };
        cx.print(&outcome)?;
        match why {
            None => Ok(()),
            Some(why) => bail!("{name} did not acknowledge: {why}; it came to: {stage}"),
        }
    }

    /// The image to boot: the one that was named, or a new one.
    fn image(
        &self,
        cx: &Context,
        state: &State,
        record: &Record,
        scratch: &Path,
    ) -> Result<PathBuf> {
        let name = &record.name;
        if let Some(file) = &self.iso {
            ensure_of(record, &sources::read_image(file)?)
                .with_context(|| format!("cannot try {} as {name}", file.display()))?;
            return Ok(file.clone());
        }
        let identity = state.gateways().identity(name).context(
            "no image can be made: give the one that was made before the key was forgotten with \
             --iso FILE",
        )?;
        let image = iso::seal(&self.parts.base(cx, state)?, &identity, None)
            .with_context(|| format!("cannot make the image of gateway {name}"))?;
        let file = format!("{name}.iso");
        let path = if self.keep_image { PathBuf::from(file) } else { scratch.join(file) };
        files::export(&path, 0o600, |file| file.write_all(&image))?;
        Ok(path)
    }

    /// The reason if it was not acknowledged.
    async fn watch(
        &self,
        cx: &Context,
        state: &State,
        record: &Record,
        hardware: &Hardware<'_>,
        watch: &mut Watch,
    ) -> Result<Option<String>> {
        // Before the machine, so that no signal leaves it behind.
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        let mut hung_up = signal(SignalKind::hangup())?;
        let (begun, timeout) = (Instant::now(), self.timeout.get());
        let mut machine = Machine::start(hardware)?;
        let mut off: Option<(Instant, String)> = None;
        let mut shown = 0;
        loop {
            let at = begun.elapsed();
            watch.console(machine.new_lines(), at);
            watch.boot_host(state, &record.id, at)?;
            for reached in watch.stages.iter().skip(shown).filter(|_| !cx.json) {
                show(reached)?;
            }
            shown = watch.stages.len();
            if watch.acknowledged {
                return Ok(None);
            }
            if let Some((_, why)) = off.take_if(|(since, _)| since.elapsed() > LAST_WORD) {
                return Ok(Some(why));
            }
            if off.is_none()
                && let Some(status) = machine.ended()?
            {
                let why = match status.success() {
                    true => "the machine powered itself off or restarted".to_owned(),
                    false => format!("QEMU ended with {status}"),
                };
                off = Some((Instant::now(), why));
            }
            if at > timeout {
                return Ok(Some(format!("the {} of --timeout are over", self.timeout)));
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                _ = interrupted.recv() => return Ok(Some("interrupted".to_owned())),
                _ = terminated.recv() => return Ok(Some("terminated".to_owned())),
                _ = hung_up.recv() => return Ok(Some("the terminal is gone".to_owned())),
            }
        }
    }
}

fn show(reached: &Reached) -> Result<()> {
    let line = format!("{:>7.1} s  {}\n", reached.seconds, reached.stage);
    print(harmless_lines(&line).as_bytes())
}

/// Fails if the image is not one of this gateway's.
fn ensure_of(record: &Record, image: &[u8]) -> Result<()> {
    let report = iso::verify(image, &AtHand { ca: None, ipxe: None, syslinux: None }, now())?;
    let identity = report.identity.context("its slot is empty")?;
    let owned = record.certificate(&identity.fingerprint);
    let owned = owned.with_context(|| {
        format!("its certificate {} is none of {}'s", identity.fingerprint, record.name)
    })?;
    ensure!(owned.state != CertificateState::Revoked, "its certificate is revoked");
    Ok(())
}

/// An address of QEMU's own range. Random, so that the boot host's journal tells this machine from
/// the gateway.
fn mac() -> Result<String> {
    let mut random = [0; 3];
    getrandom::fill(&mut random).context("no randomness for a network address")?;
    let [a, b, c] = random;
    Ok(format!("52:54:00:{a:02x}:{b:02x}:{c:02x}"))
}

#[derive(Serialize)]
struct Outcome {
    gateway: GatewayName,
    firmware: String,
    medium: String,
    acknowledged: bool,
    generation: Option<u64>,
    seconds: f64,
    stages: Vec<Reached>,
    /// The last lines of the console, if it was not acknowledged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    console: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.acknowledged {
            let number = self.generation.unwrap_or_default();
            return write!(
                f,
                "{} booted generation {number} and acknowledged it after {:.1} s",
                self.gateway, self.seconds
            );
        }
        write!(f, "the last lines of the console:")?;
        self.console.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}
