//! The difference between two generations of a gateway. Reads the store.

use std::fmt;

use anyhow::Context;
use anyhow::Result;
use serde::Serialize;

use super::change::Change;
use super::change::FileChange;
use super::change::changes;
use super::change::file_changes;
use super::show;
use crate::fleet::Asset;
use crate::fleet::Generation;
use crate::fleet::MAX_SCRIPT_LEN;
use crate::fleet::Record;
use crate::fleet::VariableName;
use crate::identity::GatewayName;
use crate::images;
use crate::store::State;
use crate::store::blobs::Access;
use crate::store::generations::Generations;

/// Differences between two generations.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    pub gateway: GatewayName,
    /// Number of the earlier one.
    pub from: u64,
    /// Number of the later one.
    pub to: u64,
    pub files: Vec<FileChange>,
    pub variables: Vec<Change<VariableName>>,
    /// Container images.
    pub images: Vec<images::Change>,
}

impl Difference {
    /// Compares `from` with `to`: by default, the generation before the current one, and the
    /// current one.
    pub fn read(
        state: &State,
        record: &Record,
        from: Option<u64>,
        to: Option<u64>,
    ) -> Result<Self> {
        let (generations, name) = (Generations::new(state), &record.name);
        let history = generations.readable(&record.id)?.history;
        let number = |number: u64| {
            history.generation(number).with_context(|| {
                format!(
                    "gateway {name} has no generation {number}; `farmgate generations {name}` \
                     shows all of them"
                )
            })
        };
        let to = match to {
            Some(to) => number(to)?,
            None => history
                .current()
                .with_context(|| format!("nothing is published for gateway {name}"))?,
        };
        let from = match from {
            Some(from) => number(from)?,
            None => {
                let earlier = |found: &&std::sync::Arc<Generation>| found.number < to.number;
                history.generations().filter(earlier).last().with_context(|| {
                    format!("gateway {name} has no generation before {}", to.number)
                })?
            }
        };
        let text = |asset: &Asset| {
            let small = asset.size <= MAX_SCRIPT_LEN;
            let text = small.then(|| generations.blobs_of(Access::Public).read(asset).ok())??;
            Some(String::from_utf8_lossy(&text).into_owned())
        };
        let read = |asset: &Asset| generations.blobs_of(Access::Public).read(asset).ok();
        let held = |generation: &Generation| images::held(generation.files(), &read);
        Ok(Self {
            gateway: name.clone(),
            from: from.number,
            to: to.number,
            files: file_changes(from.files(), to.files(), &text, &text),
            variables: changes(from.variables(), to.variables()),
            images: images::changes(&held(from), &held(to)),
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gateway, from, to, files, variables, images } = self;
        if files.is_empty() && variables.is_empty() {
            return write!(f, "generations {from} and {to} of {gateway} are the same");
        }
        write!(f, "{gateway}: generation {from} → {to}")?;
        for change in variables {
            write!(f, "\n{}", show::one("variable", change).trim_end())?;
        }
        for change in images {
            write!(f, "\n  ~ {change}")?;
        }
        show::files(files, images)
            .try_for_each(|change| write!(f, "\n{}", show::file(change).trim_end()))
    }
}
