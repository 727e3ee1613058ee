//! A plan for people. Pure.

use std::collections::BTreeMap;
use std::fmt;

use super::change::Change;
use super::change::File;
use super::change::FileChange;
use super::change::Kind;
use super::plan::Action;
use super::plan::GatewayPlan;
use super::plan::Plan;
use crate::identity::GatewayName;
use crate::images;

/// Most lines of one script's change; `--json` has all of it.
const MOST_LINES: usize = 60;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut alike: BTreeMap<String, Vec<(&GatewayName, &GatewayPlan)>> = BTreeMap::new();
        let mut order = Vec::new();
        for (name, gateway) in self.gateways.iter().filter(|(_, gateway)| !gateway.is_empty()) {
            let text = changes(gateway);
            let all = alike.entry(text.clone()).or_default();
            if all.is_empty() {
                order.push(text);
            }
            all.push((name, gateway));
        }
        for text in order {
            let gateways = &alike[&text];
            for (name, gateway) in gateways {
                let (publish, now) = (gateway.action == Action::Publish, gateway.generation);
                let what = match (publish, now) {
                    (true, Some(number)) => format!("a new generation in place of {number}"),
                    (true, None) => "a first generation".to_owned(),
                    (false, _) => "no new generation".to_owned(),
                };
                let pin = match gateway.pinned.filter(|_| publish) {
                    Some(pinned) => format!(", but {pinned} is pinned (`farmgate release {name}`)"),
                    None => String::new(),
                };
                let profile = gateway.profile.as_ref().map(|profile| format!(" ({profile})"));
                writeln!(f, "{name}{}: {what}{pin}", profile.unwrap_or_default())?;
            }
            writeln!(f, "{text}")?;
        }
        if self.waves.len() > 1 {
            for (number, wave) in self.waves.iter().enumerate() {
                writeln!(f, "wave {}: {}", number + 1, list(wave))?;
            }
            writeln!(f)?;
        }
        let removed = self.removed.keys().cloned().collect();
        for (names, what) in [
            (&self.unregistered, "in the folder, and not registered (`farmgate gateway add NAME`)"),
            (
                &self.absent,
                "registered, and not in the folder: they stay as they are (--remove-absent)",
            ),
            (
                &removed,
                "registered, and not in the folder: they are removed, with all keys and generations",
            ),
            (&self.wrong_certificate, "no valid certificate has the fingerprint in the folder"),
        ] {
            if !names.is_empty() {
                writeln!(f, "{what}: {}", list(names))?;
            }
        }
        for (name, why) in &self.damaged {
            writeln!(f, "{name} cannot be read, and is left out: {why}")?;
        }
        let held = |(_, gateway): &(_, &GatewayPlan)| gateway.action == Action::Held;
        let held: Vec<_> =
            self.gateways.iter().filter(held).map(|(name, _)| name.clone()).collect();
        if !held.is_empty() {
            writeln!(
                f,
                "the newest generation has this content and is not current (rolled back, or held by \
                 a rollout): {}; `apply --again` publishes it again",
                list(&held)
            )?;
        }
        let all = self.gateways.len();
        match self.changes() {
            0 => write!(f, "nothing changes for {all} {}", gateways(all)),
            1 => write!(f, "1 of {all} {} changes", gateways(all)),
            changes => write!(f, "{changes} of {all} {} change", gateways(all)),
        }?;
        match self.removed.len() {
            0 => Ok(()),
            1 => write!(f, "; 1 is removed"),
            removed => write!(f, "; {removed} are removed"),
        }
    }
}

fn gateways(count: usize) -> &'static str {
    if count == 1 { "gateway" } else { "gateways" }
}

fn list(names: &[GatewayName]) -> String {
    names.iter().map(GatewayName::as_str).collect::<Vec<_>>().join(" ")
}

fn changes(gateway: &GatewayPlan) -> String {
    let mut text = String::new();
    if let Some(group) = &gateway.group {
        let before = group.before.as_ref().map_or("none", |group| group.as_str());
        text += &format!("  group: {before} → {}\n", group.after);
    }
    gateway.labels.iter().for_each(|change| text += &one("label", change));
    gateway.variables.iter().for_each(|change| text += &one("variable", change));
    gateway.images.iter().for_each(|change| text += &format!("  ~ {change}\n"));
    files(&gateway.files, &gateway.images).for_each(|change| text += &file(change));
    text
}

pub(super) fn one<N: fmt::Display>(
    kind: &str,
    Change { name, before, after }: &Change<N>,
) -> String {
    match (before, after) {
        (None, Some(after)) => format!("  + {kind} {name}: {after:?}\n"),
        (Some(before), None) => format!("  - {kind} {name}: {before:?}\n"),
        (Some(before), Some(after)) => format!("  ~ {kind} {name}: {before:?} → {after:?}\n"),
        (None, None) => String::new(),
    }
}

/// The files to show: not those of images, where it is said which images change.
pub(super) fn files<'a>(
    files: &'a [FileChange],
    images: &[images::Change],
) -> impl Iterator<Item = &'a FileChange> {
    let all = images.is_empty();
    files.iter().filter(move |change| all || !images::is_image_file(&change.path))
}

pub(super) fn file(FileChange { path, before, after, change, diff }: &FileChange) -> String {
    let sign = match change {
        Kind::Added => '+',
        Kind::Changed => '~',
        Kind::Removed => '-',
    };
    let facts = [before, after].map(|file| file.as_ref().map(fact));
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    let mut text = format!("  {sign} {path}");
    match facts.is_empty() {
        true => text += "  (secret)\n",
        false => text += &format!("  {}\n", facts.join(" → ")),
    }
    let Some(diff) = diff.as_ref().filter(|_| *change == Kind::Changed) else { return text };
    let lines: Vec<&str> = diff.lines().collect();
    for line in lines.iter().take(MOST_LINES) {
        text += &format!("      {line}\n");
    }
    if lines.len() > MOST_LINES {
        text += &format!("      ... {} more lines\n", lines.len() - MOST_LINES);
    }
    text
}

fn fact(file: &File) -> String {
    let digest = file.sha256.to_string();
    let size = file.size.map_or("not fetched yet".to_owned(), |size| format!("{size} bytes"));
    format!("{}… ({size})", &digest[..12])
}
