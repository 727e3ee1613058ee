//! What of the state is missing that no boot can do without.

use super::State;

/// Folders of the store that are made with it, and never go away by themselves.
const FOLDERS: [&str; 2] = ["blobs", "gateways"];

impl State {
    /// What keeps all gateways from booting, or their boots from being recorded. Each says the
    /// way out after a semicolon.
    pub fn missing_folders(&self) -> Vec<String> {
        let folders = FOLDERS.map(|name| self.store_dir().join(name));
        let missing = folders.iter().filter(|folder| !folder.is_dir());
        missing
            .map(|folder| {
                format!("{} is missing; mount it, or restore it from a backup", folder.display())
            })
            .collect()
    }
}
