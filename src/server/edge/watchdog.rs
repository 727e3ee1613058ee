//! Proves to systemd that the server answers, not just that one of its threads runs. Sends a probe
//! through every listener; it needs all that a boot needs.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::systemd;

/// Size of both buffers of a probe's connection. Request and answer are shorter.
const BUFFER: usize = 4096;

/// The probe. `GET /healthz` reads the state's disk.
const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: watchdog\r\nConnection: close\r\n\r\n";

/// Way to one listener, past the socket itself: the accept loop takes a probe like a connection.
pub(in crate::server) type Probes = mpsc::Sender<DuplexStream>;

/// Notifies systemd periodically while all of `doors` answer, if systemd asks for it. When one
/// stops answering, the notifications stop, and systemd restarts the service.
pub(in crate::server) async fn run(doors: Vec<(&'static str, Probes)>) {
    let Some(limit) = systemd::watchdog() else { return std::future::pending().await };
    let pause = limit / 3;
    loop {
        let mut all = true;
        for (name, probes) in &doors {
            let answer = tokio::time::timeout(pause, probe(probes)).await;
            if !matches!(answer, Ok(Ok(()))) {
                tracing::error!("the listener {name} does not answer the watchdog: {answer:?}");
                all = false;
            }
        }
        if all {
            systemd::alive();
        }
        tokio::time::sleep(pause).await;
    }
}

async fn probe(door: &Probes) -> io::Result<()> {
    let (mut ours, theirs) = tokio::io::duplex(BUFFER);
    door.send(theirs).await.map_err(|_| io::Error::other("nobody accepts connections"))?;
    ours.write_all(REQUEST).await?;
    let mut answer = [0; 9];
    ours.read_exact(&mut answer).await?;
    // Any status will do: a server whose disk fails should go on with what it has.
    if &answer == b"HTTP/1.1 " { Ok(()) } else { Err(io::Error::other("no HTTP answer")) }
}
