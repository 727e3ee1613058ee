//! Tells whoever produces a body whether the client takes what was written, and so how much is worth
//! reading for it. Asks the clock how long a client pauses.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use std::time::Instant;

use futures_util::task::AtomicWaker;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Bytes that are held for a client that reads slowly, or may turn out to.
const SMALL: usize = 8 * 1024;

/// The same for one that keeps up.
const LARGE: usize = 64 * 1024;

/// A client that pauses for longer reads slowly. A fast one on a fast line only lets the server run
/// ahead for moments.
const PAUSE: Duration = Duration::from_millis(20);

/// A client that took so much without such a pause keeps up. The kernel alone takes less: 4 MiB is the
/// most that it buffers for a connection (`net.ipv4.tcp_wmem`).
const KEEPS_UP: usize = 4 * 1024 * 1024;

/// The state of a connection that bodies are sent on: congested while it holds bytes that the client
/// has not taken.
#[derive(Clone, Debug)]
pub(in crate::server) struct Congestion(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    congested: AtomicBool,
    worth_reading: AtomicUsize,
    waker: AtomicWaker,
}

impl Default for Congestion {
    /// Of a connection that nobody watches.
    fn default() -> Self {
        let (congested, worth_reading) = (AtomicBool::new(false), AtomicUsize::new(LARGE));
        Self(Arc::new(Shared { congested, worth_reading, waker: AtomicWaker::new() }))
    }
}

impl Congestion {
    /// Ready when the client has taken all that was written.
    pub(in crate::server) fn poll_over(&self, context: &Context<'_>) -> Poll<()> {
        if self.is_over() {
            return Poll::Ready(());
        }
        self.0.waker.register(context.waker());
        // It may have ended before the waker was there.
        if self.is_over() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Bytes that are worth reading at a time.
    pub(in crate::server) fn worth_reading(&self) -> usize {
        self.0.worth_reading.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        !self.0.congested.load(Ordering::Acquire)
    }

    fn set(&self, congested: bool) {
        if self.0.congested.swap(congested, Ordering::AcqRel) && !congested {
            self.0.waker.wake();
        }
    }
}

/// A TLS stream that says whether it is congested: whether it holds a record that the socket has
/// no room for.
pub(super) struct Watched {
    stream: TlsStream<TcpStream>,
    congestion: Congestion,
    /// Bytes that the client took since it paused last.
    taken: usize,
    /// Since when it is congested.
    since: Option<Instant>,
}

impl Watched {
    pub(super) fn new(stream: TlsStream<TcpStream>) -> Self {
        let mut watched = Self { stream, congestion: Congestion::default(), taken: 0, since: None };
        watched.hold(SMALL);
        watched
    }

    /// Has TLS, and whoever produces bodies, hold at most so many bytes each.
    fn hold(&mut self, most: usize) {
        self.stream.get_mut().1.set_buffer_limit(Some(most));
        self.congestion.0.worth_reading.store(most, Ordering::Relaxed);
    }

    pub(super) fn congestion(&self) -> Congestion {
        self.congestion.clone()
    }

    fn watch<T>(
        &mut self,
        act: impl FnOnce(Pin<&mut TlsStream<TcpStream>>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let done = act(Pin::new(&mut self.stream));
        let congested = self.stream.get_ref().1.wants_write();
        match (congested, self.since) {
            (true, None) => self.since = Some(Instant::now()),
            (false, Some(since)) => {
                self.since = None;
                if since.elapsed() > PAUSE {
                    self.taken = 0;
                    self.hold(SMALL);
                }
            }
            _ => {}
        }
        self.congestion.set(congested);
        done
    }

    fn count(&mut self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(count)) = written {
            let before = self.taken;
            self.taken = before.saturating_add(*count);
            if before < KEEPS_UP && self.taken >= KEEPS_UP {
                self.hold(LARGE);
            }
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.watch(|stream| stream.poll_write(context, bytes));
        self.count(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.watch(|stream| stream.poll_write_vectored(context, bytes));
        self.count(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watch(|stream| stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watch(|stream| stream.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;
    use std::task::Waker;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn whoever_waits_is_woken_when_it_is_over_and_not_before() {
        let (count, congestion) = (Arc::new(Count::default()), Congestion::default());
        let waker = Waker::from(count.clone());
        let context = Context::from_waker(&waker);
        assert!(congestion.poll_over(&context).is_ready());
        congestion.set(true);
        assert!(congestion.poll_over(&context).is_pending());
        congestion.set(true);
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        congestion.set(false);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(congestion.poll_over(&context).is_ready());
        congestion.set(false);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
