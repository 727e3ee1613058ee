//! The base image of `farmgate iso`: its parts, and the cache that keeps it.

use std::net::Ipv4Addr;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use clap::Args;
use sha2::Digest;
use sha2::Sha256;
use tracing::warn;

use crate::cli::context::Context;
use crate::cli::context::now;
use crate::config::BootUrl;
use crate::config::Contact;
use crate::identity::Certificate;
use crate::identity::Fingerprint;
use crate::identity::pki::ServerName;
use crate::identity::survives_any_clock;
use crate::identity::usable_ca;
use crate::ipxe::media::Cidr;
use crate::ipxe::media::Facts;
use crate::ipxe::media::StaticAddress;
use crate::iso;
use crate::iso::compile::Build;
use crate::iso::sources::Ipxe;
use crate::iso::sources::Syslinux;
use crate::store::State;
use crate::store::files;

/// A base image holds nothing secret.
pub(super) const PUBLIC: u32 = 0o644;

/// Version of the images in the cache: another version may make another image from the same input.
const MAKER: &str = concat!("farmgate base image 2 ", env!("CARGO_PKG_VERSION"));

/// Options for the parts of a base image and for its script.
#[derive(Args)]
pub(in crate::cli) struct Parts {
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
    /// Contact on the screen when nothing boots, instead of that of the configuration
    #[arg(long, value_name = "TEXT")]
    contact: Option<Contact>,
    /// Open iPXE's shell when booting fails: for a machine on your desk
    #[arg(long)]
    debug: bool,
}

impl Parts {
    /// The base image of a state, from its cache if it was made before.
    pub(in crate::cli) fn base(&self, cx: &Context, state: &State) -> Result<Vec<u8>> {
        let config = state.config();
        let urls = std::iter::once(&config.url).chain(&config.media.fallback_urls);
        let fleet = Fleet {
            ca: state.ca_certificate_for_media()?,
            urls: urls.cloned().collect(),
            ntp: config.media.ntp.clone(),
            contact: config.media.contact.clone(),
        };
        state.with_cache(|cache| self.image(cx, &fleet, Some(cache)))
    }

    /// A base image from the arguments alone, for a fleet whose state is elsewhere. `ca` is the
    /// file with its certificate (PEM).
    pub(super) fn base_without_state(&self, cx: &Context, ca: &Path) -> Result<Vec<u8>> {
        if self.urls.is_empty() {
            bail!("with --ca, no configuration says where the boot host is: give --url");
        }
        let pem = files::read_given(ca)?;
        let ca = Certificate::from_pem(&pem)
            .with_context(|| format!("cannot use {}", ca.display()))?
            .der;
        self.image(cx, &Fleet { ca, urls: Vec::new(), ntp: None, contact: None }, None)
    }

    fn image(&self, cx: &Context, fleet: &Fleet, cache: Option<&Path>) -> Result<Vec<u8>> {
        let unfit = "no gateway could have this CA as its root";
        usable_ca(&fleet.ca).context(unfit)?;
        let end = Certificate::from_der(&fleet.ca)?.not_after;
        ensure!(end > now(), "{unfit}: it expired on {}", end.date());
        let root = Fingerprint::of_der(&fleet.ca);
        let syslinux = Syslinux::find(self.syslinux.as_deref())?;
        let ipxe = match &self.ipxe_source {
            Some(source) => compile(cx, cache, source, &fleet.ca)?,
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
            ca: Some(&fleet.ca),
            needs_ecdsa: iso::uses_ecdsa(&fleet.ca),
            urls: if self.urls.is_empty() { fleet.urls.clone() } else { self.urls.clone() },
            ntp: self.ntp(fleet)?,
            address,
            contact: self.contact.clone().or_else(|| fleet.contact.clone()),
            debug: self.debug,
        };
        if let Err(risk) = survives_any_clock(&fleet.ca) {
            warn!("{risk}");
        }
        let kept = cache.map(|cache| cache.join(format!("base-{}", key(&inputs))));
        if let Some(image) = kept.as_deref().and_then(unseal_cache) {
            return Ok(image);
        }
        let (bios, efi) = ipxe.rerooted(&root)?;
        inputs.ipxe_bios = &bios;
        inputs.ipxe_efi = &efi;
        let image = iso::base(&inputs)?;
        if let Some(kept) = kept {
            let content = [Sha256::digest(&image).as_slice(), &image].concat();
            // If this fails, only the next call takes longer.
            if let Err(error) = files::replace(&kept, PUBLIC, |file| file.write_all(&content)) {
                warn!("the base image is not cached: {error:#}");
            }
        }
        Ok(image)
    }

    fn ntp(&self, fleet: &Fleet) -> Result<Option<ServerName>> {
        match self.ntp.as_deref().or(fleet.ntp.as_deref()) {
            None | Some("none") => Ok(None),
            Some(host) => Ok(Some(host.parse().context("cannot use the time server")?)),
        }
    }
}

/// Facts about the fleet that an image is for.
struct Fleet {
    /// Certificate of its CA, DER.
    ca: Vec<u8>,
    urls: Vec<BootUrl>,
    ntp: Option<String>,
    contact: Option<Contact>,
}

/// A digest of everything that the image depends on.
fn key(inputs: &iso::Inputs<'_>) -> String {
    let facts = Facts {
        root: inputs.root,
        ipxe: None,
        ecdsa: inputs.needs_ecdsa,
        urls: inputs.urls.clone(),
        ca: inputs.ca.map(<[u8]>::to_vec),
    };
    let script = inputs.script(facts).render();
    let mut digest = Sha256::new();
    for part in [
        MAKER.as_bytes(),
        script.as_slice(),
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

fn compile(cx: &Context, cache: Option<&Path>, source: &Path, ca: &[u8]) -> Result<Ipxe> {
    /// Approximate number of lines that iPXE's build prints.
    const STEPS: u64 = 2600;
    let cache = cache.context("an iPXE is compiled in the cache of a state: leave out --ca")?;
    let certificate = Certificate::from_der(ca)?;
    let progress = cx.progress(STEPS, "compiling iPXE");
    let pem = pem::encode(&pem::Pem::new("CERTIFICATE", ca));
    let build = Build {
        source,
        ca: pem.as_bytes(),
        root: certificate.fingerprint,
        // A date that depends on the input alone and is not in the future.
        timestamp: certificate.not_before.unix_timestamp(),
        cache,
    };
    let ipxe = build.run(|| progress.inc(1))?;
    progress.finish_and_clear();
    Ok(ipxe)
}
