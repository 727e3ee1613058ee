//! Writing to media that do what they should, and to those that do not.

use std::sync::Arc;
use std::sync::Mutex;

use super::*;

const BLOCK: usize = 512;
const SIZE: usize = 1024 * 1024;

/// The fate of the nth write or read.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Error(Errno),
    /// It takes what it is given, and forgets it.
    Forgets,
    Hangs,
    Ends,
}

#[derive(Clone)]
struct Fake {
    bytes: Arc<Mutex<Vec<u8>>>,
    turns: usize,
    fault: Fault,
}

impl Fake {
    fn new(turns: usize, fault: Fault) -> Self {
        Self { bytes: Arc::new(Mutex::new(vec![0xee; SIZE])), turns, fault }
    }

    fn turn(&mut self) -> io::Result<bool> {
        self.turns = self.turns.wrapping_sub(1);
        if self.turns < usize::MAX / 2 {
            return Ok(true);
        }
        match self.fault {
            Fault::None => Ok(true),
            Fault::Forgets => Ok(false),
            Fault::Error(error) => Err(error.into()),
            Fault::Ends => Err(io::ErrorKind::UnexpectedEof.into()),
            Fault::Hangs => loop {
                thread::park();
            },
        }
    }
}

impl Medium for Fake {
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        assert!(bytes.len().is_multiple_of(BLOCK) && (at as usize).is_multiple_of(BLOCK));
        if self.turn()? {
            self.bytes.lock().unwrap()[at as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        Ok(())
    }

    fn read_at(&mut self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.turn()?;
        bytes.copy_from_slice(&self.bytes.lock().unwrap()[at as usize..][..bytes.len()]);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn image() -> Vec<u8> {
    (0..3 * PIECE + 700).map(|at| (at % 251) as u8).collect()
}

fn flash(fake: &Fake, patience: Duration) -> Result<Outcome, Error> {
    write(fake.clone(), &image(), (SIZE as u64, BLOCK as u64), patience, |_| {})
}

#[test]
fn the_image_is_on_the_medium_and_nothing_else_changed() {
    let (fake, mut steps) = (Fake::new(0, Fault::None), Vec::new());
    let size = (SIZE as u64, BLOCK as u64);
    let outcome = write(fake.clone(), &image(), size, PATIENCE, |phase| steps.push(phase)).unwrap();
    assert!(!outcome.cleared_old_table);
    let padded = image().len().next_multiple_of(BLOCK);
    let bytes = fake.bytes.lock().unwrap();
    assert!(bytes[..image().len()] == image());
    assert!(bytes[image().len()..padded].iter().all(|byte| *byte == 0));
    assert!(bytes[padded..].iter().all(|byte| *byte == 0xee));
    assert_eq!(steps.last(), Some(&Phase::Compare(padded as u64)));
    assert!(steps.contains(&Phase::Write(padded as u64)));
}

#[test]
fn the_copy_of_an_older_partition_table_is_cleared() {
    let fake = Fake::new(0, Fault::None);
    fake.bytes.lock().unwrap()[SIZE - BLOCK..][..8].copy_from_slice(GPT);
    assert!(flash(&fake, PATIENCE).unwrap().cleared_old_table);
    let bytes = fake.bytes.lock().unwrap();
    assert!(bytes[SIZE - BLOCK..].iter().all(|byte| *byte == 0));
    assert!(bytes[SIZE - 2 * BLOCK..SIZE - BLOCK].iter().all(|byte| *byte == 0xee));
}

/// Whenever it is pulled out, the error is one, and firmware starts nothing from it.
#[test]
fn a_medium_that_is_pulled_out_is_said_to_be_gone() {
    for fault in [Fault::Error(Errno::NODEV), Fault::Error(Errno::NXIO), Fault::Ends] {
        let mut turns = 0;
        loop {
            let fake = Fake::new(turns, fault);
            match flash(&fake, PATIENCE) {
                Ok(_) => break,
                Err(error) => assert!(matches!(error, Error::Gone { .. }), "{turns}: {error}"),
            }
            // The first turn reads the end, the second clears the first sector.
            let first = fake.bytes.lock().unwrap()[0];
            assert!(turns < 2 || first == 0 || turns > 6, "{turns}: {first}");
            turns += 1;
        }
        assert!(turns > 8, "only {turns} turns");
    }
}

#[test]
fn a_medium_that_fails_forgets_or_hangs_is_said_to_be_broken() {
    for turns in [0, 1, 3, 7] {
        let error = flash(&Fake::new(turns, Fault::Error(Errno::IO)), PATIENCE).unwrap_err();
        assert!(matches!(error, Error::Failed { .. }), "{error}");
    }
    let error = flash(&Fake::new(4, Fault::Forgets), PATIENCE).unwrap_err();
    assert!(matches!(error, Error::Differs { .. }), "{error}");
    for turns in [0, 1, 3, 7] {
        let error = flash(&Fake::new(turns, Fault::Hangs), Duration::from_millis(300)).unwrap_err();
        assert!(matches!(error, Error::Stalled { .. }), "{error}");
    }
}
