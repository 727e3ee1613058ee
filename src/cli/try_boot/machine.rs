//! A gateway as a QEMU machine, which ends with this process. Its console is collected.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::thread::JoinHandle;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use super::console::Console;

const PROGRAM: &str = "qemu-system-x86_64";

/// UEFI firmware and its variables: Debian, Arch, older Debian, Fedora.
const OVMF: [(&str, &str); 4] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Firmware {
    Bios,
    Uefi,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Medium {
    Cd,
    Usb,
}

/// The parts of the machine.
pub(super) struct Hardware<'a> {
    pub(super) firmware: Firmware,
    pub(super) medium: Medium,
    /// Mebibytes.
    pub(super) memory: u32,
    pub(super) kvm: bool,
    pub(super) mac: String,
    pub(super) image: &'a Path,
    /// A folder for what the machine writes.
    pub(super) scratch: &'a Path,
}

impl Hardware<'_> {
    fn arguments(&self) -> Result<Vec<OsString>> {
        let memory = self.memory.to_string();
        let mut all = words(&["-name", "farmgate-try", "-m", &memory, "-no-reboot", "-nodefaults"]);
        // Without graphics, the firmware and iPXE write their screen to the serial port.
        let accelerator = if self.kvm { "kvm" } else { "tcg" };
        let machine = format!("pc,accel={accelerator},graphics=off");
        all.extend(words(&["-machine", &machine, "-display", "none"]));
        if self.kvm {
            all.extend(words(&["-cpu", "host"]));
        }
        all.extend(words(&["-serial", "stdio", "-monitor", "none", "-device", "virtio-rng-pci"]));
        // The machine's own network boot must not get in the way of the medium.
        let card = format!("virtio-net-pci,netdev=lan,romfile=,mac={}", self.mac);
        all.extend(words(&["-netdev", "user,id=lan", "-device", &card]));
        if self.firmware == Firmware::Uefi {
            let (code, variables) = ovmf()?;
            let own = self.scratch.join("variables.fd");
            fs::copy(&variables, &own)
                .with_context(|| format!("cannot copy {}", variables.display()))?;
            for (unit, file, more) in [(0, code, ",readonly=on"), (1, own, "")] {
                let drive = format!("if=pflash,unit={unit},format=raw{more},file=");
                all.extend(["-drive".into(), option(&drive, &file)]);
            }
        }
        let drive = "if=none,id=medium,format=raw,readonly=on,file=";
        all.extend(["-drive".into(), option(drive, self.image)]);
        all.extend(match self.medium {
            Medium::Cd => words(&["-device", "ide-cd,drive=medium,bootindex=0"]),
            Medium::Usb => words(&[
                "-device",
                "qemu-xhci",
                "-device",
                "usb-storage,drive=medium,bootindex=0,removable=on",
            ]),
        });
        Ok(all)
    }
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// QEMU wants a comma in a file name twice.
fn option(before: &str, file: &Path) -> OsString {
    format!("{before}{}", file.display().to_string().replace(',', ",,")).into()
}

fn ovmf() -> Result<(PathBuf, PathBuf)> {
    let named = std::env::var_os("FARMGATE_OVMF").map(PathBuf::from);
    let named = named.map(|dir| (dir.join("OVMF_CODE.fd"), dir.join("OVMF_VARS.fd")));
    let usual = OVMF.iter().map(|(code, variables)| (code.into(), variables.into()));
    let mut all = named.into_iter().chain(usual);
    all.find(|(code, variables)| code.exists() && variables.exists()).context(
        "there is no UEFI firmware for QEMU: install Debian's package ovmf, or give --firmware bios",
    )
}

/// A running machine. It is powered off when this is dropped.
pub(super) struct Machine {
    child: Child,
    console: Arc<Mutex<Console>>,
    readers: Vec<JoinHandle<()>>,
}

impl Machine {
    pub(super) fn start(hardware: &Hardware<'_>) -> Result<Self> {
        let arguments = hardware.arguments()?;
        // setpriv has the kernel end the machine if this process is killed.
        let start = |wrapped: bool| {
            let mut command = Command::new(if wrapped { "setpriv" } else { PROGRAM });
            if wrapped {
                command.args(["--pdeathsig", "KILL", "--", PROGRAM]);
            }
            command.args(&arguments).stdin(Stdio::null());
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
        };
        let mut child = match start(is_installed("setpriv")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
                "{PROGRAM} is not installed: install Debian's package qemu-system-x86 (and ovmf \
                 for UEFI)"
            ),
            child => child.with_context(|| format!("cannot start {PROGRAM}"))?,
        };
        let console = Arc::new(Mutex::new(Console::default()));
        let outputs = [
            child.stdout.take().map(|output| Box::new(output) as Box<dyn Read + Send>),
            child.stderr.take().map(|output| Box::new(output) as Box<dyn Read + Send>),
        ];
        let readers = outputs.into_iter().flatten();
        let readers = readers.map(|output| collect(output, console.clone())).collect();
        Ok(Self { child, console, readers })
    }

    /// The lines that are new on its console.
    pub(super) fn new_lines(&self) -> Vec<String> {
        self.console.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Its status, once it has powered itself off.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.child.try_wait().context("cannot wait for QEMU")?;
        if status.is_some() {
            // All that it said.
            for reader in self.readers.drain(..) {
                let _ = reader.join();
            }
        }
        Ok(status)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut output: Box<dyn Read + Send>, console: Arc<Mutex<Console>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(len @ 1..) = output.read(&mut piece) {
            console.lock().unwrap_or_else(PoisonError::into_inner).put(&piece[..len]);
        }
    })
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).exists())
}
