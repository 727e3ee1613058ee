//! Completion by real shells: each is asked what it would offer next.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use crate::common::BIN;
use crate::common::TestState;
use crate::common::installed;
use crate::common::skip;

/// Asks an interactive zsh what it would offer after the line `$1`. `$2` prepares it.
const ZSH: &str = r#"
zmodload zsh/zpty || exit 2
zpty z zsh -f -i
zpty -w z "PROMPT= RPS1=; $2"
zpty -w z 'compadd() {
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
    local -a hits; builtin compadd -A hits "$@"
    local hit; for hit in $hits; do print -r -- "<hit>$hit</hit>"; done
    builtin compadd "$@"
}'
zpty -w z 'finish() { print -r -- "<done>" }; zle -N finish'
zpty -w z 'bindkey "^X^F" finish; bindkey "^I" list-choices; print "<re""ady>"'
local got
zpty -r -m z got '*<ready>*' || exit 3
zpty -n -w z "$1"$'\t'$'\x18\x06'
zpty -r -m z got '*<done>*' || exit 4
print -r -- "$got" | grep -o '<hit>[^<]*</hit>' | sed 's/<[^>]*>//g'
zpty -d z
"#;

/// A state with gateways and a group, and the script of each shell.
struct Shells {
    state: TestState,
    scripts: PathBuf,
}

impl Shells {
    fn new() -> Self {
        let state = TestState::quick();
        state.ok(&["gateway", "add", "lab-2", "--group", "debian"]);
        let script = |shell: &str| state.ok(&["completions", shell]).into_bytes();
        let [bash, zsh, fish] = ["bash", "zsh", "fish"].map(script);
        let files = [("farmgate.bash", &*bash), ("_farmgate", &zsh), ("farmgate.fish", &fish)];
        let scripts = state.folder("completion", &files);
        Self { state, scripts }
    }

    fn script(&self, name: &str) -> String {
        self.scripts.join(name).display().to_string()
    }

    /// The lines that a shell prints; it finds this farmgate and this state.
    fn lines(&self, shell: &str, args: &[&str]) -> Vec<String> {
        let mut path = OsString::from(Path::new(BIN).parent().unwrap());
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        let mut shell = Command::new(shell);
        shell.args(args).env("PATH", path).env("FARMGATE_STATE", self.state.dir());
        let output = shell.env("HOME", &self.scripts).env("TERM", "dumb").output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {stderr}");
        let text = String::from_utf8(output.stdout).unwrap();
        // fish and zsh describe commands behind a tab or a colon.
        let word = |line: &str| line.split(['\t', ':']).next().unwrap().trim().to_owned();
        text.lines().map(word).filter(|line| !line.is_empty()).collect()
    }
}

/// The offers of every shell.
fn assert_completes(complete: &dyn Fn(&str) -> Vec<String>) {
    assert_eq!(complete("farmgate gate"), ["gateway"]);
    assert_eq!(complete("farmgate gateway ren"), ["renew", "rename"]);
    assert_eq!(complete("farmgate status lab"), ["lab-1", "lab-2"]);
    assert_eq!(complete("farmgate rollback @"), ["@debian", "@all"]);
    assert_eq!(complete("farmgate gateway rename lab-2"), ["lab-2"]);
    assert_eq!(complete("farmgate get lab-1"), ["lab-1"]);
    assert_eq!(complete("farmgate get @"), [""; 0]);
    assert_eq!(complete("farmgate gateway add lab-"), [""; 0]);
    assert_eq!(complete("farmgate status --group "), ["debian"]);
    // Another state, or none, is no reason for noise.
    assert_eq!(complete("farmgate --state /nonexistent status lab"), [""; 0]);
}

#[test]
fn bash_completes_commands_gateways_and_groups() {
    let shells = Shells::new();
    assert_completes(&|line| {
        let words = if line.ends_with(' ') { format!("{line}''") } else { line.to_owned() };
        let ask = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             COMP_TYPE=9; _clap_complete_farmgate farmgate \"${{COMP_WORDS[COMP_CWORD]}}\" x; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            shells.script("farmgate.bash")
        );
        shells.lines("bash", &["--norc", "-c", &ask])
    });
}

#[test]
fn fish_completes_commands_gateways_and_groups() {
    if installed("fish").is_none() {
        return skip("completion in fish", "there is no fish");
    }
    let shells = Shells::new();
    assert_completes(&|line| {
        let ask = format!("source {}; complete -C '{line}'", shells.script("farmgate.fish"));
        shells.lines("fish", &["--no-config", "-c", &ask])
    });
}

/// Sourced, as in an operator's own configuration, and as a file in `$fpath`, as in a package: there
/// zsh reads it when the first word is completed.
#[test]
fn zsh_completes_commands_gateways_and_groups() {
    if installed("zsh").is_none() {
        return skip("completion in zsh", "there is no zsh");
    }
    let shells = Shells::new();
    fs::write(shells.scripts.join("ask.zsh"), ZSH).unwrap();
    let init = "autoload -Uz compinit && compinit -u -D";
    let sourced = format!("{init}; source {}", shells.script("_farmgate"));
    let found = format!("fpath=({} $fpath); {init}", shells.scripts.display());
    for prepare in [sourced, found] {
        assert_completes(&|line| {
            shells.lines("zsh", &["-f", &shells.script("ask.zsh"), line, &prepare])
        });
    }
}
