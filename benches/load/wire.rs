//! A TCP stream that is read in large pieces: rustls asks for 4 KiB at a time, and the client must
//! not be what limits a download.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;

pub(crate) struct Wire {
    tcp: TcpStream,
    buffer: Box<[u8]>,
    at: usize,
    end: usize,
}

impl Wire {
    pub(crate) fn new(tcp: TcpStream) -> Self {
        Self { tcp, buffer: vec![0; 128 * 1024].into(), at: 0, end: 0 }
    }
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.end {
            self.end = self.tcp.read(&mut self.buffer)?;
            self.at = 0;
        }
        let len = into.len().min(self.end - self.at);
        into[..len].copy_from_slice(&self.buffer[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}
