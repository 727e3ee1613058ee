//! The author of a command's changes, and the reason that `-m` gives.

use std::env;

use nix::unistd::User;
use nix::unistd::gethostname;
use nix::unistd::getuid;

use crate::fleet::By;

/// `-m`, for every command that changes something.
#[derive(clap::Args)]
pub(super) struct Why {
    /// The reason, for `farmgate log`
    #[arg(short, long, value_name = "TEXT", value_parser = message)]
    message: Option<String>,
}

impl Why {
    /// The author of this command, with the reason.
    pub(super) fn by(&self) -> By {
        let by = By::new(&author());
        match &self.message {
            Some(message) => by.with_message(message),
            None => by,
        }
    }
}

/// Longest reason, in characters: the log shows a line of it.
const MOST: usize = 400;

fn message(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    let length = text.chars().count();
    if length > MOST {
        return Err(format!("it has {length} characters, and {MOST} is the most"));
    }
    Ok(text.to_owned())
}

/// `FARMGATE_AUTHOR`, or else the user, also behind sudo, at this host.
pub(super) fn author() -> String {
    let given = |name| env::var(name).ok().filter(|value: &String| !value.trim().is_empty());
    if let Some(author) = given("FARMGATE_AUTHOR") {
        return author;
    }
    let uid = getuid();
    let passwd = || User::from_uid(uid).ok().flatten().map(|user| user.name);
    let user = given("SUDO_USER").or_else(passwd).unwrap_or_else(|| format!("uid {uid}"));
    match gethostname().ok().and_then(|name| name.into_string().ok()) {
        Some(host) => format!("{user}@{host}"),
        None => user,
    }
}
