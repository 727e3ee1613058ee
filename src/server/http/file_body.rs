//! Streams a file, and records when its last byte is sent or the client is gone. Reads page-cache
//! hits on the connection's thread; a blocking thread reads the rest from disk.

use std::fs::File;
use std::io;
use std::io::IoSliceMut;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Instant;

use axum::body::Bytes;
use hyper::body::Body;
use hyper::body::Frame;
use hyper::body::SizeHint;
use prometheus_client::metrics::counter::Counter;
use rustix::io::ReadWriteFlags;
use rustix::io::preadv2;
use tokio::task::JoinHandle;

use crate::server::edge::congestion::Congestion;
use crate::server::recorder::Recorder;
use crate::server::recorder::Subject;
use crate::store::journal::Stage;

/// The recorder and the subject of a transfer, for its outcome.
pub(super) struct Recording {
    pub(super) recorder: Recorder,
    pub(super) subject: Subject,
    pub(super) path: String,
    /// Counter of its bytes.
    pub(super) sent: Counter,
}

/// Part of a file, as a response body.
pub(super) struct FileBody {
    file: Arc<File>,
    left: Range<u64>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    recording: Recording,
    size: u64,
    bytes: u64,
    began: Instant,
    congestion: Congestion,
}

impl FileBody {
    /// Sends this range of `file`.
    pub(super) fn new(
        file: File,
        range: Range<u64>,
        recording: Recording,
        congestion: Congestion,
    ) -> Self {
        let size = range.end - range.start;
        let (file, began) = (Arc::new(file), Instant::now());
        Self { file, left: range, reading: None, recording, size, bytes: 0, began, congestion }
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if self.reading.is_none() {
            ready!(self.congestion.poll_over(context));
            let left = usize::try_from(self.left.end - self.left.start).unwrap_or(usize::MAX);
            let (start, len) = (self.left.start, left.min(self.congestion.worth_reading()));
            if let Some(piece) = read_cached(&self.file, start, len) {
                return Poll::Ready(Ok(piece));
            }
            let file = self.file.clone();
            self.reading = Some(tokio::task::spawn_blocking(move || read(&file, start, len)));
        }
        let Some(reading) = &mut self.reading else { return Poll::Pending };
        let piece = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        Poll::Ready(piece.map_err(io::Error::other)?)
    }
}

/// Reads from the page cache; `None` if that would wait for the disk.
fn read_cached(file: &File, start: u64, len: usize) -> Option<Bytes> {
    let mut piece = vec![0; len];
    let buffers = &mut [IoSliceMut::new(&mut piece)];
    // Some file systems do not support this, and return an error.
    let count = preadv2(file, buffers, start, ReadWriteFlags::NOWAIT).ok().filter(|n| *n > 0)?;
    piece.truncate(count);
    Some(piece.into())
}

fn read(file: &File, start: u64, len: usize) -> io::Result<Bytes> {
    let mut piece = vec![0; len];
    loop {
        match file.read_at(&mut piece, start) {
            // The file was full-size when it was opened.
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                piece.truncate(count);
                return Ok(piece.into());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let piece = ready!(self.poll_piece(context))?;
        let count = piece.len() as u64;
        self.left.start += count;
        self.bytes += count;
        self.recording.sent.inc_by(count);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.end - self.left.start)
    }
}

impl Drop for FileBody {
    fn drop(&mut self) {
        let stage = Stage::File {
            path: std::mem::take(&mut self.recording.path).into(),
            size: self.size,
            bytes: self.bytes,
            millis: self.began.elapsed().as_millis().try_into().unwrap_or(u64::MAX),
        };
        self.recording.recorder.record(self.recording.subject.clone(), stage);
    }
}
