//! Rendering, by examples and by properties.

mod rollouts;

use std::collections::BTreeMap;

use proptest::prelude::*;
use time::Duration;
use time::OffsetDateTime;

use super::condition::findings;
use super::level::Level;
use super::model::Boot;
use super::model::BucketState;
use super::model::Certificate;
use super::model::Changes;
use super::model::Details;
use super::model::File;
use super::model::Gateway;
use super::model::Generation;
use super::model::LastBoot;
use super::model::Member;
use super::model::Next;
use super::model::Progress;
use super::model::Rollout;
use super::model::Script;
use super::model::Step;
use super::model::Variable;
use super::overview::Fleet;
use super::overview::Notice;
use super::overview::Row;
use super::query::Query;
use super::query::Raw;
use crate::fleet::EventId;
use crate::fleet::Reason;
use crate::fleet::What;
use crate::fleet::trail::Deed;
use crate::fleet::trail::Line;
use crate::foreign::Foreign;
use crate::store::journal::Stage;

/// 27 November 2026, 12:00 UTC.
const NOW: OffsetDateTime = match OffsetDateTime::from_unix_timestamp(1_795_780_800) {
    Ok(now) => now,
    Err(_) => panic!(),
};

fn id() -> EventId {
    EventId::parse("0192a8c0-0000-7000-8000-000000000007").unwrap()
}

/// A gateway with which all is well.
fn fine() -> Gateway {
    let at = NOW - Duration::hours(3);
    Gateway {
        name: "lab-1".to_owned(),
        id: None,
        group: Some("berlin".to_owned()),
        labels: BTreeMap::from([("rack".to_owned(), "4".to_owned())]),
        next: Some(Next { generation: 7, since: Some(at), reason: Reason::Good }),
        last_boot: Some(LastBoot { id: id(), generation: 7, at, acknowledged: true, stage: None }),
        assessed: true,
        certificate: Certificate::Active(NOW + Duration::days(400)),
        bucket: None,
        faults: Vec::new(),
        error: None,
    }
}

fn member(name: &str, progress: Progress) -> Member {
    let since = Some(NOW - Duration::hours(2));
    Member { gateway: name.to_owned(), generation: Some(2), progress, since, left_out: false }
}

fn rollout(waves: Vec<Vec<Member>>) -> Rollout {
    Rollout {
        id: id(),
        began: NOW - Duration::hours(5),
        waves,
        wait_for: None,
        timeout: None,
        resumed: None,
        outcome: None,
        can_resume: false,
        taken_back: false,
    }
}

fn stuck(stage: Option<Stage>) -> Gateway {
    let at = NOW - Duration::minutes(20);
    let last_boot = LastBoot { id: id(), generation: 7, at, acknowledged: false, stage };
    Gateway { last_boot: Some(last_boot), ..fine() }
}

fn fleet(gateways: impl IntoIterator<Item = Gateway>) -> Fleet {
    Fleet {
        version: "1".to_owned(),
        at: NOW,
        rows: gateways.into_iter().map(|gateway| Row::new(gateway, NOW)).collect(),
        notices: Vec::new(),
        rollouts: Vec::new(),
        store: None,
        sync: None,
    }
}

/// Level and words of the worst finding.
fn worst(gateway: &Gateway) -> (Level, String) {
    let worst = findings(gateway, NOW).remove(0);
    (worst.level, format!("{} {}", worst.word, worst.text).trim().to_owned())
}

