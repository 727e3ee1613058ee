//! The packing of a layer: gzip, zstd, or nothing.

use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::BlockDecodingStrategy;
use ruzstd::decoding::FrameDecoder;
use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::errors::ReadFrameHeaderError;

use crate::profile::oci::Packing;

const BUFFER: usize = 256 * 1024;

/// A reader of the plain archive.
pub(super) fn open<'r>(packed: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
    let mut packed = BufReader::with_capacity(BUFFER, packed);
    Ok(match Packing::of(packed.fill_buf()?) {
        Packing::Gzip => Box::new(MultiGzDecoder::new(packed)),
        Packing::Zstd => Box::new(Frames { packed, decoder: FrameDecoder::new(), within: false }),
        Packing::None => Box::new(packed),
    })
}

/// The frames of a zstd stream, one after the other. The library reads one.
struct Frames<R> {
    packed: R,
    decoder: FrameDecoder,
    /// True between the header of a frame and its last byte.
    within: bool,
}

impl<R: BufRead> Frames<R> {
    /// Reads the header of a frame, or skips one that holds no data.
    fn begin(&mut self) -> io::Result<()> {
        match self.decoder.init(&mut self.packed) {
            Ok(()) => self.within = true,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let length = u64::from(length);
                let skipped = io::copy(&mut (&mut self.packed).take(length), &mut io::sink())?;
                if skipped < length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Err(error) => return Err(invalid(&error)),
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.within {
                if self.packed.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                self.begin()?;
                continue;
            }
            if self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.packed, one).map_err(|e| invalid(&e))?;
            }
            let read = self.decoder.read(buffer)?;
            if read > 0 {
                return Ok(read);
            }
            self.within = !self.decoder.is_finished();
        }
    }
}

fn invalid(error: &FrameDecoderError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
