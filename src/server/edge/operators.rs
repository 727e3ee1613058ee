//! Separate threads for requests of operators and their monitoring. `/healthz` answers however busy
//! gateways keep the server, and gateways boot whatever operators ask.

use std::io;

use tokio::runtime::Builder;
use tokio::runtime::Handle;
use tokio::runtime::Runtime;

/// Threads that may wait for the disk.
const BLOCKING: usize = 4;

pub(in crate::server) struct Operators {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Operators {
    pub(in crate::server) fn new() -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.thread_name("farmgate-admin").worker_threads(1).max_blocking_threads(BLOCKING);
        let runtime = builder.enable_all().build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// The runtime for their tasks.
    pub(in crate::server) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Operators {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A stopping server does not wait for operators' requests.
            runtime.shutdown_background();
        }
    }
}
