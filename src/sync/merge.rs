//! Puts layers of settings and files over each other. Pure.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;

use super::fault::Fault;
use super::fault::Placed;
use super::fault::meant;
use super::name::ProfileName;

/// Merges maps: the later one wins.
pub(super) fn layers<'a, K, V>(all: impl IntoIterator<Item = &'a BTreeMap<K, V>>) -> BTreeMap<K, V>
where
    K: Ord + Clone + 'a,
    V: Clone + 'a,
{
    let pairs = all.into_iter().flatten();
    pairs.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// A profile and those that it extends, the farthest first; `None` after a fault.
pub(super) fn chain(
    name: &ProfileName,
    extends: &BTreeMap<ProfileName, Option<&Placed<ProfileName>>>,
    faults: &mut Vec<Fault>,
) -> Option<Vec<ProfileName>> {
    let mut chain = vec![name.clone()];
    let mut seen = BTreeSet::from([name.clone()]);
    let mut here = name.clone();
    while let Some(base) = extends.get(&here).copied().flatten() {
        if !extends.contains_key(&base.value) {
            let what = format!("there is no profile `{}`", base.value);
            let known = extends.keys().map(ProfileName::as_str);
            faults.push(base.fault(what, meant(base.value.as_str(), known)));
            return None;
        }
        chain.push(base.value.clone());
        if !seen.insert(base.value.clone()) {
            let names: Vec<&str> = chain.iter().map(ProfileName::as_str).collect();
            let what = format!("profiles extend each other in a circle: {}", names.join(" → "));
            faults.push(base.fault(what, "remove one `extends`"));
            return None;
        }
        here = base.value.clone();
    }
    chain.reverse();
    Some(chain)
}

/// Two names that differ only in case.
pub(super) fn same_but_for_case<'a>(
    names: impl IntoIterator<Item = &'a String>,
) -> Option<(&'a str, &'a str)> {
    let mut folded = HashMap::new();
    for name in names {
        if let Some(other) = folded.insert(name.to_lowercase(), name) {
            return Some((other, name));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::sync::fault::SourceFile;

    fn name(number: usize) -> ProfileName {
        format!("p{number}").parse().unwrap()
    }

    #[test]
    fn names_in_two_cases_are_found() {
        let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(same_but_for_case(&names(&["a", "B", "b"])), Some(("B", "b")));
        assert_eq!(same_but_for_case(&names(&["a", "b", "dir/a"])), None);
    }

    proptest! {
        /// It ends for every graph, and what it finds is a path along `extends`.
        #[test]
        fn chains_end(bases in proptest::collection::vec(proptest::option::of(0usize..8), 1..7)) {
            let source = Arc::new(SourceFile { path: "fleet.toml".into(), text: String::new() });
            let placed: Vec<_> = bases
                .iter()
                .map(|base| base.map(|base| Placed { value: name(base), source: source.clone(), span: 0..0 }))
                .collect();
            let extends: BTreeMap<_, _> =
                placed.iter().enumerate().map(|(at, base)| (name(at), base.as_ref())).collect();
            for at in 0..bases.len() {
                let mut faults = Vec::new();
                let found = chain(&name(at), &extends, &mut faults);
                prop_assert_eq!(found.is_none(), faults.len() == 1);
                let Some(found) = found else { continue };
                prop_assert_eq!(found.last(), Some(&name(at)));
                for pair in found.windows(2) {
                    prop_assert_eq!(extends[&pair[1]].map(|base| &base.value), Some(&pair[0]));
                }
            }
        }

        #[test]
        fn the_later_layer_wins(all in proptest::collection::vec(proptest::collection::btree_map(0u8..5, 0u8..9, 0..5), 0..4)) {
            let merged = layers(&all);
            for key in 0..5 {
                let last = all.iter().rev().find_map(|map| map.get(&key));
                prop_assert_eq!(merged.get(&key), last);
            }
        }
    }
}
