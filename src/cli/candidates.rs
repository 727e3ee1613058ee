//! Completion of a command that is being typed: names of gateways and groups of the state; none
//! where that cannot be read.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;

use clap_complete::engine::CompletionCandidate;
use clap_complete::engine::PathCompleter;
use clap_complete::engine::ValueCompleter;

use super::STATE;
use super::groups::Groups;
use crate::store::State;

/// Names of gateways, for `add = ArgValueCandidates::new(names)`.
pub(super) fn names() -> Vec<CompletionCandidate> {
    let names = state().and_then(|state| state.gateways().names().ok()).unwrap_or_default();
    names.iter().map(|name| CompletionCandidate::new(name.as_str())).collect()
}

/// Names of groups.
pub(super) fn groups() -> Vec<CompletionCandidate> {
    with_groups("")
}

/// Names of gateways, and groups after an `@`.
pub(super) fn selectors() -> Vec<CompletionCandidate> {
    let mut all = names();
    if !all.is_empty() {
        all.extend(with_groups("@"));
        all.push(CompletionCandidate::new("@all"));
    }
    all
}

/// The same, and folders: one of them is the last argument of `publish`.
pub(super) fn selectors_and_folders(current: &OsStr) -> Vec<CompletionCandidate> {
    let typed = current.to_string_lossy();
    let mut all = selectors();
    all.retain(|candidate| candidate.get_value().to_string_lossy().starts_with(&*typed));
    all.extend(PathCompleter::dir().complete(current));
    all
}

fn with_groups(before: &str) -> Vec<CompletionCandidate> {
    let groups = state().and_then(|state| Groups::read(&state).ok());
    let names = groups.map(|groups| groups.names()).unwrap_or_default();
    names.iter().map(|group| CompletionCandidate::new(format!("{before}{group}"))).collect()
}

/// The state of the command line that is completed, which follows `--` among the arguments.
fn state() -> Option<State> {
    let words: Vec<_> = env::args_os().skip_while(|word| word != "--").skip(1).collect();
    let named = words.iter().enumerate().find_map(|(at, word)| match word.to_str()? {
        "--state" => words.get(at + 1).map(PathBuf::from),
        word => word.strip_prefix("--state=").map(PathBuf::from),
    });
    let named = named.or_else(|| env::var_os("FARMGATE_STATE").map(PathBuf::from));
    State::open(&named.unwrap_or_else(|| STATE.into()), None).ok()
}