#[test]
fn each_condition_has_its_words() {
    let next = |reason| Some(Next { generation: 7, since: None, reason });
    let file = Stage::File { path: "vmlinuz".into(), size: 200, bytes: 124, millis: 9 };
    let bucket = |error: Option<&str>| {
        Some(BucketState { state: "waiting", is_well: false, error: error.map(str::to_owned) })
    };
    for (gateway, level, words) in [
        (fine(), Level::Good, "fine"),
        (stuck(Some(file)), Level::Bad, "stuck for 20 min, last sign of life: vmlinuz, 62 %"),
        (stuck(None), Level::Bad, "stuck for 20 min, not acknowledged"),
        (Gateway { assessed: false, ..stuck(None) }, Level::Good, "fine"),
        (
            Gateway { next: next(Reason::Trying { attempt: 2, tries: 3 }), ..fine() },
            Level::Busy,
            "on trial generation 7, 1 of 3 tries used",
        ),
        (
            Gateway { next: next(Reason::FellBack { from: 8, tries: 3 }), ..fine() },
            Level::Warn,
            "fell back to generation 7: 8 is bad, 3 boots without an acknowledgement",
        ),
        (
            Gateway { next: next(Reason::NothingBetter { tries: 3 }), ..fine() },
            Level::Bad,
            "does not work generation 7, 3 boots without an acknowledgement, and no good one to \
             go back to",
        ),
        (
            Gateway { certificate: Certificate::Active(NOW + Duration::days(59)), ..fine() },
            Level::Warn,
            "certificate ends in 59 days on 2027-01-25",
        ),
        (
            Gateway { certificate: Certificate::Active(NOW), ..fine() },
            Level::Bad,
            "certificate ended on 2026-11-27",
        ),
        // Nobody waits for a gateway that was stolen.
        (
            Gateway { certificate: Certificate::Revoked, ..stuck(None) },
            Level::Idle,
            "revoked every certificate is revoked",
        ),
        (Gateway { next: None, last_boot: None, ..fine() }, Level::Idle, "nothing published"),
        (Gateway { last_boot: None, ..fine() }, Level::Idle, "never booted"),
        (Gateway { bucket: bucket(Some("no answer")), ..fine() }, Level::Warn, "bucket no answer"),
        (Gateway { bucket: bucket(None), ..fine() }, Level::Idle, "bucket waiting"),
        (
            Gateway { faults: vec!["a".into(), "b".into()], ..fine() },
            Level::Bad,
            "files missing a, and 1 more",
        ),
        (Gateway { error: Some("torn".into()), ..fine() }, Level::Bad, "unreadable torn"),
    ] {
        assert_eq!(worst(&gateway), (level, words.to_owned()));
    }
}

#[test]
fn a_boot_is_stuck_after_as_long_as_the_alert_says() {
    let mut gateway = stuck(None);
    let mut begun = |ago| {
        gateway.last_boot.as_mut().unwrap().at = NOW - ago;
        worst(&gateway).0
    };
    assert_eq!(begun(Duration::seconds(899)), Level::Busy);
    assert_eq!(begun(Duration::seconds(900)), Level::Bad);
    let rules = include_str!("../../../examples/prometheus/alerts.yml");
    assert!(rules.contains("> 900") && rules.contains("< 60 * 86400"), "{rules}");
}

#[test]
fn a_row_says_what_is_known() {
    let html = super::fleet::row(&Row::new(fine(), NOW), NOW);
    assert_eq!(
        html,
        "<tr role=\"row\" id=\"g-lab-1\" class=\"good\" data-gateway=\"lab-1\" data-level=\"good\">\
         <th role=\"rowheader\" scope=\"row\"><a href=\"/gateways/lab-1\">lab-1</a>\
         <span class=\"labels\"><span class=\"group\">berlin</span> \
         <span class=\"label\">rack=4</span> </span></th>\
         <td role=\"cell\" data-title=\"State\"><ul class=\"findings\"><li>\
         <span class=\"mark good\"><span class=\"sign\" aria-hidden=\"true\">✓</span> fine</span>\
         </li></ul></td>\
         <td role=\"cell\" data-title=\"Generation\"><span class=\"number\">7</span>\
         <span class=\"sub\">live for <time datetime=\"2026-11-27T09:00:00Z\" \
         title=\"2026-11-27 09:00:00 UTC\" data-span>3 h</time></span></td>\
         <td role=\"cell\" data-title=\"Last boot\"><time datetime=\"2026-11-27T09:00:00Z\" \
         title=\"2026-11-27 09:00:00 UTC\" data-ago>3 h ago</time>\
         <span class=\"sub\">acknowledged</span></td>\
         <td role=\"cell\" data-title=\"Certificate\"><span class=\"\">400 days</span>\
         <span class=\"sub\">2028-01-01</span></td></tr>"
    );
}

