//! `/metrics`, as Prometheus reads it.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Instant;

use crate::common::PATIENCE;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::edit;
use crate::common::nginx_headers;
use crate::common::request;
use crate::common::tool;

/// Where `scripts/install-packages` leaves it.
const PROMTOOL: &str = "bookworm/prometheus/usr/bin/promtool";

/// A state whose server has an admin listener; `more` follows `[listen]`.
fn state(more: &str) -> TestState {
    let state = TestState::quick();
    let admin = state.dir().join("admin.sock");
    state.set_listen(&format!("admin = \"{}\"\n{more}", admin.display()));
    state
}

/// All that is said, without what explains it.
fn metrics(state: &TestState) -> Vec<String> {
    let reply = state.admin("/metrics");
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = reply.text();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

#[track_caller]
fn assert_has(metrics: &[String], line: &str) {
    let name = line.split(['{', ' ']).next().unwrap();
    let alike: Vec<_> = metrics.iter().filter(|line| line.starts_with(name)).collect();
    assert!(metrics.iter().any(|found| found == line), "no {line:?}, but {alike:#?}");
}

/// Waits until all of these are said.
#[track_caller]
fn wait_for(state: &TestState, lines: &[&str]) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = metrics(state);
        if lines.iter().all(|line| said.iter().any(|found| found == line)) {
            return said;
        }
        assert!(Instant::now() < deadline, "never all of {lines:#?}, but {said:#?}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn what_happens_is_counted() {
    let state = state("");
    state.ok(&["gateway", "add", "lab-2"]);
    let kernel = state.publish("lab-1", 300_000);
    let server = TestServer::start(&state);
    let before = metrics(&state);
    assert_has(&before, "farmgate_gateways 2");
    assert_has(&before, "farmgate_gateway_generation{gateway=\"lab-1\"} 1");
    assert_has(&before, "farmgate_acknowledgements_total 0");
    assert!(!before.iter().any(|line| line.contains("last_boot")), "{before:#?}");

    let script = server.get(&state, "/boot/ipxe").header("location").unwrap().to_owned();
    let text = server.get(&state, &script).text();
    assert_eq!(server.get(&state, &script.replace("boot.ipxe", "vmlinuz")).body, kernel);
    let said = metrics(&state);
    assert_has(&said, "farmgate_boots_total{reason=\"trying\"} 1");
    assert_has(&said, "farmgate_boots_running 1");
    assert_has(&said, "farmgate_gateway_last_boot_acknowledged{gateway=\"lab-1\"} 0");
    assert_has(&said, "farmgate_sent_bytes_total 300000");
    assert_has(&said, "farmgate_requests_total{route=\"/boot/ipxe\",status=\"302\"} 1");
    assert_has(&said, "farmgate_request_seconds_count{route=\"/g/{generation}/{*path}\"} 2");

    let (_, token) = text.split_once("/boot/ack/").unwrap();
    let path = format!("/boot/ack/{}", token.split_whitespace().next().unwrap());
    // Said twice, it counts once.
    for _ in 0..2 {
        assert_eq!(server.get_unix(&path, "").status, 200);
    }
    let (certificate, _) = state.credentials("lab-2");
    state.ok(&["gateway", "revoke", "lab-2"]);
    assert_eq!(server.get_unix("/boot/ipxe", "").status, 403);
    assert_eq!(server.get_unix("/boot/ipxe", &nginx_headers(&certificate)).status, 403);
    let said = metrics(&state);
    assert_has(&said, "farmgate_acknowledgements_total 1");
    assert_has(&said, "farmgate_boots_running 0");
    assert_has(&said, "farmgate_gateway_last_boot_acknowledged{gateway=\"lab-1\"} 1");
    assert_has(&said, "farmgate_refusals_total{reason=\"no-certificate\"} 1");
    assert_has(&said, "farmgate_refusals_total{reason=\"revoked\"} 1");
    // A gateway that is not let in any more has no certificate that could run out.
    let of_lab_2 = "farmgate_gateway_certificate_expiry_timestamp_seconds{gateway=\"lab-2\"}";
    assert!(!said.iter().any(|line| line.starts_with(of_lab_2)));
}

/// Whoever asks for strange things must not fill the memory of server and Prometheus.
#[test]
fn strangers_add_no_series() {
    let state = state("");
    let server = TestServer::start(&state);
    let ask = |n: usize| {
        for path in ["", "g/", "files/", "boot/", "secrets/", "boot/ack/", "boot/report/"] {
            server.get_unix(&format!("/{path}{n}?mac={n}&version={n}"), "");
        }
    };
    ask(0);
    let once = metrics(&state).len();
    (1..40).for_each(ask);
    assert_eq!(metrics(&state).len(), once);
    // Gateways cannot read any of it.
    for path in ["/metrics", "/readyz"] {
        assert_eq!(server.get_unix(path, "").status, 404);
    }
}

/// A generation that is given up shows, before anybody calls.
#[test]
fn a_fallback_shows() {
    let state = state("[assessment]\ntries = 1\n");
    state.publish("lab-1", 100);
    let server = TestServer::start(&state);
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
    let said = metrics(&state);
    assert_has(&said, "farmgate_gateway_fallback{gateway=\"lab-1\"} 1");
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
    assert_has(&metrics(&state), "farmgate_boots_total{reason=\"nothing-better\"} 1");
    state.publish("lab-1", 200);
    assert_has(&metrics(&state), "farmgate_gateway_fallback{gateway=\"lab-1\"} 0");
    // Nobody waits for the word of a system that never gives it.
    let acknowledged = "farmgate_gateway_last_boot_acknowledged{gateway=\"lab-1\"} 0";
    assert_has(&metrics(&state), acknowledged);
    state.ok(&["gateway", "set", "lab-1", "--assessment", "none"]);
    assert!(!metrics(&state).iter().any(|line| line == acknowledged));
}

/// What is damaged is told, and everything else too.
#[test]
fn a_damaged_certificate_shows() {
    let state = state("");
    let _server = TestServer::start(&state);
    let expiry = "farmgate_certificate_expiry_timestamp_seconds{certificate=\"server\"}";
    let there = |said: &[String]| said.iter().any(|line| line.starts_with(expiry));
    let said = metrics(&state);
    assert_has(&said, "farmgate_problems 0");
    assert!(there(&said));
    std::fs::write(state.dir().join("pki/server.crt"), "rubbish").unwrap();
    let said = metrics(&state);
    assert_has(&said, "farmgate_problems 1");
    assert_has(&said, "farmgate_gateways 1");
    assert!(!there(&said));
}

#[test]
fn a_provider_that_is_down_shows() {
    let state = state(
        "[buckets]\nprovider = \"s3\"\napi-url = \"http://127.0.0.1:1\"\n\
         s3-endpoint = \"http://127.0.0.1:1\"\ncredentials = \"credentials\"\n",
    );
    // Without credentials nothing is even asked.
    let credentials = state.folder("keys", &[("token", b"admin-token = \"x\"\n")]).join("token");
    let private = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
    std::fs::set_permissions(&credentials, private).unwrap();
    edit(&state.dir().join("farmgate.toml"), |text| {
        text.replace("\"credentials\"", &format!("{credentials:?}"))
    });
    let _server = TestServer::start(&state);
    let said = wait_for(&state, &["farmgate_buckets{state=\"failed\"} 1"]);
    assert_has(&said, "farmgate_buckets{state=\"ready\"} 0");
    assert_has(&said, "farmgate_bucket_ready{gateway=\"lab-1\"} 0");
    // It keeps nobody from booting.
    assert_has(&said, "farmgate_problems 0");
}

#[test]
fn the_common_store_shows() {
    let remote = tempfile::tempdir().unwrap();
    let path = remote.path().join("store");
    let state =
        state(&format!("[store]\nurl = \"file://{}\"\ninterval = \"1s\"\n", path.display()));
    state.publish("lab-1", 100);
    let server = TestServer::start(&state);
    let said = wait_for(&state, &["farmgate_store_in_step 1", "farmgate_store_undelivered 0"]);
    assert_has(&said, "farmgate_store_delivered_total 2");
    assert_has(&said, "farmgate_store_failed_passes_total 0");

    // A file where the store wants a directory.
    std::fs::rename(&path, remote.path().join("away")).unwrap();
    std::fs::write(&path, "in the way").unwrap();
    wait_for(&state, &["farmgate_store_in_step 0"]);
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
    wait_for(&state, &["farmgate_store_undelivered 1"]);

    std::fs::remove_file(&path).unwrap();
    std::fs::rename(remote.path().join("away"), &path).unwrap();
    let back = ["farmgate_store_in_step 1", "farmgate_store_undelivered 0"];
    assert_has(&wait_for(&state, &back), "farmgate_store_delivered_total 3");
}

/// A store that cannot even be asked used to be told of once, in the journal alone.
#[test]
fn a_store_without_a_key_shows() {
    let state = state("[store]\nurl = \"s3://farm/hosts\"\nendpoint = \"http://127.0.0.1:1\"\n");
    state.publish("lab-1", 100);
    let server = TestServer::start(&state);
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
    let reply = state.admin("/readyz");
    assert_eq!(reply.status, 200);
    assert!(reply.text().contains("store not used until a restart: there is no key"), "{reply:?}");
    assert_has(&metrics(&state), "farmgate_store_in_step 0");
}

/// A server of which every series is there.
fn with_everything() -> (TestState, TestServer, tempfile::TempDir) {
    let remote = tempfile::tempdir().unwrap();
    let state = state(&format!(
        "[store]\nurl = \"file://{}\"\n[buckets]\nprovider = \"s3\"\n\
         api-url = \"http://127.0.0.1:1\"\ns3-endpoint = \"http://127.0.0.1:1\"\n\
         [sync]\nremote = \"file:///no-such-repository\"\n",
        remote.path().display()
    ));
    state.publish("lab-1", 100);
    // It worked once.
    std::fs::create_dir(state.dir().join("sync")).unwrap();
    let status = "{\"at\": \"2026-01-01T00:00:00Z\", \"result\": \"unchanged\", \
                  \"last_success\": \"2026-01-01T00:00:00Z\"}";
    std::fs::write(state.dir().join("sync/status.json"), status).unwrap();
    let server = TestServer::start(&state);
    assert_eq!(server.get(&state, "/boot/ipxe").status, 302);
    assert_eq!(server.get_unix("/boot/ipxe", "").status, 403);
    let worked = "farmgate_sync_last_success_timestamp_seconds 1767225600";
    wait_for(&state, &["farmgate_sync_failed 1", worked]);
    wait_for(&state, &["farmgate_store_in_step 1"]);
    (state, server, remote)
}

/// The real thing reads it, and finds nothing to improve.
#[test]
fn promtool_has_nothing_to_say() {
    let Some(promtool) = tool("FARMGATE_PROMTOOL", PROMTOOL) else { return };
    let (state, _server, _remote) = with_everything();
    let text = state.admin("/metrics").body;
    let check = |text: &[u8]| {
        let mut check = Command::new(&promtool);
        check.args(["check", "metrics"]).stdin(Stdio::piped());
        let mut check = check.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        check.stdin.take().unwrap().write_all(text).unwrap();
        let output = check.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    assert_eq!(check(&text), (true, String::new()));
    // It would have.
    assert!(!check(b"farmgate_x{ 1\n").0);
}

/// The rules for alerts are rules, and each of their series is one that the server gives.
#[test]
fn rules_for_alerts_ask_for_what_there_is() {
    let Some(promtool) = tool("FARMGATE_PROMTOOL", PROMTOOL) else { return };
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/prometheus/alerts.yml");
    let checked = Command::new(promtool).args(["check", "rules", rules]).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");

    let (state, _server, _remote) = with_everything();
    let rules = std::fs::read_to_string(rules).unwrap();
    assert_asks_for_what_there_is(&rules, &metrics(&state));
}

#[track_caller]
fn assert_asks_for_what_there_is(text: &str, said: &[String]) {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let names: Vec<_> = words.filter(|word| word.starts_with("farmgate_")).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let there = |line: &String| line.split(['{', ' ']).next() == Some(name);
        assert!(said.iter().any(there), "{name} is in no metric");
    }
}

/// Each alert says how urgent it is, and is raised in one test and not raised in another.
#[test]
fn every_alert_is_tested_and_has_a_severity() {
    let Some(promtool) = tool("FARMGATE_PROMTOOL", PROMTOOL) else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/prometheus");
    let tests = folder.join("alerts_test.yml");
    let tested = Command::new(promtool).args(["test", "rules"]).arg(&tests).output().unwrap();
    assert!(tested.status.success(), "{tested:?}");

    let rules = std::fs::read_to_string(folder.join("alerts.yml")).unwrap();
    let tests = std::fs::read_to_string(tests).unwrap();
    let alerts: Vec<_> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 10);
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        let severities = ["critical", "warning"].map(|is| format!("labels: {{ severity: {is} }}"));
        assert!(severities.iter().any(|is| alert.contains(is)), "{name} has no severity");
        let cases: Vec<_> = tests.split(&format!("alertname: {name}\n")).skip(1).collect();
        let quiet = |case: &&str| case.trim_start().starts_with("exp_alerts: []");
        assert!(cases.iter().any(quiet), "no test has {name} silent");
        assert!(!cases.iter().all(quiet), "no test raises {name}");
    }
}

