//! The folder of a commit, checked and applied. Reads the folder, writes the state.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;
use serde::Serialize;
use time::OffsetDateTime;

use super::apply::Apply;
use super::apply::apply;
use super::fault::Faults;
use super::folder::FleetFolder;
use super::git::Commit;
use super::live::LiveFleet;
use super::made::Reach;
use super::plan::Extent;
use super::plan::Plan;
use crate::fleet::By;
use crate::fleet::EventId;
use crate::identity::GatewayName;
use crate::publish::Checked;
use crate::publish::Resolver;
use crate::store::State;

/// The changes of a commit, made or planned.
#[derive(Clone, Debug, Serialize)]
pub struct Brought {
    /// The plan.
    pub plan: Plan,
    /// New generations, by gateway.
    pub published: BTreeMap<GatewayName, u64>,
    /// The rollout, if there are several waves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<EventId>,
    /// Findings that stop nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Applies the folder of a commit, in its author's name. All or nothing. It removes no gateway:
/// whoever may push must not thereby be able to shut one out for good.
pub(super) fn bring(
    state: &State,
    folder: &Path,
    commit: &Commit,
    again: bool,
    now: OffsetDateTime,
) -> Result<Brought> {
    let by = By::new(commit.author.as_str())
        .with_commit(&commit.id)
        .with_message(commit.subject.as_str());
    let apply = |described: &mut FleetFolder| {
        let extent = Extent { again, remove_absent: false };
        let resolver = Resolver::new(&state.config().images);
        let (resolver, progress) = (&resolver, &|_| ());
        let how = Apply { expected: None, extent, resolver, by: &by, now, progress };
        let applied = apply(state, described, how)?;
        Ok(Brought {
            plan: applied.plan,
            published: applied.published,
            rollout: applied.rollout,
            warnings: applied.warnings,
        })
    };
    read(folder)
        .and_then(|mut described| apply(&mut described))
        .map_err(|error| within(folder, &error))
}

/// The same without a change.
pub(super) fn rehearse(
    state: &State,
    folder: &Path,
    again: bool,
    now: OffsetDateTime,
) -> Result<Brought> {
    let rehearse = |described: &mut FleetFolder| {
        let checked = described.check(state.config().secrets.dir.is_some(), &|_| None)?;
        if let Some(error) = checked.iter().flat_map(Checked::errors).next() {
            bail!("{error}");
        }
        let resolver = Resolver::new(&state.config().images);
        let mut warnings = described.resolve(&resolver, Reach::Wanted)?;
        warnings.extend(checked.iter().flat_map(Checked::lines));
        Ok(Brought {
            plan: described
                .plan(&LiveFleet::read(state, now)?, Extent { again, remove_absent: false }),
            published: BTreeMap::new(),
            rollout: None,
            warnings,
        })
    };
    let rehearsed = read(folder).and_then(|mut described| rehearse(&mut described));
    rehearsed.map_err(|error| within(folder, &error))
}

fn read(folder: &Path) -> Result<FleetFolder> {
    FleetFolder::read(folder).map_err(|error| match error.downcast_ref::<Faults>() {
        Some(faults) => anyhow!(first(faults)),
        None => error,
    })
}

/// The first fault in a line, and how many there are.
fn first(faults: &Faults) -> String {
    let Some(fault) = faults.all.first() else { return faults.to_string() };
    let place = fault.position.map(|(line, column)| format!(":{line}:{column}"));
    let more = match faults.all.len() - 1 {
        0 => String::new(),
        1 => ", and one more fault".to_owned(),
        more => format!(", and {more} more faults"),
    };
    let help = if fault.help.is_empty() { "" } else { "; " };
    format!("{}{}: {}{help}{}{more}", fault.path, place.unwrap_or_default(), fault.what, fault.help)
}

/// Names files as the repository does. The folder is gone when somebody reads this.
fn within(folder: &Path, error: &anyhow::Error) -> anyhow::Error {
    let folder = folder.display().to_string();
    let text = format!("{error:#}").replace(&format!("{folder}/"), "");
    let hint = format!("farmgate check {folder} shows more");
    let text = text.replace(&hint, "`farmgate check` in the repository shows more");
    anyhow!(text.replace(&folder, "the fleet folder"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn files_are_named_as_in_the_repository() {
        let folder = Path::new("/var/lib/farmgate/sync/fleet");
        let error = anyhow!(
            "{0}/profiles/debian/boot.ipxe:1:1: FG001 no (2 in all; farmgate check {0} shows more)",
            folder.display()
        );
        assert_eq!(
            within(folder, &error).to_string(),
            "profiles/debian/boot.ipxe:1:1: FG001 no (2 in all; `farmgate check` in the repository shows more)"
        );
    }

    #[test]
    fn one_fault_stands_for_all() {
        let dir = tempfile::tempdir().unwrap();
        let error = read(dir.path()).unwrap_err().to_string();
        assert!(
            error.starts_with("fleet.toml: there is none; ") && !error.contains('\n'),
            "{error}"
        );
    }
}
