//! Plans of pulls and pushes, from three sides: what volume and bucket had in common last, what the
//! volume has, and what the bucket has. Pure.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use super::key::Key;

/// A file of a volume, without its content. Two of the same file are equal if it was not written
/// in between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Facts {
    pub(super) inode: u64,
    pub(super) size: u64,
    /// Time of the last write, in seconds and nanoseconds.
    pub(super) written: (i64, u32),
    /// Permissions, without what the object would not bring back.
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
}

/// An object of the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    /// Entity tag: another one for another content.
    pub(super) tag: String,
    pub(super) size: u64,
}

/// A file that volume and bucket had in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Common {
    pub(super) tag: String,
    pub(super) facts: Facts,
}

/// Everything in common: the last complete copy.
pub(super) type Base = BTreeMap<Key, Common>;
/// The volume's files.
pub(super) type Files = BTreeMap<Key, Facts>;
/// The bucket's objects.
pub(super) type Objects = BTreeMap<Key, Object>;

/// The plan of a pull.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pull {
    /// Objects to fetch.
    pub(super) fetch: BTreeSet<Key>,
    /// Among them, those whose file was written here as well. The file is set aside.
    pub(super) both: BTreeSet<Key>,
    /// Files that were deleted in the bucket, and are unchanged here.
    pub(super) remove: BTreeSet<Key>,
}

/// The plan of a push.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Push {
    /// Files to send.
    pub(super) send: BTreeSet<Key>,
    /// Objects to delete.
    pub(super) delete: BTreeSet<Key>,
    /// Files that changed on both sides: not sent, so that the bucket's stays.
    pub(super) both: BTreeSet<Key>,
}

/// Plans a pull. What only changed here stays as it is; what changed in the bucket comes.
pub(super) fn pull(base: &Base, files: &Files, objects: &Objects, delete_remote: bool) -> Pull {
    let mut plan = Pull::default();
    for (key, object) in objects {
        let common = base.get(key);
        let same_there = common.is_some_and(|common| common.tag == object.tag);
        let fetch = match (files.get(key), common) {
            // It was deleted here, and is to be deleted there.
            (None, _) => !(same_there && delete_remote),
            (Some(_), Some(_)) => !same_there,
            (Some(_), None) => true,
        };
        if fetch {
            plan.fetch.insert(key.clone());
            let same_here = |facts: &Facts| common.is_some_and(|common| common.facts == *facts);
            if files.get(key).is_some_and(|facts| !same_here(facts)) {
                plan.both.insert(key.clone());
            }
        }
    }
    for (key, common) in base {
        if !objects.contains_key(key) && files.get(key) == Some(&common.facts) {
            plan.remove.insert(key.clone());
        }
    }
    plan
}

/// Terms of a push.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// True if what is deleted here is deleted there.
    pub(super) delete_remote: bool,
    /// The volume is always right: nothing is ever pulled.
    pub(super) overwrite: bool,
}

/// Plans a push. Nothing is deleted but what was in common, and is still the same there.
pub(super) fn push(base: &Base, files: &Files, objects: &Objects, terms: Terms) -> Push {
    let mut plan = Push::default();
    for (key, facts) in files {
        let common = base.get(key);
        if common.is_some_and(|common| common.facts == *facts) {
            continue;
        }
        let as_known = match (common, objects.get(key)) {
            (_, None) => true,
            (Some(common), Some(object)) => common.tag == object.tag,
            (None, Some(_)) => false,
        };
        let to = if as_known || terms.overwrite { &mut plan.send } else { &mut plan.both };
        to.insert(key.clone());
    }
    for (key, common) in base.iter().filter(|(key, _)| !files.contains_key(key)) {
        if terms.delete_remote && objects.get(key).is_some_and(|object| object.tag == common.tag) {
            plan.delete.insert(key.clone());
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A side of the story: what is there, by its content.
    type Side = BTreeMap<Key, u8>;

    fn side() -> impl Strategy<Value = Side> {
        let key = "[ab]/?[ab]?".prop_filter_map("no key", |text| Key::parse(&text).ok());
        proptest::collection::btree_map(key, 0..3_u8, 0..6)
    }

    fn facts(content: u8) -> Facts {
        Facts { inode: 1, size: 1, written: (content.into(), 0), mode: 0, owner: (0, 0) }
    }

    fn files(side: &Side) -> Files {
        side.iter().map(|(key, content)| (key.clone(), facts(*content))).collect()
    }

    fn objects(side: &Side) -> Objects {
        let object = |content: &u8| Object { tag: content.to_string(), size: 1 };
        side.iter().map(|(key, content)| (key.clone(), object(content))).collect()
    }

    fn base(side: &Side) -> Base {
        let common = |content: &u8| Common { tag: content.to_string(), facts: facts(*content) };
        side.iter().map(|(key, content)| (key.clone(), common(content))).collect()
    }

    proptest! {
        #[test]
        fn an_unchanged_volume_becomes_the_bucket(before in side(), there in side(), delete: bool) {
            let plan = pull(&base(&before), &files(&before), &objects(&there), delete);
            let mut here = before.clone();
            for key in &plan.fetch {
                here.insert(key.clone(), there[key]);
            }
            here.retain(|key, _| !plan.remove.contains(key));
            prop_assert_eq!(here, there);
            prop_assert!(plan.both.is_empty());
        }

        #[test]
        fn a_pull_loses_nothing_that_was_written_here(
            before in side(), here in side(), there in side(), delete: bool,
        ) {
            let plan = pull(&base(&before), &files(&here), &objects(&there), delete);
            for (key, content) in &here {
                let written = before.get(key) != Some(content);
                let replaced = plan.fetch.contains(key) && !plan.both.contains(key);
                prop_assert!(!(written && (replaced || plan.remove.contains(key))), "{}", key);
            }
        }

        #[test]
        fn a_push_deletes_only_what_it_knows(
            before in side(), here in side(), there in side(), delete: bool, overwrite: bool,
        ) {
            let terms = Terms { delete_remote: delete, overwrite };
            let plan = push(&base(&before), &files(&here), &objects(&there), terms);
            for key in &plan.delete {
                prop_assert!(delete && !here.contains_key(key));
                prop_assert_eq!(before.get(key), there.get(key));
            }
            for key in &plan.send {
                // Nobody else's change is written over.
                prop_assert!(overwrite || !there.contains_key(key) || there.get(key) == before.get(key));
            }
            // Without a copy to compare with, nothing goes.
            let first = push(&Base::new(), &files(&here), &objects(&there), terms);
            prop_assert!(first.delete.is_empty());
        }

        #[test]
        fn after_a_pull_and_a_push_both_sides_are_one(
            before in side(), here in side(), there in side(),
        ) {
            let pulled = pull(&base(&before), &files(&here), &objects(&there), true);
            let (mut here, mut there, mut common) = (here, there, before);
            for key in &pulled.fetch {
                here.insert(key.clone(), there[key]);
                common.insert(key.clone(), there[key]);
            }
            here.retain(|key, _| !pulled.remove.contains(key));
            common.retain(|key, _| there.contains_key(key));
            let terms = Terms { delete_remote: true, overwrite: false };
            let pushed = push(&base(&common), &files(&here), &objects(&there), terms);
            prop_assert!(pushed.both.is_empty());
            for key in &pushed.send {
                there.insert(key.clone(), here[key]);
            }
            there.retain(|key, _| !pushed.delete.contains(key));
            prop_assert_eq!(here, there);
        }
    }
}
