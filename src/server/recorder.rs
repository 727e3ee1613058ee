//! Hands lines of the flight recorder to a thread that writes them. No boot waits for that disk
//! write, and lines of the same moment are written together.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use time::OffsetDateTime;

use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::store::journal::Entry;
use crate::store::journal::Journals;
use crate::store::journal::Stage;

/// Most lines that may wait for the disk.
const WAITING: usize = 4096;

/// Pause between two writes. Lines gather in it.
const GATHER: Duration = Duration::from_millis(25);

/// The flight recorder. Dropping the last clone writes the last lines.
#[derive(Clone)]
pub(super) struct Recorder {
    writer: Arc<Writer>,
}

/// The gateway and boot that a line is about.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) gateway_id: GatewayId,
    pub(super) boot: Option<EventId>,
    pub(super) address: String,
}

struct Writer {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Default)]
struct Lines {
    waiting: Vec<(GatewayId, Entry)>,
    left_out: usize,
    closed: bool,
}

impl Recorder {
    /// Starts the writer thread, which calls `on_written` after lines were written.
    pub(super) fn start(
        journals: Journals,
        on_written: impl Fn() + Send + 'static,
    ) -> Result<Self> {
        let queue = Arc::new(Queue::default());
        let theirs = queue.clone();
        let thread = thread::Builder::new()
            .name("farmgate-journal".to_owned())
            .spawn(move || theirs.write_all(&journals, &on_written))
            .context("cannot start a thread")?;
        Ok(Self { writer: Arc::new(Writer { queue, thread: Mutex::new(Some(thread)) }) })
    }

    /// Writes what waits, and no more after it.
    pub(super) fn close(&self) {
        self.writer.close();
    }

    pub(super) fn record(&self, subject: Subject, stage: Stage) {
        let Subject { gateway_id, boot, address } = subject;
        let entry = Entry { at: OffsetDateTime::now_utc(), boot, address: address.into(), stage };
        let queue = &self.writer.queue;
        let mut lines = queue.lock();
        if lines.waiting.len() >= WAITING {
            lines.left_out += 1;
            return;
        }
        lines.waiting.push((gateway_id, entry));
        // A writer with lines waiting looks again before it sleeps.
        if lines.waiting.len() == 1 {
            queue.changed.notify_one();
        }
    }
}

impl Queue {
    fn write_all(&self, journals: &Journals, on_written: &dyn Fn()) {
        loop {
            let closed = self.wait();
            let (waiting, left_out) = {
                let mut lines = self.lock();
                (mem::take(&mut lines.waiting), mem::take(&mut lines.left_out))
            };
            if left_out > 0 {
                tracing::warn!("journals miss {left_out} lines: the disk is too slow");
            }
            let mut by_gateway: BTreeMap<GatewayId, Vec<Entry>> = BTreeMap::new();
            for (gateway, entry) in waiting {
                by_gateway.entry(gateway).or_default().push(entry);
            }
            for (gateway, entries) in &by_gateway {
                if let Err(error) = journals.append(gateway, entries) {
                    let missing = entries.len();
                    let gateway = gateway.name();
                    tracing::warn!(
                        gateway,
                        missing,
                        "lines are missing from the journal: {error:#}"
                    );
                }
            }
            on_written();
            if closed {
                return;
            }
            // A line that comes alone is written at once; many share a write.
            thread::sleep(GATHER);
        }
    }

    /// Waits for lines or the end; returns true at the end.
    fn wait(&self) -> bool {
        let nothing = |lines: &mut Lines| lines.waiting.is_empty() && !lines.closed;
        let lines = self.changed.wait_while(self.lock(), nothing);
        lines.unwrap_or_else(PoisonError::into_inner).closed
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        // The code under this lock cannot panic.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    fn close(&self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It panics nowhere; if it did, that was told of already.
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}
