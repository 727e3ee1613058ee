//! `doctor` on hosts that are well, and on hosts with one thing wrong with them.

mod sync;

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use farmgate::identity::pki::Authority;
use farmgate::identity::pki::KeyType;
use serde_json::Value;
use time::Duration;
use time::OffsetDateTime;

use crate::clock::shifted;
use crate::common::BIN;
use crate::common::TestServer;
use crate::common::TestState;
use crate::common::edit;
use crate::common::free_port;
use crate::common::request;
use crate::garage::Garage;

/// A boot host with one gateway that has something to boot, and its server, which is where
/// gateways look for it.
struct Host {
    state: TestState,
    port: u16,
    server: Option<TestServer>,
}

impl Host {
    fn new() -> Self {
        let (state, port) = (TestState::quick(), free_port());
        let admin = state.dir().join("admin.sock");
        state.set_listen(&format!("tls = \"127.0.0.1:{port}\"\nadmin = \"{}\"", admin.display()));
        edit(&state.dir().join("farmgate.toml"), |text| text.replace(":8443", &format!(":{port}")));
        state.publish("lab-1", 5000);
        let mut host = Self { state, port, server: None };
        host.start();
        host
    }

    fn start(&mut self) {
        let mut command = Command::new(BIN);
        command.arg("--state").arg(self.state.dir()).arg("serve");
        let server = TestServer::spawn(command, "none".into());
        server.wait_for_log("listening: admin");
        self.server = Some(server);
    }

    fn stop(&mut self) {
        self.server = None;
    }

    fn configure(&self, more: &str) {
        edit(&self.state.dir().join("farmgate.toml"), |text| format!("{text}\n{more}\n"));
    }

    /// As states were made before: all that a CA signs ended with it, after 30 years.
    fn has_ends(&mut self) {
        self.stop();
        let pki = self.state.dir().join("pki");
        let end = OffsetDateTime::now_utc() + Duration::days(30 * 365);
        let ca = Authority::create("CA", KeyType::P256, end).unwrap();
        fs::write(pki.join("ca.crt"), ca.certificate_pem).unwrap();
        fs::write(pki.join("ca.key"), ca.private_key_pem).unwrap();
        self.state.ok(&["pki", "renew"]);
        self.state.ok(&["gateway", "renew", "lab-1", "--days", "3650"]);
        self.start();
    }

    fn doctor(&self) -> Report {
        Report::of(Command::new(BIN), &self.state.dir())
    }
}

/// What was found, and whether it says that gateways can boot.
#[derive(Debug)]
struct Report {
    well: bool,
    findings: Vec<Value>,
}

impl Report {
    fn of(mut command: Command, state: &Path) -> Self {
        let output = command
            .env("FARMGATE_IPXE", "/nonexistent")
            .arg("--state")
            .arg(state)
            .args(["--json", "doctor"])
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let well = output.status.success();
        assert_eq!(stderr.lines().count(), usize::from(!well), "{stderr}");
        let findings = serde_json::from_slice(&output.stdout).unwrap();
        let report = Self { well, findings };
        assert_eq!(well, report.with("error").is_empty(), "{report:#?}");
        report
    }

    fn with(&self, verdict: &str) -> Vec<&Value> {
        self.findings.iter().filter(|finding| finding["verdict"] == verdict).collect()
    }

    /// The one finding of this kind that holds `text`; returns what to do about it.
    #[track_caller]
    fn has(&self, verdict: &str, check: &str, text: &str) -> String {
        let found = self.findings.iter().find(|finding| {
            finding["verdict"] == verdict
                && finding["check"] == check
                && finding["what"].as_str().unwrap().contains(text)
        });
        let found = found.unwrap_or_else(|| panic!("no {verdict} {check} {text:?} in {self:#?}"));
        found["way_out"].as_str().unwrap_or_default().to_owned()
    }
}

