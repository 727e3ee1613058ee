//! The images that stay on the drive: those that are known good, and those that are wanted now. Pure.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::profile::reference::Digest;

/// The images that stay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Images of the generation that was acknowledged last. `None` if that is not known any more:
    /// then nothing is collected without need.
    pub good: Option<BTreeSet<Digest>>,
    /// Images of the generation that runs, or is tried.
    pub wanted: BTreeSet<Digest>,
}
