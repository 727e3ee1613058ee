//! Changes from one generation to the next.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::fleet::Asset;
use crate::fleet::BOOT_SCRIPT;
use crate::fleet::Generation;
use crate::fleet::Variables;
use crate::foreign::Foreign;
use crate::server::app::App;
use crate::server::page::model::Changes;
use crate::server::page::model::Script;
use crate::server::page::model::Variable;
use crate::store::blobs::Access;

/// Compares the files of two generations, and reads their boot scripts if they differ. No other
/// text is read, least of all that of a secrets template.
pub(super) fn changes(app: &App, before: &Generation, after: &Generation) -> Changes {
    let (old, new) = (before.files(), after.files());
    let only_in = |these: &BTreeMap<String, Asset>, those: &BTreeMap<String, Asset>| {
        these.keys().filter(|path| !those.contains_key(*path)).cloned().collect::<Vec<_>>()
    };
    let differs = |(path, asset): &(&String, &Asset)| {
        old.get(*path).is_some_and(|before| before.sha256 != asset.sha256)
    };
    Changes {
        before: before.number,
        added: only_in(new, old),
        removed: only_in(old, new),
        changed: new.iter().filter(differs).map(|(path, _)| path.clone()).collect(),
        variables: variables(before.variables(), after.variables()),
        script: script(app, old.get(BOOT_SCRIPT), new.get(BOOT_SCRIPT)),
    }
}

fn variables(old: &Variables, new: &Variables) -> Vec<Variable> {
    let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let value = |of: &Variables, name| of.get(name).map(|value| Foreign::new(value));
    let differing = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    differing
        .map(|name| Variable {
            name: name.to_string(),
            before: value(old, name),
            after: value(new, name),
        })
        .collect()
}

fn script(app: &App, old: Option<&Asset>, new: Option<&Asset>) -> Script {
    let (Some(old), Some(new)) = (old, new) else { return Script::Same };
    if old.sha256 == new.sha256 {
        return Script::Same;
    }
    let blobs = app.generations().blobs_of(Access::Public);
    let text =
        |asset: &Asset| blobs.read(asset).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    match (text(old), text(new)) {
        (Ok(old), Ok(new)) => Script::Texts { old, new },
        (Err(fault), _) | (_, Err(fault)) => Script::Unreadable(fault.to_string()),
    }
}