#[test]
fn a_host_that_is_well() {
    let host = Host::new();
    let report = host.doctor();
    assert!(report.well, "{report:#?}");
    for check in ["files", "secrets", "disk", "certificates", "gateways", "server", "url"] {
        report.has("ok", check, "");
    }
    // Here is no iPXE, which only who makes media needs.
    let way_out = report.has("warning", "tools", "ipxe.lkrn");
    assert!(way_out.contains("not by the server"), "{way_out}");
    // The same for people.
    let text = host.state.ok(&["doctor"]);
    assert!(
        text.contains(&format!("ok       url          https://127.0.0.1:{}", host.port)),
        "{text}"
    );
}

/// Only the length of what the server shows was looked at.
#[test]
fn a_server_that_does_not_send_its_ca() {
    let mut host = Host::new();
    host.stop();
    let path = host.state.dir().join("pki/server.crt");
    let whole = fs::read_to_string(&path).unwrap();
    let end = "-----END CERTIFICATE-----\n";
    let alone = whole.split_inclusive(end).next().unwrap();
    fs::write(&path, alone).unwrap();
    host.start();
    // The state is well again, and what is sent is not.
    fs::write(&path, &whole).unwrap();
    let way_out = host.doctor().has("error", "url", "the CA itself is missing in the chain");
    assert!(way_out.contains("ssl_certificate"), "{way_out}");
    host.stop();
    host.start();
    assert!(host.doctor().well);
}

#[test]
fn a_server_that_is_down() {
    let mut host = Host::new();
    host.stop();
    let report = host.doctor();
    report.has("error", "server", "nothing answers at");
    report.has("error", "url", "Connection refused");
    host.start();
    assert!(host.doctor().well);
}

#[test]
fn another_server_in_its_place() {
    let mut host = Host::new();
    host.stop();
    // With a certificate of another CA.
    let other = Host::new();
    edit(&host.state.dir().join("farmgate.toml"), |text| {
        text.replace(
            &format!("https://127.0.0.1:{}", host.port),
            &format!("https://127.0.0.1:{}", other.port),
        )
    });
    let report = host.doctor();
    let way_out = report.has("error", "url", "certificate");
    assert!(way_out.contains("another server"), "{way_out}");

    // One that speaks no TLS, on the port that farmgate wants.
    let listener = TcpListener::bind(("127.0.0.1", host.port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 1000]);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello");
        }
    });
    edit(&host.state.dir().join("farmgate.toml"), |text| {
        text.replace(
            &format!("https://127.0.0.1:{}", other.port),
            &format!("https://127.0.0.1:{}", host.port),
        )
    });
    let report = host.doctor();
    report.has("error", "url", "cannot be reached");
    // It used to say "farmgate, or another program".
    report.has("error", "server", &format!("process {} (", std::process::id()));
}

/// Gateways that cannot reach one host go on to the next.
#[test]
fn a_second_boot_host() {
    let mut host = Host::new();
    let (up, down) = (host.port, free_port());
    edit(&host.state.dir().join("farmgate.toml"), |text| {
        text.replacen(&format!("https://127.0.0.1:{up}"), &format!("https://127.0.0.1:{down}"), 1)
    });
    host.configure(&format!("[media]\nfallback-urls = [\"https://127.0.0.1:{up}\"]"));
    let report = host.doctor();
    assert!(report.well, "{report:#?}");
    report.has("warning", "url", "Connection refused");
    report.has("ok", "url", &up.to_string());
    host.stop();
    let report = host.doctor();
    report.has("error", "url", "none of the boot hosts");
}

#[test]
fn files_that_are_gone_or_short() {
    let host = Host::new();
    let store = host.state.dir().join("store/blobs");
    let kernel = walk(&store).into_iter().find(|path| fs::metadata(path).unwrap().len() == 5000);
    let (kernel, away) = (kernel.unwrap(), store.join("away"));
    fs::rename(&kernel, &away).unwrap();
    let way_out = host.doctor().has("error", "gateways", "vmlinuz of generation 1 is missing");
    assert!(way_out.contains("publish"), "{way_out}");
    fs::write(&kernel, "short").unwrap();
    let way_out = host.doctor().has("error", "gateways", "has 5 of 5000 bytes");
    assert!(way_out.contains("publish its folder again"), "{way_out}");
    // Nobody used to look at more than the size.
    let mut rotten = fs::read(&away).unwrap();
    rotten[4321] ^= 1;
    fs::write(&kernel, rotten).unwrap();
    host.doctor().has("error", "gateways", "has other bytes than those that were published");
    // The way out used to be none: the name was there.
    let folder = host.state.dir().with_file_name("published");
    host.state.ok(&["publish", "lab-1", folder.to_str().unwrap()]);
    assert!(host.doctor().well);
    assert_eq!(fs::read(&kernel).unwrap(), fs::read(&away).unwrap());
}

