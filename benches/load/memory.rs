//! Resident memory while 500 gateways download, each more slowly than the server could send.

use std::net::SocketAddr;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use socket2::Domain;
use socket2::Socket;
use socket2::Type;

use crate::client::Connection;
use crate::client::Gateway;
use crate::farmgate::Farmgate;
use crate::large;
use crate::options::Options;
use crate::results::Results;
use crate::say;
use crate::state::name;

const DOWNLOADS: usize = 500;
/// The client's socket holds little, so that the server has most of each file still to send.
const RECEIVE_BUFFER: usize = 64 * 1024;
const WATCH: Duration = Duration::from_secs(4);

pub(crate) fn run(options: &Options, dir: &Path, results: &mut Results) -> Result<()> {
    let kept = large::fleet(options, DOWNLOADS, 1)?;
    let state = kept.copy_to(&dir.join("memory"))?;
    let farmgate = Farmgate::start(&state, &options.farmgate, "farmgate")?;
    let server = &farmgate.own_tls;
    server.wait(&state.client(&name(0))?)?;
    let asset = server.asset.as_deref().context("no files")?;
    let memory = || server.processes[0].memory("VmRSS").context("no VmRSS");
    results.single.push(("memory, idle".to_owned(), memory()?, "MB"));
    say(&format!("memory with {DOWNLOADS} downloads"));
    let mut connections = Vec::new();
    for number in 0..DOWNLOADS {
        let mut connection = slow(server.port, &state.client(&name(number))?)?;
        connection.begin(asset)?;
        connections.push(connection);
    }
    let (began, mut most) = (Instant::now(), memory()?);
    while began.elapsed() < WATCH {
        for connection in &mut connections {
            connection.read(asset)?;
        }
        most = most.max(memory()?);
        sleep(Duration::from_millis(50));
    }
    results.single.push((format!("memory, {DOWNLOADS} downloads"), most, "MB"));
    Ok(())
}

fn slow(port: u16, gateway: &Gateway) -> Result<Connection> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into())?;
    Connection::over(gateway, socket.into())
}
