//! Leases on a real disk, and a clock that the tests set.

use std::collections::BTreeSet;

use proptest::prelude::*;
use time::Duration;

use super::*;

const TERMS: Terms = Terms { seconds: 60, max_reads: 1 };

fn leases() -> (tempfile::TempDir, Leases) {
    let dir = tempfile::tempdir().unwrap();
    let leases = open(dir.path());
    (dir, leases)
}

fn open(dir: &Path) -> Leases {
    Leases::open(dir.join("leases"), later(0))
}

/// This many seconds after the start.
fn later(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::days(20_000) + Duration::seconds(seconds)
}

fn generation() -> EventId {
    EventId::parse("0192a8c0-0000-7000-8000-000000000007").unwrap()
}

fn grant_to(leases: &Leases, gateway: &str, terms: Terms, now: OffsetDateTime) -> String {
    let id = format!("{gateway}-0a").parse().unwrap();
    let owner = (&gateway.parse().unwrap(), &id);
    let fingerprint = Fingerprint::from_bytes([1; 32]);
    leases.grant(owner, fingerprint, generation(), None, terms, now).unwrap()
}

fn grant(leases: &Leases, terms: Terms, now: OffsetDateTime) -> String {
    grant_to(leases, "lab-1", terms, now)
}

/// All files below a folder.
fn files_in(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .flat_map(|entry| {
            if entry.path().is_dir() {
                return files_in(&entry.path());
            }
            BTreeSet::from([entry.file_name().into_string().unwrap()])
        })
        .collect()
}

#[test]
fn it_is_read_as_often_as_agreed_and_then_gone() {
    let (_dir, leases) = leases();
    let now = later(0);
    for max_reads in 1..=3 {
        let token = grant(&leases, Terms { max_reads, ..TERMS }, now);
        assert_eq!(token.len(), 43);
        assert!(!files_in(&leases.dir).iter().any(|name| name.contains(&token)), "{token}");
        for _ in 0..max_reads {
            assert_eq!(leases.redeem(&token, now).unwrap().unwrap().generation, generation());
        }
        assert_eq!(leases.redeem(&token, now).unwrap(), None);
    }
    assert_eq!(files_in(&leases.dir), BTreeSet::new());
    for wrong in ["", "../../format", "x", &"A".repeat(43), &"A".repeat(10_000)] {
        assert_eq!(leases.redeem(wrong, now).unwrap(), None, "{wrong:.50}");
    }
}

#[test]
fn it_ends_with_its_time_also_when_the_clock_is_set_back() {
    let (_dir, leases) = leases();
    for (after, lasts) in [(0, true), (59, true), (60, false), (-1, false), (-31_536_000, false)] {
        let token = grant(&leases, TERMS, later(0));
        leases.sweep(later(0)).unwrap();
        assert_eq!(leases.redeem(&token, later(after)).unwrap().is_some(), lasts, "{after}");
    }
    grant(&leases, TERMS, later(0));
    leases.sweep(later(3600)).unwrap();
    assert_eq!(files_in(&leases.dir), BTreeSet::new());
}

#[test]
fn of_many_readers_at_once_only_so_many_get_it() {
    let (_dir, leases) = leases();
    let now = later(0);
    for max_reads in [1, 3] {
        let token = grant(&leases, Terms { max_reads, ..TERMS }, now);
        let read = || leases.redeem(&token, now).unwrap().is_some();
        let got = std::thread::scope(|scope| {
            let readers: Vec<_> = (0..16).map(|_| scope.spawn(read)).collect();
            readers.into_iter().map(|r| u32::from(r.join().unwrap())).sum::<u32>()
        });
        assert_eq!(got, max_reads);
    }
}

