use std::pin::Pin;
use std::task::Poll;
use std::time::Instant;

use axum::body::Bytes;
use futures_core::Stream;
use prometheus_client::metrics::counter::Counter;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::store::journal::Entry;
use crate::store::journal::Journals;
use crate::store::journal::Stage;

/// Lines that may wait for the disk. A boot never does.
const WAITING: usize = 4096;

/// Hands lines of the flight recorder to whoever writes them.
#[derive(Clone)]
pub(super) struct Recorder {
    sender: mpsc::Sender<(GatewayId, Entry)>,
}

/// For whom something is recorded.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) gateway_id: GatewayId,
    pub(super) boot: Option<EventId>,
    pub(super) address: String,
}

impl Recorder {
    /// Starts the writer; it ends once all recorders are gone.
    pub(super) fn start(journals: Journals) -> Self {
        let (sender, mut receiver) = mpsc::channel::<(GatewayId, Entry)>(WAITING);
        tokio::task::spawn_blocking(move || {
            while let Some((gateway, entry)) = receiver.blocking_recv() {
                if let Err(error) = journals.append(&gateway, &entry) {
                    tracing::warn!(gateway_id = %gateway, "the journal misses a line: {error:#}");
                }
            }
        });
        Self { sender }
    }

    pub(super) fn record(&self, subject: &Subject, stage: Stage) {
        let Subject { gateway_id, boot, address } = subject.clone();
        let entry = Entry { at: OffsetDateTime::now_utc(), boot, address: address.into(), stage };
        if let Err(TrySendError::Full((gateway, _))) = self.sender.try_send((gateway_id, entry)) {
            tracing::warn!(gateway_id = %gateway, "the journal misses a line: the disk is too slow");
        }
    }
}

/// Where the fate of a file is to be recorded.
pub(super) struct Recording {
    pub(super) recorder: Recorder,
    pub(super) subject: Subject,
    pub(super) path: String,
    /// Where its bytes are counted.
    pub(super) sent: Counter,
}

/// A body that is recorded when its last byte, or the client, is gone.
pub(super) struct Recorded<S> {
    inner: Pin<Box<S>>,
    recording: Recording,
    size: u64,
    bytes: u64,
    began: Instant,
}

impl<S> Recorded<S> {
    /// Wraps `inner`, which yields `size` bytes.
    pub(super) fn new(inner: S, recording: Recording, size: u64) -> Self {
        Self { inner: Box::pin(inner), recording, size, bytes: 0, began: Instant::now() }
    }
}

impl<S: Stream<Item = std::io::Result<Bytes>>> Stream for Recorded<S> {
    type Item = S::Item;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Option<Self::Item>> {
        let polled = self.inner.as_mut().poll_next(context);
        if let Poll::Ready(Some(Ok(bytes))) = &polled {
            self.bytes += bytes.len() as u64;
            self.recording.sent.inc_by(bytes.len() as u64);
        }
        polled
    }
}

impl<S> Drop for Recorded<S> {
    fn drop(&mut self) {
        let stage = Stage::File {
            path: std::mem::take(&mut self.recording.path).into(),
            size: self.size,
            bytes: self.bytes,
            millis: self.began.elapsed().as_millis().try_into().unwrap_or(u64::MAX),
        };
        self.recording.recorder.record(&self.recording.subject, stage);
    }
}
