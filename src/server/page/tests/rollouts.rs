//! Rollouts as they are rendered.

use time::Duration;

use super::NOW;
use super::member;
use super::rollout;
use crate::server::page::model::Progress;
use crate::server::page::model::Rollout;
use crate::server::page::rollouts;

#[test]
fn a_rollout_says_when_it_stops_and_whom_it_leaves_out() {
    let waves = || {
        vec![
            vec![member("a-1", Progress::Good), member("a-2", Progress::Trying)],
            vec![member("b-1", Progress::Waiting)],
        ]
    };
    let page = |rollout: Rollout| rollouts::page(&[rollout], NOW);
    let plain = page(rollout(waves()));
    for word in ["over when", "It stops", "Resumed", "left out", "rollout resume"] {
        assert!(!plain.contains(word), "{word}: {plain}");
    }
    let limited = Rollout {
        wait_for: Some("90%".to_owned()),
        timeout: Some(Duration::hours(6)),
        ..rollout(waves())
    };
    let shown = page(limited.clone());
    assert!(shown.contains("A wave is over when 90% of it works."), "{shown}");
    assert!(shown.contains("longer than 6 h: wave 1 has "), "{shown}");
    assert!(shown.contains(">4 h</span> left"), "{shown}");
    let late = Rollout { timeout: Some(Duration::hours(1)), ..limited.clone() };
    assert!(page(late).contains("wave 1 has none left"));
    // Its time begins again when it is resumed, and who is left out is waited for by nobody.
    let mut resumed = Rollout { resumed: Some(NOW - Duration::hours(1)), ..limited };
    assert!(page(resumed.clone()).contains(">5 h</span> left"));
    resumed.waves[0][1].left_out = true;
    resumed.waves[1][0] = member("b-1", Progress::Trying);
    let shown = page(resumed.clone());
    assert!(shown.contains("wave 2 has ") && shown.contains(">left out</span>"), "{shown}");
    assert!(shown.contains("without the gateway that is left out"), "{shown}");
    let stopped = Rollout {
        outcome: Some("stopped at gateway a-2: it used up its tries".to_owned()),
        can_resume: true,
        ..resumed
    };
    let shown = page(stopped.clone());
    assert!(shown.contains("farmgate rollout resume "), "{shown}");
    assert!(!shown.contains(" left. "), "{shown}");
    let back = Rollout { taken_back: true, can_resume: false, ..stopped };
    let shown = page(back);
    assert!(shown.contains(", and taken back") && !shown.contains("rollout resume"), "{shown}");
}
