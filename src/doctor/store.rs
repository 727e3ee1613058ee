//! The store that several boot hosts share.

use std::path::Path;

use super::finding::Findings;
use crate::replica::Replica;
use crate::store::State;

const CHECK: &str = "store";

/// `served` is what the running server says of itself.
pub(super) async fn examine(
    state: &State,
    systemd: Option<&Path>,
    served: &str,
    findings: &mut Findings,
) {
    let replica = match Replica::open(state, systemd) {
        Ok(Some(replica)) => replica,
        Ok(None) => return,
        Err(error) => {
            let way_out = "gateways boot from what is here; mend [store] in farmgate.toml";
            return findings.warning(CHECK, format!("{error:#}"), way_out);
        }
    };
    let shown = replica.shown();
    if let Err(error) = replica.probe().await {
        let way_out = "gateways boot from what is here, and other hosts hear of it later";
        return findings.warning(CHECK, format!("{shown} {error}"), way_out);
    }
    match served.lines().find(|line| line.starts_with("store away")) {
        Some(line) => findings.warning(
            CHECK,
            format!("{shown} can be reached from here, but the server says: {line}"),
            "its unit needs a network (docs/store.md: network.conf) and the key",
        ),
        None => findings.ok(CHECK, format!("{shown} can be read and written")),
    }
}
