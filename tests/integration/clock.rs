//! Programs that see another time.

use std::ffi::OsString;
use std::process::Command;

use crate::common::installed;
use crate::common::skip;

/// The environment in which a program sees a clock that is ahead or behind: `+10m`, `-10m`.
/// `None` if there is no faketime here.
pub(crate) fn shifted(offset: &str) -> Option<Vec<(OsString, OsString)>> {
    let Some(faketime) = installed("faketime") else {
        skip("what needs another clock", "there is no faketime");
        return None;
    };
    // Only asked for what it sets: it would stay between us and the program, and be killed in
    // place of it. Timers must not drift: they are told to the kernel, which knows no other clock.
    let mut command = Command::new(faketime);
    command.args(["-m", "--exclude-monotonic", "-f", offset, "env", "-0"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let variables = String::from_utf8(output.stdout).unwrap();
    let variables = variables.split('\0').filter_map(|line| line.split_once('='));
    // The memory that it shares with the program is gone with it.
    let ours = |name: &str| {
        name == "LD_PRELOAD" || (name.starts_with("FAKETIME") && name != "FAKETIME_SHARED")
    };
    let ours: Vec<_> = variables.filter(|(name, _)| ours(name)).collect();
    assert!(ours.iter().any(|(name, _)| *name == "LD_PRELOAD"), "{ours:?}");
    Some(ours.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
}