#[test]
fn a_folder_of_the_store_that_is_gone() {
    let host = Host::new();
    for (name, said) in [("blobs", "blobs is missing"), ("gateways", "gateways is missing")] {
        let folder = host.state.dir().join("store").join(name);
        let away = folder.with_extension("away");
        fs::rename(&folder, &away).unwrap();
        let way_out = host.doctor().has("error", "gateways", said);
        assert!(way_out.contains("mount it"), "{way_out}");
        let ready = host.state.admin("/readyz");
        assert!(ready.status == 503 && ready.text().contains(said), "{}", ready.text());
        fs::rename(&away, &folder).unwrap();
        assert_eq!(host.state.admin("/readyz").status, 200);
    }
    assert!(host.doctor().well);
}

#[test]
fn an_event_that_is_damaged() {
    let host = Host::new();
    let folder = host.state.dir().join("store/gateways");
    let folder = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let event = folder.join("0192a8c0-0000-7000-8000-000000000001.json");
    fs::write(&event, "{").unwrap();
    let way_out = host.doctor().has("warning", "gateways", "is damaged: the server ignores it");
    assert!(way_out.contains("backup"), "{way_out}");
    fs::remove_file(&event).unwrap();
    host.doctor().has("ok", "gateways", "");
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// A backup that knows nothing of symbolic links. Only the active certificate used to be looked
/// at, and nothing made the index anew: a medium with a retiring certificate was refused.
#[test]
fn certificates_that_lead_nowhere() {
    let mut host = Host::new();
    let old = host.state.credentials("lab-1");
    host.state.ok(&["gateway", "renew", "lab-1"]);
    let new = host.state.credentials("lab-1");
    let index = host.state.dir().join("gateways/.by-fingerprint");
    let damages: [&dyn Fn(&Path); 3] = [
        &|index| fs::remove_dir_all(index).unwrap(),
        &|index| {
            for entry in fs::read_dir(index).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
        },
        // `cp -L` makes copies of what links lead to.
        &|index| {
            for entry in fs::read_dir(index).unwrap() {
                let entry = entry.unwrap().path();
                fs::remove_file(&entry).unwrap();
                fs::create_dir(&entry).unwrap();
                fs::write(entry.join("gateway.json"), "{}").unwrap();
            }
        },
    ];
    for damage in damages {
        host.stop();
        damage(&index);
        let report = host.doctor();
        report.has("error", "gateways", "the certificate of lab-1 is not found");
        let way_out = report.has("error", "gateways", "the retiring certificate of lab-1");
        assert!(way_out.contains("restart"), "{way_out}");
        host.start();
        assert!(host.doctor().well);
        let server = host.server.as_mut().unwrap();
        server.tls_port = host.port;
        for credentials in [&old, &new] {
            let stream = server.tls(&host.state, Some(credentials.clone()));
            assert_eq!(request(stream, "GET", "/files/vmlinuz", "").unwrap().status, 200);
        }
    }
}

/// A backup that follows no links, or leaves them out.
#[test]
fn a_certificate_that_leads_nowhere() {
    let mut host = Host::new();
    // It would mend it.
    host.stop();
    let index = host.state.dir().join("gateways/.by-fingerprint");
    let entry = fs::read_dir(&index).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&entry).unwrap();
    host.doctor().has("error", "gateways", "is not found");
    host.start();
    assert!(host.doctor().well);
    host.stop();
    // It leads to another gateway.
    host.state.ok(&["gateway", "add", "lab-2"]);
    fs::remove_file(&entry).unwrap();
    symlink("../lab-2", &entry).unwrap();
    host.doctor().has("error", "gateways", "is not found");
    host.start();
    assert!(host.doctor().well);
}

