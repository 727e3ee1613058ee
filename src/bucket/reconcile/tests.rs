//! The reconciler on a real disk, cut off at every call to a provider.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Mutex;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::sync::Notify;

use super::*;
use crate::bucket::error::Error;
use crate::bucket::name::bucket_name;
use crate::bucket::provider::Endpoint;
use crate::bucket::provider::Found;
use crate::bucket::provider::ListedKey;
use crate::bucket::provider::NewKey;
use crate::bucket::provider::Owner;
use crate::bucket::stored::Rotate;
use crate::bucket::stored::Secret;
use crate::fleet::Act;
use crate::fleet::By;
use crate::fleet::What;
use crate::foreign::Foreign;
use crate::identity::GatewayName;
use crate::identity::pki::Authority;
use crate::identity::pki::KeyType;
use crate::identity::pki::Validity;
use crate::store::NewState;
use crate::store::acts::Acts;

/// Buckets and keys at a provider.
#[derive(Default)]
struct Kept {
    buckets: Vec<String>,
    keys: BTreeMap<String, String>,
    serial: u32,
    calls: u32,
}

/// A provider that kills the process at the call number `at`, before or after the call was carried
/// out.
struct Fake<'a> {
    kept: &'a Mutex<Kept>,
    killed: &'a Notify,
    at: u32,
    after: bool,
}

impl Fake<'_> {
    async fn call<T>(&self, effect: impl FnOnce(&mut Kept) -> T + Send) -> Result<T, Error> {
        let result = {
            let mut kept = self.kept.lock().unwrap();
            kept.calls += 1;
            let dies = kept.calls == self.at;
            if dies && !self.after { None } else { Some((effect(&mut kept), dies)) }
        };
        match result {
            Some((result, false)) => Ok(result),
            _ => {
                self.killed.notify_one();
                pending().await
            }
        }
    }
}

#[async_trait]
impl Provider for Fake<'_> {
    fn name(&self) -> &'static str {
        "b2"
    }

    async fn find(&self, name: &str, _: Owner<'_>) -> Result<Option<Found>, Error> {
        self.call(|kept| {
            let known = kept.buckets.iter().any(|bucket| bucket == name);
            known.then(|| Found { id: name.to_owned(), ours: true })
        })
        .await
    }

    async fn create(&self, name: &str, _: Owner<'_>) -> Result<Found, Error> {
        self.call(|kept| {
            assert!(!kept.buckets.iter().any(|bucket| bucket == name), "made twice");
            kept.buckets.push(name.to_owned());
            Found { id: name.to_owned(), ours: true }
        })
        .await
    }

    async fn set_quota(&self, _: &str, _: Option<u64>) -> Result<(), Error> {
        self.call(|_| ()).await
    }

    async fn make_key(&self, name: &str, _: &str) -> Result<NewKey, Error> {
        self.call(|kept| {
            kept.serial += 1;
            let id = format!("K{}", kept.serial);
            kept.keys.insert(id.clone(), name.to_owned());
            NewKey { id, secret: Secret::new("s".to_owned()) }
        })
        .await
    }

    async fn keys(&self) -> Result<Vec<ListedKey>, Error> {
        self.call(|kept| {
            let keys = kept.keys.iter();
            keys.map(|(id, name)| ListedKey { id: id.clone(), name: name.clone() }).collect()
        })
        .await
    }

    async fn delete_key(&self, id: &str) -> Result<(), Error> {
        self.call(|kept| kept.keys.remove(id)).await.map(drop)
    }

    async fn endpoint(&self) -> Result<Endpoint, Error> {
        Ok(Endpoint { url: "https://s3".to_owned(), region: None })
    }
}

/// A state with one gateway.
fn state(dir: &std::path::Path) -> State {
    let now = OffsetDateTime::now_utc();
    let later = now + time::Duration::DAY;
    let ca = Authority::create("CA", KeyType::P256, later).unwrap();
    let authority = Authority::from_pem(&ca.certificate_pem, &ca.private_key_pem).unwrap();
    let server =
        authority.issue_server(&["127.0.0.1".parse().unwrap()], KeyType::P256, later).unwrap();
    let crl = authority.sign_crl(&[], 1).unwrap();
    let config = "url = \"https://127.0.0.1\"\n[buckets]\nprovider = \"b2\"\n";
    let new = NewState { config: Some(config), ca: &ca, server: &server, crl: &crl };
    State::create(dir, &new).unwrap();
    let state = State::open(dir, None).unwrap();
    let name = "lab-1".parse().unwrap();
    let validity = Validity { not_before: now, not_after: later };
    let issued = authority.issue_client(&name, KeyType::P256, validity).unwrap();
    let lock = state.lock().unwrap();
    state.gateways().add(&lock, &name, &issued.certificate_pem, None, now).unwrap();
    state
}

