//! One boot, from the handshake to the acknowledgement, on one connection.

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::client::Connection;
use crate::client::Gateway;

/// The first request, with what iPXE says of itself.
pub(crate) const BEGIN: &str =
    "/boot/ipxe?mac=52:54:00:12:34:56&platform=efi&buildarch=x86_64&version=1.21.1";

/// Which files the gateway's generation has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// Kernel and initramfs as they are.
    Full,
    /// So small that requests cost more than bytes.
    Small,
}

impl Size {
    /// The first request, with the generation that other servers, which know no gateways, are to
    /// send.
    fn begin(self) -> String {
        let product = match self {
            Self::Full => "full",
            Self::Small => "small",
        };
        format!("{BEGIN}&product={product}")
    }
}

/// The result of a boot.
pub(crate) struct Booted {
    /// Path of the boot script, and its bytes.
    pub(crate) script: (String, Vec<u8>),
    pub(crate) secrets: (String, Vec<u8>),
    pub(crate) acknowledged: (String, Vec<u8>),
}

pub(crate) fn boot(gateway: &Gateway, port: u16, size: Size) -> Result<Booted> {
    let mut connection = Connection::open(gateway, port)?;
    let first = connection.get(&size.begin())?;
    ensure!(first.status == 302, "/boot/ipxe: status {}", first.status);
    let location = first.location.context("/boot/ipxe: no Location")?;
    let script = connection.fetch(&location)?;
    let (folder, _) = location.rsplit_once('/').context("/boot/ipxe: a strange Location")?;
    for file in ["vmlinuz", "initrd.img"] {
        connection.download(&format!("{folder}/{file}"))?;
    }
    let secrets_path = path_in(&script, "secrets_url")?;
    let secrets = connection.fetch(&secrets_path)?;
    let ack_path = path_in(&script, "ack_url")?;
    let acknowledged = connection.fetch(&ack_path)?;
    Ok(Booted {
        script: (location, script),
        secrets: (secrets_path, secrets),
        acknowledged: (ack_path, acknowledged),
    })
}

/// The path of an address that the prelude of a boot script sets.
fn path_in(script: &[u8], setting: &str) -> Result<String> {
    let script = String::from_utf8_lossy(script);
    let line = format!("set {setting} https://");
    let address = script.lines().find_map(|text| text.strip_prefix(&*line));
    let address = address.with_context(|| format!("the script sets no {setting}"))?;
    let (_, path) = address.split_once('/').context("an address without a path")?;
    Ok(format!("/{}", path.trim_end_matches(" ||")))
}
