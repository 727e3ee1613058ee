//! Folders without which no boot can be served or recorded. Looks at the disk.

use super::layout;
use super::state::State;

/// They are made with the store, and never removed by farmgate.
const NEEDED: [&str; 2] = [layout::BLOBS, layout::EVENTS];

impl State {
    /// Messages about folders that are missing. Each says the way out after a semicolon.
    pub fn missing_folders(&self) -> Vec<String> {
        let folders = NEEDED.map(|name| self.store_dir().join(name));
        let missing = folders.iter().filter(|folder| !folder.is_dir());
        missing
            .map(|folder| {
                format!("{} is missing; mount it, or restore it from a backup", folder.display())
            })
            .collect()
    }
}
