//! The files that other servers send: those that farmgate sends, fetched from it.

use std::fs;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::boot::Size;
use crate::boot::boot;
use crate::client::Connection;
use crate::farmgate::Farmgate;
use crate::fleet::Fleet;
use crate::fleet::PLAIN;
use crate::servers::Server;

/// Fills `files`, and returns the boot script that all servers are to send.
pub(crate) fn fetch(farmgate: &Farmgate, fleet: &Fleet, files: &Path) -> Result<Vec<u8>> {
    let port = farmgate.own_tls.port;
    let script = farmgate.own_tls.wait(fleet.full(0))?;
    write(files, &farmgate.own_tls.script, &script)?;
    for (gateway, size) in [(fleet.full(0), Size::Full), (fleet.small(0), Size::Small)] {
        let booted = boot(gateway, port, size)?;
        for (path, bytes) in [&booted.script, &booted.secrets, &booted.acknowledged] {
            write(files, path, bytes)?;
        }
        let (folder, _) = booted.script.0.rsplit_once('/').context("a path without a folder")?;
        let mut connection = Connection::open(gateway, port)?;
        for file in ["vmlinuz", "initrd.img"] {
            let path = format!("{folder}/{file}");
            write(files, &path, &connection.fetch(&path)?)?;
            if size == Size::Full {
                write(files, &format!("{PLAIN}/{file}"), &connection.fetch(&path)?)?;
            }
        }
    }
    Ok(script)
}

/// Waits until a server answers, and sees that it sends that script.
pub(crate) fn compare(server: &Server, fleet: &Fleet, script: &[u8]) -> Result<()> {
    let sent = server.wait(fleet.full(0))?;
    ensure!(sent == script, "{} sends another script:\n{}", server.name, sent.escape_ascii());
    Ok(())
}

fn write(files: &Path, path: &str, bytes: &[u8]) -> Result<()> {
    let path = files.join(path.trim_start_matches('/'));
    let parent = path.parent().context("a path without a folder")?;
    fs::create_dir_all(parent)?;
    fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
