//! Requests on several connections at once, from one thread: the client must not be what limits a
//! server that answers in some microseconds, and threads that wake each other would be.

use anyhow::Result;
use anyhow::ensure;

use crate::client::Connection;
use crate::client::Gateway;
use crate::servers::Server;

pub(crate) struct Window<'a> {
    script: &'a str,
    connections: Vec<Connection>,
    at: usize,
}

impl<'a> Window<'a> {
    /// A connection for each gateway, with one question on each.
    pub(crate) fn open<'b>(
        server: &'a Server,
        gateways: impl Iterator<Item = &'b Gateway>,
    ) -> Result<Self> {
        let script = &*server.script;
        let open = |gateway| {
            let mut connection = Connection::open(gateway, server.port)?;
            connection.fetch(script)?;
            Ok(connection)
        };
        let mut connections = gateways.map(open).collect::<Result<Vec<_>>>()?;
        connections.iter_mut().try_for_each(|connection| connection.ask(script))?;
        Ok(Self { script, connections, at: 0 })
    }

    /// Reads the answer that was asked for first, and asks again.
    pub(crate) fn next(&mut self) -> Result<()> {
        let count = self.connections.len();
        let connection = &mut self.connections[self.at];
        self.at = (self.at + 1) % count;
        let answer = connection.answer(self.script)?;
        ensure!(answer.status == 200, "{}: status {}", self.script, answer.status);
        connection.ask(self.script)
    }
}