/// 53,496 leases of one gateway used to fill the disk for all.
#[test]
fn a_gateway_has_few_and_the_newest() {
    let (_dir, leases) = leases();
    let other = grant_to(&leases, "lab-2", TERMS, later(0));
    let tokens: Vec<_> = (0..50).map(|second| grant(&leases, TERMS, later(second))).collect();
    assert_eq!(files_in(&leases.dir).len(), MOST + 1);
    let readable = tokens.iter().filter(|t| leases.redeem(t, later(49)).unwrap().is_some());
    let readable: Vec<_> = readable.collect();
    assert_eq!(readable, tokens[50 - MOST..].iter().collect::<Vec<_>>());
    assert!(leases.redeem(&other, later(49)).unwrap().is_some());
}

/// After a clock was set back, leases with a future date are not the newest.
#[test]
fn leases_of_the_future_take_nobodys_place() {
    let (_dir, leases) = leases();
    (0..MOST).for_each(|_| drop(grant(&leases, TERMS, later(1_000_000))));
    let tokens: Vec<_> = (0..MOST).map(|_| grant(&leases, TERMS, later(0))).collect();
    for token in &tokens {
        assert!(leases.redeem(token, later(1)).unwrap().is_some());
    }
}

/// As version 0.1 left them.
fn lease_from_before(dir: &Path, token: &str, max_reads: u32, readings: u32) {
    let home = dir.join("leases").join(digest(token));
    fs::create_dir_all(&home).unwrap();
    let text = format!(
        r#"{{"gateway":"lab-1","gateway-id":"lab-1-0a","fingerprint":"{}",
            "generation":"{}","made":"2024-10-04T00:00:00Z","seconds":60,"max-reads":{max_reads}}}"#,
        "01".repeat(32),
        generation(),
    );
    fs::write(home.join("lease.json"), text).unwrap();
    for reading in 1..=readings {
        fs::write(home.join(reading.to_string()), "").unwrap();
    }
}

#[test]
fn those_of_the_version_before_can_be_read_as_often_as_was_left() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(later(0).to_string(), "2024-10-04 0:00:00.0 +00:00:00");
    for (token, max_reads, readings) in [("once", 1, 0), ("used", 1, 1), ("rest", 3, 1)] {
        lease_from_before(dir.path(), token, max_reads, readings);
    }
    let old = dir.path().join("leases");
    // Leftovers of a killed server and of a failed removal.
    for prefix in ["new-", "gone-"] {
        let half = old.join(format!("{prefix}{}", digest(prefix)));
        fs::create_dir(&half).unwrap();
        fs::write(half.join("lease.json"), "").unwrap();
    }
    let leases = open(dir.path());
    assert_eq!(fs::read_dir(&old).unwrap().count(), 0);
    for (token, left) in [("once", 1), ("used", 0), ("rest", 2), ("never", 0)] {
        let readings = (0..4).filter(|_| leases.redeem(token, later(1)).unwrap().is_some());
        assert_eq!(readings.count(), left, "{token}");
    }
    // They have expired: nothing remains of them.
    lease_from_before(dir.path(), "once", 1, 0);
    let leases = Leases::open(old.clone(), later(60));
    assert_eq!(leases.redeem("once", later(1)).unwrap(), None);
    assert_eq!(fs::read_dir(&old).unwrap().count(), 0);
}

/// One failed removal used to prevent all others.
#[test]
fn what_cannot_be_removed_keeps_none_of_the_others() {
    let (_dir, leases) = leases();
    let token = grant(&leases, TERMS, later(0));
    for gateway in ["lab-2", "lab-3", "lab-4"] {
        grant_to(&leases, gateway, TERMS, later(0));
    }
    let folder = leases.folder(&decode(&token).unwrap());
    // Nobody can unlink a directory: in the place of a lease, and of a folder.
    let stuck = Slip { made: 0, ends: 0, left: 1, digest: digest("") }.to_string();
    fs::create_dir(folder.join(&stuck)).unwrap();
    fs::write(leases.dir.join("00".repeat(FOLDER_LEN)), "").unwrap();
    let error = format!("{:#}", leases.sweep(later(60)).unwrap_err());
    assert!(error.contains("cannot use"), "{error}");
    assert_eq!(files_in(&leases.dir), BTreeSet::from(["00".repeat(FOLDER_LEN)]));
    // The gateway still gets its next lease.
    let token = grant(&leases, TERMS, later(60));
    assert!(leases.redeem(&token, later(60)).unwrap().is_some());
}