/// The dashboard asks for nothing that the server does not give.
#[test]
fn the_dashboard_shows_what_there_is() {
    let (state, _server, _remote) = with_everything();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/grafana/farmgate.json");
    let text = std::fs::read_to_string(path).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut asked = String::new();
    let mut ids = std::collections::BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        for target in panel["targets"].as_array().unwrap() {
            asked += target["expr"].as_str().unwrap();
            asked += "\n";
        }
    }
    assert_asks_for_what_there_is(&asked, &metrics(&state));
}

/// Every metric is explained somewhere, with its name or without the prefix that all share.
#[test]
fn every_metric_is_documented() {
    let (state, _server, _remote) = with_everything();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut pages = String::new();
    for entry in std::fs::read_dir(docs).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "md") {
            pages += &std::fs::read_to_string(path).unwrap();
        }
    }
    let words: std::collections::BTreeSet<_> =
        pages.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect();
    for line in metrics(&state) {
        let name = line.split(['{', ' ']).next().unwrap();
        let short = name.strip_prefix("farmgate_").unwrap();
        let parts = ["_bucket", "_sum", "_count"];
        let short = parts.iter().find_map(|part| short.strip_suffix(part)).unwrap_or(short);
        let there = words.contains(name) || words.contains(short);
        assert!(there || short == "build_info", "no page explains {name}");
    }
}

