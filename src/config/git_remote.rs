//! The address of a repository, in the forms that git knows. Pure.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;

use super::text::parsed;

const EXPECTED: &str = "https://HOST/PATH, ssh://USER@HOST/PATH, USER@HOST:PATH or file:///PATH";

/// The address of a git repository, without a password: git would show it in its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitRemote {
    text: String,
    transport: Transport,
}

/// The transport to a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `https://`.
    Https,
    /// `http://`, on this machine alone.
    Http,
    /// `ssh://`, or the short form with a colon.
    Ssh,
    /// A repository on this machine.
    File,
}

impl Transport {
    /// The name in `GIT_ALLOW_PROTOCOL`.
    pub fn protocol(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Ssh => "ssh",
            Self::File => "file",
        }
    }
}

impl GitRemote {
    /// The address as git takes it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its transport.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Scheme, host and port, to which alone a password may go. `None` without HTTP.
    pub fn http_origin(&self) -> Option<&str> {
        let scheme = match self.transport {
            Transport::Https => "https://".len(),
            Transport::Http => "http://".len(),
            Transport::Ssh | Transport::File => return None,
        };
        let end = self.text[scheme..].find('/').map_or(self.text.len(), |at| scheme + at);
        Some(&self.text[..end])
    }

    /// The directory, if it is one of this machine.
    pub fn directory(&self) -> Option<&str> {
        self.text.strip_prefix("file://")
    }
}

impl fmt::Display for GitRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The text is no address that farmgate lets git use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseGitRemoteError {
    /// Another form, or another protocol.
    #[error("{0:?} is no repository: expected {EXPECTED}")]
    Malformed(String),
    /// Messages and the process list would show it. The text is not repeated.
    #[error(
        "the repository's address holds a password: expected {EXPECTED}, and the password in the \
         file that `credentials` names"
    )]
    Password,
    /// Anybody on the way could replace what gateways boot.
    #[error("{0:?} is not encrypted: expected https://, or http:// on this machine alone")]
    Open(String),
}

impl FromStr for GitRemote {
    type Err = ParseGitRemoteError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || ParseGitRemoteError::Malformed(text.to_owned());
        let fine = |c: char| c.is_ascii_graphic() && !"\"'`\\<>{}|^$;&*?#!()".contains(c);
        let (transport, rest) = match text.split_once("://") {
            Some(("https", rest)) => (Transport::Https, rest),
            Some(("http", rest)) => (Transport::Http, rest),
            Some(("ssh", rest)) => (Transport::Ssh, rest),
            Some(("file", rest)) => (Transport::File, rest),
            Some(_) => return Err(malformed()),
            None => (Transport::Ssh, ""),
        };
        let (authority, path) = match (transport, rest) {
            (Transport::File, path) => ("", path),
            // user@host:path
            (Transport::Ssh, "") => text.split_once(':').ok_or_else(malformed)?,
            _ => rest.find('/').map(|at| rest.split_at(at)).ok_or_else(malformed)?,
        };
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        if user.contains(':') || (!user.is_empty() && rest.len() > 1 && is_http(transport)) {
            return Err(ParseGitRemoteError::Password);
        }
        // A name that begins with a dash would be an option of git or ssh.
        let dash = |part: &str| part.starts_with('-');
        let nowhere = transport != Transport::File && (host.is_empty() || !is_host(host));
        let relative = transport == Transport::File && !path.starts_with('/');
        if !text.chars().all(fine)
            || path.trim_matches('/').is_empty()
            || nowhere
            || relative
            || [text, user, host, path].into_iter().any(dash)
            || path.split('/').any(|part| part == "..")
        {
            return Err(malformed());
        }
        if transport == Transport::Http && !is_here(host) {
            return Err(ParseGitRemoteError::Open(text.to_owned()));
        }
        Ok(Self { text: text.to_owned(), transport })
    }
}

fn is_http(transport: Transport) -> bool {
    matches!(transport, Transport::Https | Transport::Http)
}

fn is_host(host: &str) -> bool {
    host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:[]".contains(c))
}

/// Says whether this is the loopback, with any port.
fn is_here(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl<'de> Deserialize<'de> for GitRemote {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, EXPECTED)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn takes_what_forges_show_for_copying() {
        for (text, transport, origin) in [
            ("https://github.com/farm/fleet.git", Transport::Https, Some("https://github.com")),
            (
                "https://git.example.org:8443/a/b",
                Transport::Https,
                Some("https://git.example.org:8443"),
            ),
            ("http://127.0.0.1:3000/a", Transport::Http, Some("http://127.0.0.1:3000")),
            ("http://[::1]/a", Transport::Http, Some("http://[::1]")),
            ("ssh://git@gitlab.com:22/farm/fleet.git", Transport::Ssh, None),
            ("git@github.com:farm/fleet.git", Transport::Ssh, None),
            ("gitserver:/srv/fleet.git", Transport::Ssh, None),
            ("file:///srv/git/fleet.git", Transport::File, None),
        ] {
            let remote: GitRemote = text.parse().unwrap();
            assert_eq!((remote.as_str(), remote.transport()), (text, transport));
            assert_eq!(remote.http_origin(), origin);
        }
    }

    #[test]
    fn nothing_becomes_an_option_a_program_or_an_open_line() {
        for bad in [
            "",
            "/srv/git",
            "fleet",
            "ext::sh -c true",
            "ext://a/b",
            "git://a/b",
            "ftp://a/b",
            "-oProxyCommand=true:a",
            "ssh://-oProxyCommand=true/a",
            "git@-x:a",
            "git@host:-a",
            "https://",
            "https://a",
            "https:///a",
            "file://a/b",
            "file://",
            "file:///a/../b",
            "https://a/b c",
            "https://a/b\n",
            "https://a/$b",
            "a:b;c",
            "--upload-pack=x:y",
        ] {
            let error = bad.parse::<GitRemote>().unwrap_err();
            assert!(matches!(error, ParseGitRemoteError::Malformed(_)), "{bad}: {error}");
        }
        for open in
            ["http://git.example.org/a", "http://localhost.example.org/a", "http://10.0.0.1/a"]
        {
            let error = open.parse::<GitRemote>().unwrap_err();
            assert!(matches!(error, ParseGitRemoteError::Open(_)), "{open}: {error}");
        }
    }

    #[test]
    fn a_password_is_refused_and_never_repeated() {
        for bad in [
            "https://user:unmistakable@github.com/a",
            "https://unmistakable@github.com/a",
            "ssh://git:unmistakable@host/a",
        ] {
            let error = bad.parse::<GitRemote>().unwrap_err();
            assert_eq!(error, ParseGitRemoteError::Password);
            assert!(!error.to_string().contains("unmistakable"));
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_none_becomes_an_option(text in any::<String>(), near in "(https|ssh|file|http)?:?/?/?[-a-z@:/.\\[\\]]{0,20}") {
            for text in [text, near] {
                if let Ok(remote) = text.parse::<GitRemote>() {
                    prop_assert!(!remote.as_str().starts_with('-') && !remote.as_str().contains([' ', '\'']));
                    let _ = remote.http_origin();
                }
            }
        }
    }
}
