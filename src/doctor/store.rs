//! The store that several boot hosts share. Asks it.

use std::path::Path;

use super::finding::Findings;
use crate::config::StoreUrl;
use crate::replica::Replica;
use crate::store::State;

const CHECK: &str = "store";

const GO_ON: &str = "gateways boot from what is here, and other hosts hear of it later; \
                     see [store] in farmgate.toml, the key's rights and the bucket's quota";

/// `served` is the `/readyz` of the running server.
pub(super) async fn examine(
    state: &State,
    systemd: Option<&Path>,
    served: &str,
    findings: &mut Findings,
) {
    let config = &state.config().store;
    let Some(url) = &config.url else { return };
    let s3 = matches!(url, StoreUrl::S3 { .. });
    let no_key = s3 && config.credentials.is_none() && systemd.is_none();
    let says = served.lines().find(|line| line.starts_with("store "));
    let away = says.filter(|line| line.starts_with("store away"));
    let reached = match Replica::open(state, systemd) {
        Ok(Some(replica)) => replica.probe().await.map_err(|error| format!("{url} {error}")),
        Ok(None) => return,
        Err(_) if no_key => {
            match (says, away) {
                (_, Some(line)) => findings.warning(CHECK, format!("{url}: {line}"), GO_ON),
                (Some(line), None) => findings.ok(CHECK, format!("{url}: {line}")),
                (None, None) => {
                    findings.skipped(CHECK, format!("{url}: only the service has the key"));
                }
            }
            return;
        }
        Err(error) => Err(format!("{error:#}")),
    };
    match (reached, away) {
        (Err(what), _) => findings.warning(CHECK, what, GO_ON),
        (Ok(()), Some(line)) => findings.warning(
            CHECK,
            format!("{url} can be reached from here, but the server says: {line}"),
            "its unit needs a network (docs/store.md: network.conf) and the key",
        ),
        (Ok(()), None) => findings.ok(CHECK, format!("{url} can be read and written")),
    }
}
