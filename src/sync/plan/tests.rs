//! Properties of plans.

use std::sync::Arc;

use proptest::collection::btree_map;
use proptest::option;
use proptest::prelude::*;
use time::OffsetDateTime;

use super::*;
use crate::fleet::SECRETS;
use crate::sync::fault::Placed;
use crate::sync::fault::SourceFile;

fn digest_of(byte: u8) -> BlobId {
    BlobId::of_digest([byte; 32])
}

fn event(number: u8) -> EventId {
    EventId::parse(&format!("0192a8c0-0000-7000-8000-0000000000{number:02x}")).unwrap()
}

fn described() -> impl Strategy<Value = Described> {
    let files = btree_map("[a-c]|secrets|boot\\.ipxe", 0u8..3, 1..4);
    let variables = btree_map("[x-z]", "[0-1]", 0..3);
    (files, variables, option::of("[gh]"), btree_map("[l-m]", "[0-1]", 0..2)).prop_map(
        |(files, variables, group, labels)| {
            let source = Arc::new(SourceFile { path: "x.toml".into(), text: String::new() });
            let content = |(path, byte): (String, u8)| {
                let asset = Asset { sha256: digest_of(byte), size: 1 };
                (path.clone(), Content::InTree { path, asset })
            };
            let placed = |(name, value): (String, String)| {
                let source = source.clone();
                (name.parse().unwrap(), Placed { value, source, span: 0..0 })
            };
            Described {
                made: None,
                profile: None,
                group: group.map(|group| group.parse().unwrap()),
                labels: labels.into_iter().map(|(k, v)| (k.parse().unwrap(), v)).collect(),
                fingerprint: None,
                variables: variables.into_iter().map(placed).collect(),
                files: files.into_iter().map(content).collect(),
            }
        },
    )
}

fn generation(wanted: &Described, number: u8) -> LiveGeneration {
    let asset = |content: &Content| Asset { sha256: content.sha256(), size: 1 };
    LiveGeneration {
        generation: number.into(),
        id: event(number),
        files: wanted.files.iter().map(|(path, c)| (path.clone(), asset(c))).collect(),
        variables: wanted.variables(),
    }
}

fn fleet() -> impl Strategy<Value = BTreeMap<GatewayName, Described>> {
    btree_map("[a-d]", described(), 0..4).prop_map(|fleet| {
        fleet.into_iter().map(|(name, wanted)| (name.parse().unwrap(), wanted)).collect()
    })
}

/// A live fleet, and whether each gateway's newest generation waits for somebody.
fn live() -> impl Strategy<Value = LiveFleet> {
    let gateway = (option::of(described()), option::of(described()), any::<bool>());
    btree_map("[a-e]", gateway, 0..5).prop_map(|gateways| {
        let mut live = LiveFleet::empty(OffsetDateTime::UNIX_EPOCH);
        for (name, (current, newest, newest_is_held)) in gateways {
            let gateway = LiveGateway {
                gateway_id: format!("{name}-0a").parse().unwrap(),
                group: None,
                pinned: None,
                labels: BTreeMap::new(),
                fingerprints: BTreeSet::new(),
                current: current.map(|wanted| generation(&wanted, 1)),
                newest: newest.map(|wanted| generation(&wanted, 2)),
                newest_is_held,
            };
            live.gateways.insert(name.parse().unwrap(), gateway);
        }
        live
    })
}

fn plan(folder: &BTreeMap<GatewayName, Described>, live: &LiveFleet, again: bool) -> Plan {
    Plan::new(folder, &[], live, Extent { again, remove_absent: false }, &|_| None)
}

/// Applies a plan.
fn applied(plan: &Plan, folder: &BTreeMap<GatewayName, Described>, live: &LiveFleet) -> LiveFleet {
    let mut live = live.clone();
    for (name, change) in &plan.gateways {
        let (wanted, gateway) = (&folder[name], live.gateways.get_mut(name).unwrap());
        if change.action == Action::Publish {
            gateway.current = Some(generation(wanted, 3));
            gateway.newest = None;
        }
        if let Some(group) = &change.group {
            gateway.group = Some(group.after.clone());
        }
        if !change.labels.is_empty() {
            gateway.labels.clone_from(&wanted.labels);
        }
    }
    live
}

proptest! {
    #[test]
    fn nothing_is_left_after_a_plan_was_applied(folder in fleet(), live in live(), again: bool) {
        let first = plan(&folder, &live, again);
        let after = applied(&first, &folder, &live);
        prop_assert!(plan(&folder, &after, false).is_empty());
        prop_assert!(first.changes() > 0 || after == live, "an empty plan changes nothing");
    }

    #[test]
    fn every_gateway_is_named_once(folder in fleet(), live in live()) {
        let plan = plan(&folder, &live, false);
        for name in folder.keys().chain(live.gateways.keys()) {
            let places = [
                plan.gateways.contains_key(name),
                plan.unregistered.contains(name),
                plan.absent.contains(name),
            ];
            prop_assert_eq!(places.iter().filter(|place| **place).count(), 1, "{}", name);
        }
        let publish = plan.gateways.values().filter(|g| g.action == Action::Publish).count();
        prop_assert_eq!(plan.waves.iter().flatten().count(), publish);
    }

    #[test]
    fn a_plan_is_read_as_it_was_written(folder in fleet(), live in live(), again: bool) {
        let plan = plan(&folder, &live, again);
        let text = serde_json::to_vec(&plan).unwrap();
        prop_assert_eq!(Plan::parse(&text, &"plan.json").unwrap(), plan);
    }

    /// A generation that somebody went back from is not published again unless it is asked for.
    #[test]
    fn what_is_held_stays_so(folder in fleet(), live in live()) {
        for (name, change) in plan(&folder, &live, false).gateways {
            let (wanted, now) = (generation(&folder[&name], 9), &live.gateways[&name]);
            let same = |other: &Option<LiveGeneration>| other.as_ref().is_some_and(|other| {
                other.files == wanted.files && other.variables == wanted.variables
            });
            let expected = match (same(&now.current), same(&now.newest) && now.newest_is_held) {
                (true, _) => Action::None,
                (false, true) => Action::Held,
                (false, false) => Action::Publish,
            };
            prop_assert_eq!(change.action, expected);
            prop_assert!(change.files.iter().all(|file| file.path != SECRETS
                || (file.before.is_none() && file.after.is_none() && file.diff.is_none())));
        }
    }
}
