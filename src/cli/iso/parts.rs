use std::net::Ipv4Addr;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use clap::Args;
use sha2::Digest;
use sha2::Sha256;
use tracing::warn;

use super::PUBLIC;
use super::write;
use crate::cli::Context;
use crate::config::BootUrl;
use crate::identity::Certificate;
use crate::identity::Fingerprint;
use crate::identity::pki::ServerName;
use crate::ipxe::media::Cidr;
use crate::ipxe::media::StaticAddress;
use crate::ipxe::media::TEMPLATE;
use crate::iso;
use crate::iso::compile::Build;
use crate::iso::sources::Ipxe;
use crate::iso::sources::Syslinux;
use crate::store::State;

/// Part of the name under which a base image is kept: another version may make
/// another image from the same input.
const MAKER: &str = concat!("farmgate base image 1 ", env!("CARGO_PKG_VERSION"));

/// What a base image is made of and what its script does.
#[derive(Args)]
pub(super) struct Parts {
    /// Folder with ipxe.lkrn and ipxe.efi, if not the distribution's
    #[arg(long, env = "FARMGATE_IPXE", value_name = "DIR")]
    ipxe: Option<PathBuf>,
    /// iPXE's source tree: compile it, trusting this CA, instead of using a binary
    #[arg(long, value_name = "DIR", conflicts_with = "ipxe")]
    ipxe_source: Option<PathBuf>,
    /// Folder with isolinux.bin, isohdpfx.bin and ldlinux.c32, if not the distribution's
    #[arg(long, env = "FARMGATE_SYSLINUX", value_name = "DIR")]
    syslinux: Option<PathBuf>,
    /// Boot host to ask, instead of those of the configuration; may be repeated
    #[arg(long = "url", value_name = "URL")]
    urls: Vec<BootUrl>,
    /// Time server to ask, or "none", instead of that of the configuration
    #[arg(long, value_name = "HOST")]
    ntp: Option<String>,
    /// Fixed IPv4 address with prefix length (192.0.2.10/24), for a network without DHCP
    #[arg(long, value_name = "CIDR")]
    address: Option<Cidr>,
    /// Router, for a fixed address
    #[arg(long, value_name = "IP", requires = "address")]
    router: Option<Ipv4Addr>,
    /// DNS server, for a fixed address
    #[arg(long, value_name = "IP", requires = "address")]
    dns: Option<Ipv4Addr>,
    /// Open iPXE's shell when booting fails: for a machine on your desk
    #[arg(long)]
    debug: bool,
}

impl Parts {
    /// The base image, from the cache when it was made before.
    pub(super) fn base(&self, cx: &Context, state: &State) -> Result<Vec<u8>> {
        let ca = state.ca_certificate()?;
        let root = Fingerprint::of_der(&ca);
        let syslinux = Syslinux::find(self.syslinux.as_deref())?;
        let ipxe = match &self.ipxe_source {
            Some(source) => compile(cx, state, source, &ca)?,
            None => Ipxe::find(self.ipxe.as_deref())?,
        };
        let address = self.address.map(|a| StaticAddress::new(a, self.router, self.dns));
        let mut inputs = iso::Inputs {
            ipxe_bios: &ipxe.bios.bytes,
            ipxe_efi: &ipxe.efi.bytes,
            isolinux: &syslinux.isolinux,
            isohdpfx: &syslinux.isohdpfx,
            ldlinux: &syslinux.ldlinux,
            root,
            needs_ecdsa: iso::uses_ecdsa(&ca),
            urls: self.urls(state),
            ntp: self.ntp(state)?,
            address,
            debug: self.debug,
        };
        let kept = state.cache_dir().join(format!("base-{}", key(&inputs)));
        if let Some(image) = unseal_cache(&kept) {
            return Ok(image);
        }
        let (bios, efi) = ipxe.rerooted(&root)?;
        inputs.ipxe_bios = &bios;
        inputs.ipxe_efi = &efi;
        let image = iso::base(&inputs)?;
        // Without a cache the next call takes longer, and that is all.
        let content = [Sha256::digest(&image).as_slice(), &image].concat();
        if let Err(error) = write(&kept, PUBLIC, &content) {
            warn!("the base image is not kept for the next time: {error:#}");
        }
        Ok(image)
    }

    fn urls(&self, state: &State) -> Vec<BootUrl> {
        if !self.urls.is_empty() {
            return self.urls.clone();
        }
        let config = state.config();
        std::iter::once(&config.url).chain(&config.media.fallback_urls).cloned().collect()
    }

    fn ntp(&self, state: &State) -> Result<Option<ServerName>> {
        match self.ntp.as_deref().or(state.config().media.ntp.as_deref()) {
            None | Some("none") => Ok(None),
            Some(host) => Ok(Some(host.parse().context("cannot use the time server")?)),
        }
    }
}

/// Names all that the image depends on.
fn key(inputs: &iso::Inputs<'_>) -> String {
    let script = format!(
        "{MAKER} {TEMPLATE} {} {} {:?} {:?} {:?} {}",
        inputs.root, inputs.needs_ecdsa, inputs.urls, inputs.ntp, inputs.address, inputs.debug
    );
    let mut digest = Sha256::new();
    for part in [
        script.as_bytes(),
        inputs.ipxe_bios,
        inputs.ipxe_efi,
        inputs.isolinux,
        inputs.isohdpfx,
        inputs.ldlinux,
    ] {
        digest.update(Sha256::digest(part));
    }
    hex::encode(digest.finalize())
}

/// The image in a file of the cache, unless it is missing or damaged.
fn unseal_cache(path: &Path) -> Option<Vec<u8>> {
    let mut content = std::fs::read(path).ok()?;
    let image = content.split_off(content.len().min(32));
    (content == Sha256::digest(&image).as_slice()).then_some(image)
}

fn compile(cx: &Context, state: &State, source: &Path, ca: &[u8]) -> Result<Ipxe> {
    /// Lines that iPXE's build prints, more or less.
    const STEPS: u64 = 2600;
    let certificate = Certificate::from_der(ca)?;
    let progress = cx.progress(STEPS, "compiling iPXE");
    let pem = pem::encode(&pem::Pem::new("CERTIFICATE", ca));
    let build = Build {
        source,
        ca: pem.as_bytes(),
        root: certificate.fingerprint,
        // A date that depends on the input alone, and not in the future.
        timestamp: certificate.not_before.unix_timestamp(),
        cache: &state.cache_dir(),
    };
    let ipxe = build.run(|| progress.inc(1))?;
    progress.finish_and_clear();
    Ok(ipxe)
}
