//! `[listen]`: where the server listens. Pure.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::Deserializer;
use serde::de;

use super::admin_host::AdminHost;
use super::period;

/// As many as nginx is configured to allow (`limit_conn`): a lab full of gateways behind one
/// address.
const CONNECTIONS_PER_ADDRESS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(511);

/// The addresses that the server listens on. It needs at least one of `tls` and `unix`, or a socket from systemd.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Listen {
    /// Own mutual TLS (rustls). Left out behind nginx.
    #[serde(deserialize_with = "address")]
    pub tls: Option<SocketAddr>,
    /// Unix socket that only nginx can open.
    pub unix: Option<PathBuf>,
    /// Group that may open `unix`: the one that nginx runs as.
    pub unix_group: Option<String>,
    /// Behind nginx: the internal location (`X-Accel-Redirect`) under which nginx serves
    /// `STATE/store/blobs`. Without it, the server sends assets itself.
    pub accel: Option<AccelPrefix>,
    /// Behind nginx: believe a certificate only if a secret comes with it that nginx and the server
    /// share. It is in a header that no client can send (`X_Farmgate_Proxy`: nginx drops client
    /// headers with an underscore). If lines of nginx's configuration get lost, or somebody else
    /// reaches the socket, nobody can impersonate a gateway.
    pub proxy_mark: bool,
    /// For operators and monitoring, never for gateways: a loopback address or a Unix socket.
    pub admin: Option<AdminAddress>,
    /// Names by which browsers may ask `admin` besides those of the loopback: that of a proxy in
    /// front of it.
    pub admin_hosts: Vec<AdminHost>,
    /// Own TLS: open connections that one address, or one IPv6 network (/64), may have.
    pub connections_per_address: NonZeroUsize,
    /// Time for running downloads to finish after SIGTERM.
    #[serde(deserialize_with = "period::deserialize")]
    pub drain: Duration,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            tls: None,
            unix: None,
            unix_group: None,
            accel: None,
            proxy_mark: false,
            admin: None,
            admin_hosts: Vec::new(),
            connections_per_address: CONNECTIONS_PER_ADDRESS,
            drain: Duration::from_secs(300),
        }
    }
}

impl Listen {
    /// True if a server with these settings has the same addresses as one with `other`.
    pub fn same_doors(&self, other: &Self) -> bool {
        (self.tls, &self.unix, &self.unix_group, &self.admin)
            == (other.tls, &other.unix, &other.unix_group, &other.admin)
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(|_| {
        de::Error::custom(format!(
            "{text:?} is not an address: expected an IP address and a port, such as \"0.0.0.0:443\""
        ))
    })
}

/// An internal nginx location: `/name`, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccelPrefix(String);

impl AccelPrefix {
    /// The location.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for AccelPrefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        match text.strip_prefix('/') {
            Some(name) if !name.is_empty() && name.chars().all(plain) => Ok(Self(text)),
            _ => Err(de::Error::custom(format!(
                "{text:?} is not an internal location: expected one name, such as \
                 \"/farmgate-blobs\""
            ))),
        }
    }
}

/// The address for operators and monitoring: reachable from this machine only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// A loopback address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl<'de> Deserialize<'de> for AdminAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Self::Tcp(address)),
            _ => Err(de::Error::custom(format!(
                "{text:?} is neither a loopback address nor a Unix socket: expected something \
                 like \"127.0.0.1:9180\" or \"/run/farmgate-admin.sock\""
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    #[test]
    fn nobody_but_this_machine_reaches_the_admin_listener() {
        let parse = |address: &str| {
            Config::parse(&format!("url = \"https://a\"\n[listen]\nadmin = \"{address}\"\n"))
        };
        for good in ["127.0.0.1:9180", "[::1]:9180", "/run/farmgate-admin.sock"] {
            assert!(parse(good).unwrap().listen.admin.is_some());
        }
        for bad in ["0.0.0.0:9180", "192.0.2.1:9180", "[::]:9180", "9180", "localhost:1", ""] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains("loopback"), "{bad:?}: {error}");
        }
    }
}