#[test]
fn the_headline_counts_what_is_wrong() {
    let page = |fleet: &Fleet| super::fleet::page(fleet, &Query::default());
    let calm = page(&fleet([fine()]));
    assert!(calm.contains("The one gateway is fine") && calm.contains("<title>farmgate"), "{calm}");
    let busy = page(&fleet([fine(), stuck(None)]));
    assert!(busy.contains("1 of 2 gateways is broken") && busy.contains("<title>(1) "), "{busy}");
    // A host that serves nobody is worse than any gateway.
    let mut alone = fleet([fine()]);
    alone.notices.push(Notice { level: Level::Bad, text: "the clock is behind".to_owned() });
    let page = page(&alone);
    assert!(page.contains("<h1 id=\"headline\" class=\"bad\">"), "{page}");
    assert!(page.contains("the clock is behind") && !page.contains("gateway is fine"), "{page}");
}

#[test]
fn large_fleets_come_in_pages() {
    let gateways = (1..=250).map(|n| Gateway { name: format!("g-{n}"), ..fine() });
    let fleet = fleet(gateways);
    let part = |page: &str| {
        let raw: Raw = serde_json::from_value(serde_json::json!({ "page": page })).unwrap();
        let query: Query = raw.into();
        let part = query.select(&fleet);
        let first = part.rows.first().map(|row| row.gateway.name.clone());
        (part.found, part.rows.len(), first.unwrap())
    };
    assert_eq!(part("1"), (250, 100, "g-1".to_owned()));
    assert_eq!(part("3"), (250, 50, "g-201".to_owned()));
    // No address is an error.
    assert_eq!(part("99"), part("3"));
    assert_eq!(part("-1"), part("1"));
    let page = super::fleet::page(&fleet, &Query::default());
    assert!(page.contains("<a rel=\"next\" href=\"/?page=2\">"), "{page}");
}

/// The console is a file of its own. Once the lines of its boot had made room for later ones, it was
/// not shown any more.
#[test]
fn a_console_is_shown_without_the_steps_of_its_boot() {
    let boot = |console: Option<&str>| Details {
        gateway: fine(),
        added: None,
        certificates: Vec::new(),
        boots: vec![Boot {
            generation: 7,
            at: NOW,
            acknowledged: false,
            steps: Vec::new(),
            console: console.map(str::to_owned),
        }],
        other: Vec::new(),
        generations: Vec::new(),
        older: 0,
        log: Vec::new(),
    };
    let page = super::gateway::page(&boot(Some("panic")), NOW);
    assert!(page.contains("has nothing about it") && page.contains("panic</pre>"), "{page}");
    let page = super::gateway::page(&boot(None), NOW);
    assert!(page.contains("has nothing about it") && !page.contains("<pre"), "{page}");
}

/// Texts that a stranger might choose.
fn hostile() -> impl Strategy<Value = String> {
    let parts = prop_oneof![
        Just("<script>".to_owned()),
        Just("\"><img src=x onerror=alert(1)>".to_owned()),
        Just("' onmouseover='".to_owned()),
        Just("&lt;".to_owned()),
        Just("\u{202e}\u{2066}\u{0}\u{1b}[2J".to_owned()),
        Just("]]>--></svg></title>".to_owned()),
        ".{0,8}",
    ];
    proptest::collection::vec(parts, 0..4).prop_map(|parts| parts.concat())
}

