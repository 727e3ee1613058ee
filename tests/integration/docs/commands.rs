//! docs/commands.md is what the program's own help says. After a change of the command line:
//!
//! ```text
//! FARMGATE_WRITE_DOCS=1 cargo test --test integration -- docs::commands
//! ```

use std::fmt::Write;
use std::process::Command;

use super::read;
use super::root;
use crate::common::BIN;

const PAGE: &str = "docs/commands.md";

const INTRODUCTION: &str = "# Commands

This page is made of `farmgate COMMAND --help`, and a test compares it with that. `man farmgate-COMMAND` has examples,
files and the exit status besides.
";

/// The help of a command, by its own mouth.
fn help(words: &[&str]) -> String {
    let output = Command::new(BIN).args(words).arg("--help").env_clear().output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The lines of a part of the help.
fn part<'a>(help: &'a str, title: &str) -> Vec<&'a str> {
    let lines = help.lines().skip_while(|line| *line != title).skip(1);
    lines.take_while(|line| line.is_empty() || line.starts_with(' ')).collect()
}

fn subcommands(help: &str) -> Vec<&str> {
    let lines = part(help, "Commands:").into_iter();
    let named = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = named.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").collect()
}

/// The name of the option that a line begins to explain.
fn option(line: &str) -> Option<&str> {
    let line = line.strip_prefix("  ").filter(|rest| rest.trim_start().starts_with('-'))?;
    (line.len() - line.trim_start().len() <= 4).then_some(())?;
    line.split_whitespace().find_map(|word| word.strip_prefix("--"))
}

/// The help without the options that every command has.
fn own<'a>(help: &'a str, common: &[&str]) -> Vec<&'a str> {
    let (mut kept, mut skips) = (Vec::new(), false);
    for line in help.lines() {
        match option(line) {
            Some(name) => skips = common.contains(&name),
            None if !line.starts_with("      ") => skips = false,
            None => {}
        }
        if !skips {
            kept.push(line);
        }
    }
    while kept.last().is_some_and(|line| line.is_empty() || *line == "Options:") {
        kept.pop();
    }
    kept
}

fn write(words: &[&str], common: &[&str], page: &mut String) {
    let help = help(words);
    let below = subcommands(&help);
    let name = [&["farmgate"], words].concat().join(" ");
    write!(page, "\n## {name}\n\n```text\n{}\n```\n", own(&help, common).join("\n")).unwrap();
    for sub in below {
        write(&[words, &[sub]].concat(), common, page);
    }
}

fn made() -> String {
    let whole = help(&[]);
    let common: Vec<_> = whole.lines().filter_map(option).collect();
    assert!(common.contains(&"state") && common.contains(&"json"), "{common:?}");
    let mut page = INTRODUCTION.to_owned();
    write!(page, "\n## farmgate\n\n```text\n{whole}```\n").unwrap();
    for sub in subcommands(&whole) {
        write(&[sub], &common, &mut page);
    }
    page
}

#[test]
fn the_page_of_commands_is_what_the_program_says() {
    let made = made();
    if std::env::var_os("FARMGATE_WRITE_DOCS").is_some() {
        std::fs::write(root().join(PAGE), &made).unwrap();
    }
    for name in ["## farmgate publish", "## farmgate gateway revoke", "## farmgate iso seal"] {
        assert!(made.lines().any(|line| line == name), "no {name}");
    }
    let there = read(PAGE);
    let differs = there.lines().zip(made.lines()).find(|(there, made)| there != made);
    let length = there.lines().count() == made.lines().count();
    let way = "FARMGATE_WRITE_DOCS=1 cargo test --test integration -- docs::commands";
    assert!(differs.is_none() && length, "{PAGE} is old ({differs:?}): run {way}");
}
