//! The wait between a failed boot and the restart: longer each time in a row. The
//! count is kept on the drive; without one each wait is the shortest.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::backoff::Backoff;

const FILE: &str = "failures";
const WAITS: Backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(15 * 60));

/// The number of boots in a row that failed.
#[derive(Clone, Debug)]
pub struct Failures(Option<PathBuf>);

impl Failures {
    /// Kept in this directory, or nowhere.
    pub fn kept_in(directory: Option<&Path>) -> Self {
        Self(directory.map(|directory| directory.join(FILE)))
    }

    /// Counts another one and gives the wait before the next boot.
    pub fn another(&self, jitter: f64) -> Duration {
        let earlier = self.count();
        self.write(earlier.saturating_add(1));
        // Never less than the first: what fails at once would otherwise fail all the time.
        WAITS.wait(earlier, None, jitter).max(WAITS.wait(0, None, 0.0))
    }

    /// The boot worked.
    pub fn none(&self) {
        if self.count() > 0 {
            self.write(0);
        }
    }

    fn count(&self) -> u32 {
        let text = self.0.as_ref().and_then(|path| fs::read_to_string(path).ok());
        text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    fn write(&self, count: u32) {
        let Some(path) = &self.0 else { return };
        // A drive that takes no number is one reason to restart, and no reason not to.
        let new = path.with_extension("new");
        let _ = fs::write(&new, count.to_string()).and_then(|()| fs::rename(&new, path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_until_a_boot_works() {
        let directory = tempfile::tempdir().unwrap();
        let next = || Failures::kept_in(Some(directory.path())).another(0.0).as_secs();
        assert_eq!([next(), next(), next()], [10, 20, 40]);
        for _ in 0..10 {
            next();
        }
        assert_eq!(next(), 900);
        Failures::kept_in(Some(directory.path())).none();
        assert_eq!(next(), 10);
    }

    #[test]
    fn without_a_drive_or_with_a_broken_count_the_wait_is_the_shortest() {
        let shortest = Duration::from_secs(10);
        assert_eq!(Failures::kept_in(None).another(1.0), shortest);
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), "many").unwrap();
        assert_eq!(Failures::kept_in(Some(directory.path())).another(1.0), shortest);
        let gone = Failures::kept_in(Some(Path::new("/nowhere")));
        assert_eq!((gone.another(1.0), gone.another(1.0)), (shortest, shortest));
    }
}