#[test]
fn gateways_that_cannot_boot() {
    let host = Host::new();
    host.state.ok(&["gateway", "add", "lab-2"]);
    host.state.ok(&["gateway", "add", "lab-3"]);
    host.state.ok(&["gateway", "revoke", "lab-3"]);
    let report = host.doctor();
    report.has("warning", "gateways", "lab-2 has nothing to boot");
    report.has("warning", "gateways", "lab-3 has no active certificate");
    let record = host.state.dir().join("gateways/lab-2/gateway.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, "{").unwrap();
    host.doctor().has("error", "gateways", "gateway.json is damaged");
    fs::write(&record, text).unwrap();
    assert!(host.doctor().well);
}

#[test]
fn time_runs_out() {
    let Some(later) = shifted("+3600d") else { return };
    let mut host = Host::new();
    host.has_ends();
    let with = |time| {
        let mut command = Command::new(BIN);
        command.envs(time);
        Report::of(command, &host.state.dir())
    };
    let at = |time| with(shifted(time).unwrap());
    let report = with(later);
    report.has("warning", "gateways", "the certificate of lab-1 expires on");
    let report = at("+4000d");
    report.has("error", "gateways", "lab-1 is not let in");
    let report = at("+10930d");
    report.has("warning", "certificates", "the CRL expires on");
    report.has("warning", "certificates", "the CA expires on");
    let report = at("+11000d");
    report.has("error", "certificates", "no gateway trusts");
    report.has("error", "certificates", "and nginx refuses every gateway");
    report.has("error", "certificates", "the CA expired on");
    // A clock that was set back.
    let report = at("-1d");
    report.has("warning", "clock", "the newest event is from");
}

/// Somebody who may not read the state is told so, and not that it is damaged.
#[test]
fn what_cannot_be_read_is_not_called_wrong() {
    let host = Host::new();
    let certificate = host.state.dir().join("pki/server.crt");
    let text = fs::read(&certificate).unwrap();
    fs::remove_file(&certificate).unwrap();
    // It used to be skipped, and all was well.
    let way_out = host.doctor().has("error", "certificates", "server.crt: No such file");
    assert!(way_out.contains("pki renew"), "{way_out}");
    let crl = host.state.dir().join("pki/crl.pem");
    let old = fs::read(&crl).unwrap();
    fs::remove_file(&crl).unwrap();
    host.doctor().has("error", "certificates", "crl.pem: No such file");
    fs::write(&crl, old).unwrap();
    fs::write(&certificate, "rubbish").unwrap();
    let way_out = host.doctor().has("error", "certificates", "cannot read");
    assert!(way_out.contains("backup"), "{way_out}");
    fs::write(&certificate, text).unwrap();
    assert!(host.doctor().well);
}

#[test]
fn files_of_somebody_else() {
    let host = Host::new();
    let (_, key) = host.state.credentials("lab-1");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let report = host.doctor();
    let way_out = report.has("warning", "secrets", key.to_str().unwrap());
    assert!(way_out.starts_with("chmod 600"), "{way_out}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    host.doctor().has("ok", "secrets", "");

    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can give files to another user");
        return;
    }
    std::os::unix::fs::chown(&key, Some(65534), None).unwrap();
    let report = host.doctor();
    let way_out = report.has("error", "files", key.to_str().unwrap());
    assert!(Command::new("sh").args(["-c", &way_out]).status().unwrap().success(), "{way_out}");
    assert!(host.doctor().well);
}

/// An ordinary user used to be told that all is well.
#[test]
fn somebody_who_may_not_look_is_told_so() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can become another user");
        return;
    }
    let host = Host::new();
    let dir = host.state.dir();
    fs::set_permissions(dir.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    let doctor = |extra: &[&str]| {
        use std::os::unix::process::CommandExt;
        let program = dir.parent().unwrap().join("farmgate");
        if !program.exists() {
            fs::copy(BIN, &program).unwrap();
        }
        let mut command = Command::new(program);
        command.uid(65534).gid(65534).env("FARMGATE_IPXE", "/nonexistent");
        command.arg("--state").arg(&dir).args(extra).arg("doctor").output().unwrap()
    };
    let output = doctor(&["--json"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(error.contains("run it as root") && error.lines().count() == 1, "{error}");
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let report = Report { well: false, findings };
    let way_out = report.has("skipped", "files", "ermission denied");
    assert!(way_out.contains("as root"), "{way_out}");
    assert!(report.with("error").is_empty(), "{report:#?}");
    // Something that is wrong for certain comes first.
    fs::set_permissions(dir.join("pki"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(dir.join("pki/crl.pem")).unwrap();
    assert_eq!(doctor(&[]).status.code(), Some(1));
}

#[test]
fn a_public_name_that_leads_nowhere() {
    let host = Host::new();
    edit(&host.state.dir().join("farmgate.toml"), |text| {
        format!("public-url = \"https://127.0.0.1:{}\"\n{text}", free_port())
    });
    let way_out = host.doctor().has("error", "url", "(public-url) cannot be reached");
    assert!(way_out.contains("given up"), "{way_out}");
}

#[test]
fn the_common_store() {
    let host = Host::new();
    let remote = tempfile::tempdir().unwrap();
    let place = remote.path().join("store");
    host.configure(&format!("[store]\nurl = \"file://{}\"", place.display()));
    let report = host.doctor();
    report.has("ok", "store", "can be read and written");
    report.has("warning", "url", "media know only this one");
    assert!(walk(&place).is_empty(), "something was left behind: {:?}", walk(&place));
    // What it does keeps nobody from booting.
    fs::remove_dir_all(&place).unwrap();
    fs::write(&place, "in the way").unwrap();
    let report = host.doctor();
    assert!(report.well, "{report:#?}");
    report.has("warning", "store", "");
}

#[test]
fn a_provider_of_buckets_that_is_down() {
    let host = Host::new();
    host.configure(
        "[buckets]\nprovider = \"s3\"\napi-url = \"http://127.0.0.1:1\"\n\
         s3-endpoint = \"http://127.0.0.1:1\"",
    );
    let report = host.doctor();
    assert!(report.well, "{report:#?}");
    // As with LoadCredential= of systemd.
    report.has("skipped", "buckets", "only the service has the credentials");
    report.has("warning", "buckets", "lab-1: waiting");
}

/// What a key may do shows when it is used. The store is a real one.
#[test]
fn keys_for_the_common_store() {
    let Some(garage) = Garage::with_store(1) else { return };
    let host = Host::new();
    host.configure(&format!("[store]\n{}", garage.store_config(0)));
    host.doctor().has("ok", "store", "can be read and written");
    garage.let_store_key_write(false);
    let report = host.doctor();
    assert!(report.well, "{report:#?}");
    report.has("warning", "store", "refuses the key");
    garage.let_store_key_write(true);
    host.doctor().has("ok", "store", "can be read and written");
    // Ten minutes are what S3 and clocks bear.
    if let Some(later) = shifted("+11m") {
        let mut command = Command::new(BIN);
        command.envs(later);
        let report = Report::of(command, &host.state.dir());
        report.has("warning", "clock", "this clock and that of http://127.0.0.1");
    }
    garage.expire_store_key();
    host.doctor().has("warning", "store", "refuses the key");
    garage.delete_store_key();
    host.doctor().has("warning", "store", "refuses the key");
}

#[test]
fn a_real_provider_of_buckets() {
    let Some(mut garage) = Garage::start(1) else { return };
    let mut host = Host::new();
    let port = host.port;
    garage.configure(&host.state, "");
    edit(&host.state.dir().join("farmgate.toml"), |text| {
        text.replace("[listen]\n", &format!("[listen]\ntls = \"127.0.0.1:{port}\"\n"))
    });
    host.stop();
    host.state.ok(&["bucket", "sync"]);
    host.start();
    host.doctor().has("ok", "buckets", "1 at s3 are as they should be");
    garage.kill(0);
    let report = host.doctor();
    assert!(report.well, "{report:#?}");
    report.has("warning", "buckets", "cannot be reached");
}
