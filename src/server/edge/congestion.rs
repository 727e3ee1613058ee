//! Tells whoever produces a body that the client does not take what was written, so that nothing
//! more is read for it. Touches no disk and no clock.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use futures_util::task::AtomicWaker;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Whether a connection holds bytes that its client does not take yet.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Congestion(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    congested: AtomicBool,
    waker: AtomicWaker,
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
}

impl Watched {
    pub(super) fn new(stream: TlsStream<TcpStream>) -> Self {
        Self { stream, congestion: Congestion::default() }
    }

    pub(super) fn congestion(&self) -> Congestion {
        self.congestion.clone()
    }

    fn watch<T>(
        &mut self,
        act: impl FnOnce(Pin<&mut TlsStream<TcpStream>>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let done = act(Pin::new(&mut self.stream));
        self.congestion.set(self.stream.get_ref().1.wants_write());
        done
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
        self.watch(|stream| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.watch(|stream| stream.poll_write_vectored(context, bytes))
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
    use std::sync::atomic::AtomicUsize;
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
