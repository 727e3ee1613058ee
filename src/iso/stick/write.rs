//! Writes an image to a medium and compares it with what is read back. A medium that was pulled out or
//! that no longer answers ends it with one error.

use std::io;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use super::medium::Medium;
use super::medium::PIECE;

/// The kernel gives a stick 30 s for a command and asks it again. A stick that does nothing for longer
/// is broken.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Begins the header of a GPT, also of its copy in the last sector of a disk.
const GPT: &[u8] = b"EFI PART";

/// The step that is being done, and the bytes of the image that it is through with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Write(u64),
    Compare(u64),
}

/// Other places that were changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The medium had the copy of an older partition table at its end, which was cleared.
    pub cleared_old_table: bool,
}

/// The reason for an image not to be on a medium.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("it is gone: it was pulled out or lost its contact after {done} of {len} bytes")]
    Gone { done: u64, len: u64 },
    #[error("it did nothing for {} s after {done} of {len} bytes: it is broken", patience.as_secs())]
    Stalled { done: u64, len: u64, patience: Duration },
    #[error("it fails to {act} at byte {at}, so it is broken or was pulled out")]
    Failed { act: &'static str, at: u64, source: io::Error },
    #[error("what it gives back at byte {at} is not what was written, so it is broken")]
    Differs { at: u64 },
}

/// Writes `image` to a medium of `size` bytes with sectors of `block` bytes, and compares.
///
/// The first sector is written last, so firmware starts nothing from a medium that was pulled out before.
pub fn write(
    medium: impl Medium + Send + 'static,
    image: &[u8],
    (size, block): (u64, u64),
    patience: Duration,
    mut step: impl FnMut(Phase),
) -> Result<Outcome, Error> {
    let len = image.len() as u64;
    let (tell, told) = mpsc::channel();
    let mut padded = image.to_vec();
    padded.resize(image.len().next_multiple_of(block as usize), 0);
    // A thread of its own, because nothing can interrupt one that waits for a disk.
    thread::spawn(move || {
        let mut work = Work { medium, image: padded, block: block as usize, tell: tell.clone() };
        let result = work.run(size);
        // Whoever waits for the end may want to open the medium.
        drop(work);
        // If nobody listens any more, the other side has given up.
        let _ = tell.send(Told::Ended(result));
    });
    let mut done = 0;
    loop {
        match told.recv_timeout(patience) {
            Ok(Told::Step(phase)) => {
                let (Phase::Write(at) | Phase::Compare(at)) = phase;
                done = at;
                step(phase);
            }
            Ok(Told::Ended(result)) => {
                return result.map_err(|error| match error {
                    Error::Failed { source, .. } if is_gone(&source) => Error::Gone { done, len },
                    other => other,
                });
            }
            Err(RecvTimeoutError::Timeout) => return Err(Error::Stalled { done, len, patience }),
            Err(RecvTimeoutError::Disconnected) => return Err(Error::Gone { done, len }),
        }
    }
}

/// True for the errors of a disk that the kernel no longer has.
fn is_gone(error: &io::Error) -> bool {
    const GONE: [Errno; 4] = [Errno::NODEV, Errno::NXIO, Errno::NOMEDIUM, Errno::SHUTDOWN];
    // A disk without its medium has a size of 0, and ends where a read or a write begins.
    let ended = [io::ErrorKind::UnexpectedEof, io::ErrorKind::WriteZero].contains(&error.kind());
    ended || Errno::from_io_error(error).is_some_and(|error| GONE.contains(&error))
}

enum Told {
    Step(Phase),
    Ended(Result<Outcome, Error>),
}

struct Work<M> {
    medium: M,
    image: Vec<u8>,
    block: usize,
    tell: mpsc::Sender<Told>,
}

impl<M: Medium> Work<M> {
    fn run(&mut self, size: u64) -> Result<Outcome, Error> {
        let cleared_old_table = self.clear_old_table(size)?;
        self.put(&vec![0; self.block], 0)?;
        let image = std::mem::take(&mut self.image);
        let (first, rest) = image.split_at(self.block.min(image.len()));
        let mut at = first.len() as u64;
        for piece in rest.chunks(PIECE) {
            self.put(piece, at)?;
            at += piece.len() as u64;
            self.step(Phase::Write(at));
        }
        self.flush(at)?;
        self.put(first, 0)?;
        self.flush(at)?;
        self.compare(&image)?;
        Ok(Outcome { cleared_old_table })
    }

    /// The copy of an older partition table would stay behind the image. No firmware may use it, since
    /// the image has no table that it could be a copy of; but partitioning tools offer to restore it,
    /// which would destroy the medium.
    fn clear_old_table(&mut self, size: u64) -> Result<bool, Error> {
        let last = (size / self.block as u64).saturating_sub(1) * self.block as u64;
        if last < self.image.len() as u64 {
            return Ok(false);
        }
        let mut sector = vec![0; self.block];
        self.get(&mut sector, last)?;
        if !sector.starts_with(GPT) {
            return Ok(false);
        }
        self.put(&vec![0; self.block], last)?;
        Ok(true)
    }

    fn compare(&mut self, image: &[u8]) -> Result<(), Error> {
        let (mut back, mut at) = (vec![0; PIECE], 0u64);
        for piece in image.chunks(PIECE) {
            let back = &mut back[..piece.len()];
            self.get(back, at)?;
            if let Some(offset) = back.iter().zip(piece).position(|(is, was)| is != was) {
                return Err(Error::Differs { at: at + offset as u64 });
            }
            at += piece.len() as u64;
            self.step(Phase::Compare(at));
        }
        Ok(())
    }

    fn step(&self, phase: Phase) {
        // If nobody listens any more, the other side has given up.
        let _ = self.tell.send(Told::Step(phase));
    }

    fn put(&mut self, bytes: &[u8], at: u64) -> Result<(), Error> {
        let failed = |source| Error::Failed { act: "write", at, source };
        self.medium.write_at(bytes, at).map_err(failed)
    }

    fn get(&mut self, bytes: &mut [u8], at: u64) -> Result<(), Error> {
        let failed = |source| Error::Failed { act: "read", at, source };
        self.medium.read_at(bytes, at).map_err(failed)
    }

    fn flush(&mut self, at: u64) -> Result<(), Error> {
        let failed = |source| Error::Failed { act: "write", at, source };
        self.medium.flush().map_err(failed)
    }
}

#[cfg(test)]
mod tests;
