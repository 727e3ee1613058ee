//! Threads of their own for what operators and their monitoring ask. Whatever gateways keep
//! busy, `/healthz` answers; and whatever operators ask, gateways boot.

use std::io;

use tokio::runtime::Builder;
use tokio::runtime::Handle;
use tokio::runtime::Runtime;

/// Threads that wait for the disk.
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

    /// Where their tasks run.
    pub(in crate::server) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Operators {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A server that stops waits for nobody who only looks on.
            runtime.shutdown_background();
        }
    }
}
