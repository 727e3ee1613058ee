//! URLs of HTTP servers: one parser, and what is wrong with a URL. The types over it say what a
//! URL is for: [`super::BootUrl`], [`super::ApiUrl`], [`super::Endpoint`]. Pure.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::net::Ipv6Addr;

use http::Uri;

/// An `https://` or `http://` URL: a host, perhaps a port and a path. No user name, query or
/// fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    text: String,
    host: String,
    port: u16,
    tls: bool,
}

/// Why a text is not such a URL.
pub(super) type Reason = Cow<'static, str>;

impl HttpUrl {
    pub(super) fn parse(text: &str) -> Result<Self, Reason> {
        let known = |c: char| c.is_ascii_alphanumeric() || "-._~%!$&'()*+,;=:/[]@?#".contains(c);
        if let Some(bad) = text.chars().find(|c| !known(*c)) {
            return Err(format!("it holds {bad:?}").into());
        }
        if text.contains(['?', '#']) {
            return Err("it must have no query and no fragment".into());
        }
        let uri: Uri = text.parse().map_err(|_| "it is not a URL")?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("it must begin with https://".into()),
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err("it must not hold a user name".into());
        }
        let (host, port) = split(authority)?;
        let default = if tls { 443 } else { 80 };
        let scheme = if tls { "https" } else { "http" };
        let path = uri.path().trim_end_matches('/');
        Ok(Self {
            text: format!("{scheme}://{authority}{path}"),
            host: host.to_owned(),
            port: port.unwrap_or(default),
            tls,
        })
    }

    /// The URL, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Host name or address, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port: that of the scheme unless the URL names another.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// True if the scheme is https.
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// The path, without a slash at its end.
    pub fn path(&self) -> &str {
        let rest = self.text.split_once("://").map_or("", |(_, rest)| rest);
        rest.find('/').map_or("", |at| &rest[at..])
    }

    /// True if nobody on the network can read the traffic: TLS, or a server on this machine.
    pub fn is_private(&self) -> bool {
        let loopback = |ip: IpAddr| ip.is_loopback();
        self.tls || self.host == "localhost" || self.host.parse().is_ok_and(loopback)
    }
}

/// Host and port of an authority. `http` itself takes 99999 for no port at all.
fn split(authority: &str) -> Result<(&str, Option<u16>), Reason> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or("it is not a URL")?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err(format!("{host:?} is not an IPv6 address").into());
        }
        (host, port)
    } else {
        authority.split_at(authority.find(':').unwrap_or(authority.len()))
    };
    if host.is_empty() {
        return Err("it names no host".into());
    }
    if port.is_empty() {
        return Ok((host, None));
    }
    let digits = port.strip_prefix(':').unwrap_or(port);
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(number) if plain && number != 0 => Ok((host, Some(number))),
        _ => Err(format!("{digits:?} is not a port").into()),
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The text is not a URL of the kind that is needed.
#[derive(Debug, thiserror::Error)]
#[error("{url:?} cannot be {purpose}: {reason} (example: {example})")]
pub struct ParseUrlError {
    /// The text.
    pub(super) url: String,
    /// The purpose of the URL.
    pub(super) purpose: &'static str,
    pub(super) reason: Reason,
    pub(super) example: &'static str,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_a_url_is_made_of() {
        let url = HttpUrl::parse("HTTPS://[2001:db8::1]:3903/admin//").unwrap();
        assert_eq!(url.as_str(), "https://[2001:db8::1]:3903/admin");
        assert_eq!((url.host(), url.port(), url.path()), ("2001:db8::1", 3903, "/admin"));
        assert_eq!(HttpUrl::parse("https://a:65535/x").unwrap().port(), 65535);
        let url = HttpUrl::parse("http://a_b.lan").unwrap();
        assert_eq!((url.host(), url.port(), url.path(), url.tls()), ("a_b.lan", 80, "", false));
        assert_eq!(HttpUrl::parse("https://a").unwrap().port(), 443);
        for private in ["https://a", "http://localhost:1", "http://127.1.2.3", "http://[::1]/x"] {
            assert!(HttpUrl::parse(private).unwrap().is_private(), "{private}");
        }
        for open in ["http://a", "http://192.0.2.1", "http://[::]", "http://localhost.a"] {
            assert!(!HttpUrl::parse(open).unwrap().is_private(), "{open}");
        }
    }

    /// `http` takes 99999 for no port, and so did we: for 443.
    #[test]
    fn says_what_is_wrong() {
        for (text, reason) in [
            ("https://a:99999", "\"99999\" is not a port"),
            ("https://a:0", "\"0\" is not a port"),
            ("https://a:", "\"\" is not a port"),
            ("https://a:+443", "\"+443\" is not a port"),
            ("http://[::1]:65536/x", "\"65536\" is not a port"),
            ("http://[1.2.3.4]", "\"1.2.3.4\" is not an IPv6 address"),
            ("https://", "it is not a URL"),
            ("https:///x", "it is not a URL"),
            ("https://:443", "it names no host"),
            ("", "it is not a URL"),
            ("a", "it must begin with https://"),
            ("/a", "it must begin with https://"),
            ("ftp://a", "it must begin with https://"),
            ("https://u@a", "it must not hold a user name"),
            ("https://a?b", "it must have no query and no fragment"),
            ("https://a#b", "it must have no query and no fragment"),
            ("https://a b", "it holds ' '"),
            ("https://a\nb", "it holds '\\n'"),
            ("https://ä", "it holds 'ä'"),
        ] {
            assert_eq!(HttpUrl::parse(text).unwrap_err(), reason, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(
            text in "(https?|HTTP|ftp)://([a-z0-9._@-]{0,9}|\\[[0-9a-f:.]{0,9}\\])(:[0-9]{0,6})?[/a%.]{0,6}",
        ) {
            if let Ok(url) = HttpUrl::parse(&text) {
                prop_assert_eq!(HttpUrl::parse(&url.to_string()), Ok(url));
            }
        }

        #[test]
        fn no_text_panics(text in any::<String>(), rest in "\\PC*") {
            let _ = HttpUrl::parse(&text);
            let _ = HttpUrl::parse(&format!("https://{rest}"));
        }
    }
}