/// Every page, with `evil` wherever there is text.
fn pages(evil: &str) -> Vec<String> {
    let text = || evil.to_owned();
    let stage = Stage::File { path: evil.into(), size: 2, bytes: 1, millis: 1 };
    let gateway = Gateway {
        name: text(),
        group: Some(text()),
        labels: BTreeMap::from([(text(), text())]),
        bucket: Some(BucketState { state: "stale", is_well: false, error: Some(text()) }),
        faults: vec![text()],
        ..stuck(Some(stage.clone()))
    };
    let mut shown = fleet([gateway.clone(), Gateway { error: Some(text()), ..fine() }]);
    shown.notices.push(Notice { level: Level::Warn, text: text() });
    shown.store = Some(text());
    let member = Member { gateway: text(), left_out: true, ..member("x", Progress::Bad) };
    let rollout =
        Rollout { outcome: Some(text()), wait_for: Some(text()), ..rollout(vec![vec![member]]) };
    shown.rollouts.push(rollout.clone());
    let step = |stage| Step { at: NOW, address: evil.into(), stage };
    let boot = Stage::Boot {
        generation: 1,
        reason: text(),
        mac: evil.into(),
        platform: evil.into(),
        ipxe: evil.into(),
    };
    let steps = vec![step(boot), step(stage), step(Stage::Error { error: evil.into() })];
    let file = File { path: text(), size: 1, sha256: None };
    let changes = Changes {
        before: 1,
        added: vec![text()],
        removed: vec![text()],
        changed: vec![text()],
        variables: vec![Variable { name: text(), before: None, after: Some(Foreign::new(evil)) }],
        script: Script::Texts { old: format!("a\n{evil}\n"), new: format!("b\n{evil}\nc") },
    };
    let details = Details {
        gateway,
        added: Some(NOW),
        certificates: Vec::new(),
        boots: vec![Boot {
            generation: 1,
            at: NOW,
            acknowledged: false,
            steps: steps.clone(),
            console: Some(evil.to_owned()),
        }],
        other: steps,
        generations: vec![Generation {
            number: 2,
            published: NOW,
            marks: vec!["current"],
            works: Some(false),
            files: vec![file],
            changes: Some(changes),
        }],
        older: 3,
        log: vec![Line {
            id: id(),
            at: NOW,
            gateway: None,
            gateway_id: None,
            deed: Deed::Other {
                what: What::GatewayAdded,
                fingerprints: Vec::new(),
                rollout: None,
                detail: Some(Foreign::new(evil)),
            },
            author: Some(Foreign::new(evil)),
            commit: Some(Foreign::new(evil)),
            message: Some(Foreign::new(evil)),
        }],
    };
    let raw = serde_json::json!({ "q": evil, "group": evil, "show": evil, "sort": evil });
    let query: Query = serde_json::from_value::<Raw>(raw).unwrap().into();
    vec![
        super::fleet::page(&shown, &Query::default()),
        super::fleet::page(&shown, &query),
        super::fleet::summary_text(&shown),
        super::gateway::page(&details, NOW),
        super::rollouts::page(&[rollout], NOW),
    ]
}

/// The tags and attributes of a page, without any text between or in them.
fn skeleton(page: &str) -> Vec<String> {
    let tags = page.split('<').skip(1).map(|rest| {
        let tag = rest.split('>').next().unwrap();
        // Every attribute stands in double quotes: each second part is a value.
        tag.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
    });
    tags.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Text from strangers adds no tag and no attribute, and nothing that turns text around.
    #[test]
    fn text_stays_text(evil in hostile()) {
        for (page, plain) in pages(&format!("x{evil}")).iter().zip(pages("x")) {
            let (page_tags, plain_tags) = (skeleton(page), skeleton(&plain));
            // Words of the text can be shown or not, as the filter finds them.
            for tag in &page_tags {
                prop_assert!(plain_tags.contains(tag) || tag.starts_with("a rel") || tag.starts_with("tr") || tag.starts_with("span") || tag.starts_with("option"), "{tag} in {page}");
            }
            prop_assert!(!page.contains("<script>") && !page.contains("<img"), "{page}");
            let odd = |c: char| (c.is_control() && c != '\n' && c != '\t')
                || ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c);
            prop_assert!(!page.contains(odd), "{page:?}");
        }
    }
}
