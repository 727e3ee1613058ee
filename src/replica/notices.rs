//! Problems that last until somebody acts: each is logged once, however many passes meet it.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::PoisonError;

/// The problems that were logged already.
#[derive(Debug, Default)]
pub(super) struct Notices {
    logged: Mutex<BTreeSet<String>>,
}

impl Notices {
    /// Logs an error, unless it was logged before.
    pub(super) fn error(&self, what: String) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if !logged.contains(&what) {
            tracing::error!("{what}");
            logged.insert(what);
        }
    }

    /// Logs objects of the store `shown` whose names farmgate never writes.
    pub(super) fn strays(&self, names: &BTreeSet<String>, shown: &str) {
        for name in names {
            self.error(format!("ignored {name} in {shown}: no object of farmgate has such a name"));
        }
    }
}