#[derive(Clone, Debug)]
enum Step {
    Grant { gateway: u8, seconds: u32, max_reads: u32 },
    Redeem(usize),
    Sweep,
    Restart,
    Wait(i64),
}

fn step(wait: std::ops::Range<i64>) -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u8..2, 0u32..100, 1u32..4)
            .prop_map(|(gateway, seconds, max_reads)| Step::Grant { gateway, seconds, max_reads }),
        6 => any::<usize>().prop_map(Step::Redeem),
        1 => Just(Step::Sweep),
        1 => Just(Step::Restart),
        2 => wait.prop_map(Step::Wait),
    ]
}

/// The expected state of a lease.
#[derive(Clone)]
struct Expected {
    token: String,
    gateway: u8,
    made: i64,
    seconds: u32,
    left: u32,
}

impl Expected {
    fn lasts(&self, clock: i64) -> bool {
        (self.made..self.made + i64::from(self.seconds)).contains(&clock)
    }
}

/// Runs `steps`, and returns for each reading its lease, its time, and its result.
fn live(steps: Vec<Step>) -> (Vec<Expected>, Vec<(usize, i64, bool)>) {
    let dir = tempfile::tempdir().unwrap();
    let mut leases = open(dir.path());
    let (mut clock, mut granted, mut readings) = (0, Vec::<Expected>::new(), Vec::new());
    for step in steps {
        match step {
            Step::Grant { gateway, seconds, max_reads } => {
                // A pause, so that the oldest lease is known.
                clock += 1;
                let terms = Terms { seconds, max_reads };
                let token = grant_to(&leases, &format!("lab-{gateway}"), terms, later(clock));
                granted.push(Expected { token, gateway, made: clock, seconds, left: max_reads });
            }
            Step::Redeem(target) if !granted.is_empty() => {
                let target = target % granted.len();
                let lease = &granted[target];
                let given = leases.redeem(&lease.token, later(clock)).unwrap();
                if let Some(given) = &given {
                    assert_eq!(given.gateway.as_str(), format!("lab-{}", lease.gateway));
                }
                readings.push((target, clock, given.is_some()));
            }
            Step::Redeem(_) => {}
            Step::Sweep => leases.sweep(later(clock)).unwrap(),
            Step::Restart => leases = Leases::open(dir.path().join("leases"), later(clock)),
            Step::Wait(seconds) => clock += seconds,
        }
        for folder in folders(&leases.dir).unwrap() {
            assert!(fs::read_dir(folder).unwrap().count() <= MOST);
        }
    }
    (granted, readings)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// With any clock, no lease is read too often or outside its time.
    #[test]
    fn no_lease_gives_more_than_it_was_made_for(
        steps in proptest::collection::vec(step(-40..40), 0..60),
    ) {
        let (mut granted, readings) = live(steps);
        for (target, clock, given) in readings.into_iter().filter(|(.., given)| *given) {
            let lease = &mut granted[target];
            prop_assert!(given && lease.lasts(clock) && lease.left > 0);
            lease.left -= 1;
        }
    }

    /// With a clock that only goes forward, the newest leases of a gateway give all their readings.
    #[test]
    fn the_newest_leases_give_all_of_it(
        steps in proptest::collection::vec(step(0..40), 0..60),
    ) {
        let (mut granted, readings) = live(steps);
        // Number of leases that the same gateway got after it, before it was read.
        let newer = |granted: &[Expected], target: usize, clock| {
            let lease = &granted[target];
            let newer = granted.iter().filter(|other| other.gateway == lease.gateway);
            newer.filter(|other| other.made > lease.made && other.made <= clock).count()
        };
        for (target, clock, given) in readings {
            let is_new = newer(&granted, target, clock) < MOST;
            let lease = &mut granted[target];
            if is_new {
                prop_assert_eq!(given, lease.lasts(clock) && lease.left > 0);
            }
            lease.left = lease.left.saturating_sub(1);
        }
    }
}