/// Runs once; ends early if the provider kills it.
async fn once(state: &State, kept: &Mutex<Kept>, at: u32, after: bool) -> bool {
    let killed = Notify::new();
    kept.lock().unwrap().calls = 0;
    let connect = || Ok(Box::new(Fake { kept, killed: &killed, at, after }) as Box<dyn Provider>);
    let scope = Scope { now: true, ..Scope::default() };
    tokio::select! {
        biased;
        report = run(state, connect, &scope) => {
            assert_eq!(report.unwrap().failed, []);
            false
        }
        () = killed.notified() => true,
    }
}

#[tokio::test]
async fn cut_off_at_any_call_it_ends_with_one_bucket_and_one_key() {
    let mut cuts = 0;
    for after in [false, true] {
        for at in 1.. {
            let dir = tempfile::tempdir().unwrap();
            let state = state(&dir.path().join("state"));
            let kept = Mutex::new(Kept::default());
            let name: GatewayName = "lab-1".parse().unwrap();
            let record = state.gateways().load(&name).unwrap();
            let disk = Disk::new(&state);

            let first = once(&state, &kept, at, after).await;
            once(&state, &kept, 0, false).await;
            let stored = disk.load(&record.id).unwrap().unwrap();
            let kept_keys = |kept: &Mutex<Kept>| -> Vec<String> {
                kept.lock().unwrap().keys.keys().cloned().collect()
            };
            assert_eq!(kept.lock().unwrap().buckets, [bucket_name(record.id.as_str())]);
            assert_eq!(kept_keys(&kept), [stored.active().unwrap().id.clone()]);

            // Rotated, and cut off again.
            disk.update(&record.id, &name, |stored| stored.rotate = Some(Rotate::Now)).unwrap();
            let second = once(&state, &kept, at, after).await;
            once(&state, &kept, 0, false).await;
            let rotated = disk.load(&record.id).unwrap().unwrap();
            let new = rotated.active().unwrap().id.clone();
            assert_ne!(Some(&new), stored.active().map(|key| &key.id));
            assert_eq!(kept_keys(&kept), [new]);

            // Removed, and cut off again.
            state.remove_gateway(&name, &By::new("test"), OffsetDateTime::now_utc()).unwrap();
            let third = once(&state, &kept, at, after).await;
            once(&state, &kept, 0, false).await;
            assert_eq!(kept_keys(&kept), Vec::<String>::new());
            assert_eq!(kept.lock().unwrap().buckets.len(), 1, "the data stays");
            cuts += u32::from(first) + u32::from(second) + u32::from(third);
            if !(first || second || third) {
                break;
            }
        }
    }
    assert!(cuts >= 16, "only {cuts} cuts");
}

/// Somebody who looks for a key at the provider finds here when it came and went.
#[tokio::test]
async fn what_the_server_does_with_keys_by_itself_is_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(&dir.path().join("state"));
    let kept = Mutex::new(Kept::default());
    let name: GatewayName = "lab-1".parse().unwrap();
    let record = state.gateways().load(&name).unwrap();
    once(&state, &kept, 0, false).await;
    let disk = Disk::new(&state);
    disk.update(&record.id, &name, |stored| stored.rotate = Some(Rotate::Now)).unwrap();
    for _ in 0..2 {
        once(&state, &kept, 0, false).await;
    }
    let acts = Acts::new(&state).read().unwrap().acts;
    let told: Vec<_> = acts.values().map(|act| (act.what, act.detail.clone())).collect();
    let key = |id| Some(Foreign::new(id));
    let expected =
        [(What::KeyMade, key("K1")), (What::KeyMade, key("K2")), (What::KeyDeleted, key("K1"))];
    assert_eq!(told, expected);
    let of = |act: &Act| (act.gateway.clone(), act.gateway_id.clone(), act.by.clone());
    assert!(
        acts.values().all(|act| of(act) == (Some(name.clone()), Some(record.id.clone()), None))
    );
}
