//! Stages of boots, from the flight recorder. A journal is read again once it has changed.

use std::time::SystemTime;

use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::store::State;
use crate::store::journal::Journals;
use crate::store::journal::Stage;
use crate::store::stamp::Memo;

/// Most gateways whose last stage is remembered.
const MOST: usize = 16 * 1024;

/// The stages that the last boots reached.
pub(in crate::server) struct Stages(Memo<GatewayId, Option<(EventId, Stage)>>);

impl Default for Stages {
    fn default() -> Self {
        Self(Memo::new(MOST))
    }
}

impl Stages {
    /// The last entry about `boot` in the journal of its gateway.
    pub(super) fn reached(&self, state: &State, id: &GatewayId, boot: EventId) -> Option<Stage> {
        let journals = Journals::new(state);
        // Taken before the read, so that a concurrent change shows the next time.
        let (now, stamp) = (SystemTime::now(), journals.stamp(id).ok()?);
        let known = self.0.get(id).filter(|(seen, _)| seen.is_still(&stamp));
        let last = match known {
            Some((_, last)) => last,
            None => {
                let entries = journals.latest(id).ok()?;
                let last =
                    entries.into_iter().rev().find_map(|entry| Some((entry.boot?, entry.stage)));
                self.0.keep(id.clone(), stamp, last.clone(), now);
                last
            }
        };
        last.filter(|(about, _)| *about == boot).map(|(_, stage)| stage)
    }
}
