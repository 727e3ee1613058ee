//! `make bench-iso`: how long it takes to seal the images of a fleet.
//!
//! 500 gateways, one after the other, on one core: first in memory, then
//! written as `farmgate iso make` writes them, safe against power failure.
//! With `IPXE_SOURCE` set to a source tree, one full compile of iPXE beside it:
//! what each of these images cost before identities were sealed in.

// Figures are what it is for.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use farmgate::config::BootUrl;
use farmgate::identity::Fingerprint;
use farmgate::identity::GatewayName;
use farmgate::identity::Identity;
use farmgate::identity::pki::Authority;
use farmgate::identity::pki::KeyType;
use farmgate::identity::pki::Validity;
use farmgate::iso;
use farmgate::iso::compile::Build;
use farmgate::iso::sources::Ipxe;
use farmgate::iso::sources::Syslinux;
use farmgate::store::files;
use time::OffsetDateTime;

const GATEWAYS: usize = 500;
/// Making RSA keys takes longer than all else and is not what is measured.
const IDENTITIES: usize = 8;

fn main() -> Result<()> {
    let now = OffsetDateTime::now_utc();
    let later = now + time::Duration::days(3650);
    let ca = Authority::create("bench CA", KeyType::Rsa2048, later)?;
    let authority = Authority::from_pem(&ca.certificate_pem, &ca.private_key_pem)?;
    let root = authority.certificate().fingerprint;
    let der = authority.certificate().der.clone();
    let started = Instant::now();
    let base = base(&root, &der)?;
    row("base image, re-rooted", started.elapsed());
    let identities = identities(&authority, now, later)?;
    let identity = |index: usize| &identities[index % IDENTITIES];

    let times = measure(|index| {
        std::hint::black_box(iso::seal(&base, identity(index), Some(&der))?);
        Ok(())
    })?;
    report("sealed in memory", times);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let path = |index| folder.path().join(format!("gateway-{index}.iso"));
    let times = measure(|index| {
        let image = iso::seal(&base, identity(index), Some(&der))?;
        Ok(std::fs::write(path(index), image)?)
    })?;
    report("sealed and written", times);
    let times = measure(|index| {
        let image = iso::seal(&base, identity(index), Some(&der))?;
        files::replace(&path(index), 0o600, |file| file.write_all(&image))
    })?;
    report("sealed, written and on the disk (fsync)", times);
    println!("{:<42}{:>9.1} MiB", "peak memory", peak_memory().unwrap_or(f64::NAN));
    match std::env::var_os("IPXE_SOURCE") {
        Some(source) => compile(Path::new(&source), &ca.certificate_pem, root)?,
        None => println!("one compile of iPXE: set IPXE_SOURCE to a source tree to measure it"),
    }
    Ok(())
}

fn base(root: &Fingerprint, ca: &[u8]) -> Result<Vec<u8>> {
    let dir = std::env::var_os("FARMGATE_IPXE").map(PathBuf::from);
    let (bios, efi) = Ipxe::find(dir.as_deref())?.rerooted(root)?;
    let syslinux = Syslinux::find(None)?;
    let url: BootUrl = "https://boot.example.org".parse()?;
    Ok(iso::base(&iso::Inputs {
        ipxe_bios: &bios,
        ipxe_efi: &efi,
        isolinux: &syslinux.isolinux,
        isohdpfx: &syslinux.isohdpfx,
        ldlinux: &syslinux.ldlinux,
        root: *root,
        ca: Some(ca),
        needs_ecdsa: false,
        urls: vec![url],
        ntp: None,
        address: None,
        contact: None,
        debug: false,
    })?)
}

fn identities(
    authority: &Authority,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
) -> Result<Vec<Identity>> {
    (0..IDENTITIES)
        .map(|index| {
            let name: GatewayName = format!("gateway-{index}").parse()?;
            let validity = Validity { not_before, not_after };
            let issued = authority.issue_client(&name, KeyType::Rsa2048, validity)?;
            let (certificate, key) = (issued.certificate_pem, issued.private_key_pem);
            Ok(Identity::from_pem(certificate.as_bytes(), key.as_bytes())?)
        })
        .collect()
}

fn measure(mut one: impl FnMut(usize) -> Result<()>) -> Result<Vec<Duration>> {
    (0..GATEWAYS)
        .map(|index| {
            let started = Instant::now();
            one(index)?;
            Ok(started.elapsed())
        })
        .collect()
}

fn report(what: &str, mut times: Vec<Duration>) {
    let total: Duration = times.iter().sum();
    times.sort();
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "{what:<42}{:>9.0} images/s   median {:.2} ms   p99 {:.2} ms",
        times.len() as f64 / total.as_secs_f64(),
        millis(times[times.len() / 2]),
        millis(times[times.len() * 99 / 100]),
    );
}

fn row(what: &str, time: Duration) {
    println!("{what:<42}{:>9.2} s", time.as_secs_f64());
}

/// In MiB, as the kernel counted it.
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

fn compile(source: &Path, ca: &str, root: Fingerprint) -> Result<()> {
    let cache = tempfile::tempdir()?;
    let build = Build { source, ca: ca.as_bytes(), root, timestamp: 0, cache: cache.path() };
    let started = Instant::now();
    build.run(|| {}).context("cannot compile iPXE")?;
    row("one compile of iPXE", started.elapsed());
    Ok(())
}
