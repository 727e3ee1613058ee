//! The gateways' buckets. They stop no boot. Asks the provider.

use std::collections::BTreeMap;
use std::path::Path;

use super::finding::Findings;
use super::finding::Verdict;
use crate::bucket::AnyProvider;
use crate::bucket::Condition;
use crate::store::State;

const CHECK: &str = "buckets";

pub(super) async fn examine(state: &State, systemd: Option<&Path>, findings: &mut Findings) {
    let config = &state.config().buckets;
    let Some(provider) = &config.provider else { return };
    let way_out = "gateways boot with their previous values; fix [buckets] in farmgate.toml";
    match AnyProvider::connect(config, systemd) {
        Err(_) if config.credentials.is_none() && systemd.is_none() => {
            findings
                .skipped(CHECK, "the provider is not asked: only the service has the credentials");
        }
        Err(error) => findings.warning(CHECK, format!("{error:#}"), way_out),
        Ok(provider) => {
            if let Err(error) = provider.probe().await {
                findings.warning(CHECK, error.to_string(), way_out);
            }
        }
    }
    let gateways = state.gateways();
    let (mut count, mut unwell) = (0, BTreeMap::<String, Vec<String>>::new());
    // Records that cannot be read are reported by the check of gateways.
    for name in gateways.names().unwrap_or_default() {
        let condition = gateways.load(&name).ok().and_then(|record| Condition::of(state, &record));
        let Some(condition) = condition else { continue };
        count += 1;
        if !condition.is_well() {
            unwell.entry(condition.to_string()).or_default().push(name.to_string());
        }
    }
    for (condition, names) in unwell {
        let way_out =
            "the server does it in the background; `farmgate bucket sync` does it at once";
        findings.warning(CHECK, format!("{}: {condition}", names.join(", ")), way_out);
    }
    if !findings.has(CHECK, Verdict::Warning) {
        findings.ok(CHECK, format!("{count} at {} are as they should be", provider.name()));
    }
}