/// A first fault raises its alert: what is counted by route and status begins at 0.
#[test]
fn counters_are_there_before_anything_happens() {
    let state = state("");
    let _server = TestServer::start(&state);
    let said = metrics(&state);
    for route in ["/boot/ipxe", "/g/{generation}/{*path}", "/secrets/{token}", "none"] {
        for status in [500, 503] {
            let line =
                format!("farmgate_requests_total{{route=\"{route}\",status=\"{status}\"}} 0");
            assert_has(&said, &line);
        }
        assert_has(&said, &format!("farmgate_request_seconds_count{{route=\"{route}\"}} 0"));
    }
    assert_has(&said, "farmgate_sent_bytes_total 0");
}

/// The alert used to miss the first burst: the counter appeared with it, and had no rate.
#[test]
fn the_first_use_of_a_revoked_certificate_raises_the_alert() {
    let Some(promtool) = tool("FARMGATE_PROMTOOL", PROMTOOL) else { return };
    let state = state("");
    let _server = TestServer::start(&state);
    let said = metrics(&state);
    assert_has(&said, "farmgate_refusals_total{reason=\"revoked\"} 0");
    assert_has(&said, "farmgate_boots_total{reason=\"fell-back\"} 0");

    // A server that ran before; one that such a request has started; one at which nobody does so.
    for (values, raised) in [("0 0 0 1 1 1", true), ("_ _ _ 1 1 1", true), ("0 0 0 0 0 0", false)] {
        let alerts = if raised {
            "[{exp_labels: {reason: revoked, instance: a, severity: warning}, exp_annotations: {summary: \
             'A revoked certificate is being used; see the journal for its address.'}}]"
        } else {
            "[]"
        };
        let test = format!(
            "rule_files: [{}]\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    \
             input_series: [{{series: 'farmgate_refusals_total{{reason=\"revoked\",instance=\"a\"}}', \
             values: '{values}'}}]\n    alert_rule_test: [{{eval_time: 5m, alertname: \
             FarmgateRevokedCertificateUsed, exp_alerts: {alerts}}}]\n",
            concat!(env!("CARGO_MANIFEST_DIR"), "/examples/prometheus/alerts.yml")
        );
        let file = state.dir().join("rules-test.yml");
        std::fs::write(&file, test).unwrap();
        let tested = Command::new(&promtool).args(["test", "rules"]).arg(&file).output().unwrap();
        assert!(tested.status.success(), "{values}: {tested:?}");
    }
}

#[test]
fn only_get_and_head_are_answered() {
    let state = state("");
    let _server = TestServer::start(&state);
    for (method, status) in [("HEAD", 200), ("POST", 405), ("DELETE", 405)] {
        let stream = std::os::unix::net::UnixStream::connect(state.dir().join("admin.sock"));
        let reply = request(stream.unwrap(), method, "/metrics", "").unwrap();
        assert_eq!(reply.status, status, "{method}");
    }
}
