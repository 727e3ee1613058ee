//! Root works on a state whose owner is an enemy: the server's user, once somebody has got hold of
//! the server.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::chown;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use nix::unistd::Gid;
use nix::unistd::Uid;

use crate::common::BIN;
use crate::common::PATIENCE;
use crate::common::TestState;

pub(crate) const NOBODY: u32 = 65534;

/// Whether this can be two users; says so where nobody can overlook it if it cannot.
pub(crate) fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        // Not by a macro, whose words the harness keeps to itself.
        let _ = std::io::stderr().write_all(
            b"\n*** SKIPPED: that root is safe from the state's owner was NOT tested: \
              run the tests as root ***\n\n",
        );
    }
    root
}

/// A state that root made for the server's user, as the package does.
pub(crate) fn nobodys_state() -> TestState {
    TestState::prepared_with(&["--key-type", "p256"], |dir| {
        fs::create_dir(dir).unwrap();
        // A server must get there.
        fs::set_permissions(dir.parent().unwrap(), fs::Permissions::from_mode(0o711)).unwrap();
        chown(dir, Some(NOBODY), Some(NOBODY)).unwrap();
    })
}

/// With a gateway, a generation, and a boot's key.
fn lived_in() -> TestState {
    let state = nobodys_state();
    state.ok(&["gateway", "add", "lab-1"]);
    state.publish("lab-1", 10);
    state
}

/// What only root may read or change, and what it was.
struct Treasure {
    dir: tempfile::TempDir,
    before: BTreeMap<PathBuf, (u32, u32, u32, Vec<u8>)>,
}

const SECRET: &str = "root-alone-may-read-this";

impl Treasure {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("keys")).unwrap();
        for (name, mode) in [("keys/ca.key", 0o600), ("keys/open", 0o644)] {
            let path = dir.path().join(name);
            fs::write(&path, SECRET).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        // The names are known to everybody; what is in the files is not.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut treasure = Self { dir, before: BTreeMap::new() };
        treasure.before = treasure.look();
        treasure
    }

    fn keys(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    fn look(&self) -> BTreeMap<PathBuf, (u32, u32, u32, Vec<u8>)> {
        let mut seen = BTreeMap::new();
        let mut open = vec![self.dir.path().to_owned()];
        while let Some(path) = open.pop() {
            let facts = fs::symlink_metadata(&path).unwrap();
            if facts.is_dir() {
                open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            let content = if facts.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            seen.insert(path, (facts.uid(), facts.gid(), facts.mode(), content));
        }
        seen
    }

    #[track_caller]
    fn is_untouched(&self, after: &str) {
        assert_eq!(self.look(), self.before, "{after}");
    }
}

/// Runs a command that has to end, whatever it comes to.
#[track_caller]
fn ends(state: &TestState, args: &[&str]) -> Output {
    let mut child = Command::new(BIN)
        .env_remove("FARMGATE_STATE")
        .arg("--state")
        .arg(state.dir())
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("farmgate {args:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

/// Commands that together read and write every kind of file.
fn commands(state: &TestState) -> Vec<Vec<String>> {
    let files = [("boot.ipxe", &b"#!ipxe\nboot\n"[..]), ("new", b"bytes"), ("secrets", b"A=1\n")];
    let folder = state.folder("other", &files).to_str().unwrap().to_owned();
    let other = state.dir().parent().unwrap().join("host-2").to_str().unwrap().to_owned();
    let lines = [
        "status",
        "rollout list",
        &format!("publish lab-1 {folder}"),
        &format!("publish --canary lab-1 --then all {folder}"),
        "gateway add lab-2",
        "gateway renew lab-1",
        "gateway remove lab-1",
        "pki renew",
        &format!("store new-host {other}"),
    ];
    lines.iter().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

#[track_caller]
fn try_everything(state: &TestState, treasure: &Treasure, planted: &Path) {
    for command in commands(state) {
        let args: Vec<&str> = command.iter().map(String::as_str).collect();
        let output = ends(state, &args);
        let said = [output.stdout, output.stderr].concat();
        let what = format!("{args:?} with a link at {}", planted.display());
        assert!(!String::from_utf8_lossy(&said).contains(SECRET), "{what} tells");
        treasure.is_untouched(&what);
    }
}

/// Everything in a state, without what is root's.
fn entries(state: &TestState) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![state.dir()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let facts = fs::symlink_metadata(&path).unwrap();
            if facts.is_dir() {
                open.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}

fn take_out(path: &Path) {
    let facts = fs::symlink_metadata(path).unwrap();
    if facts.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
}

/// What the state's owner can make: a link that belongs to him.
fn plant(target: &Path, at: &Path) {
    symlink(target, at).unwrap();
    std::os::unix::fs::lchown(at, Some(NOBODY), Some(NOBODY)).unwrap();
}

/// Root used to write through such a link, and to give away what is behind it.
#[test]
fn a_link_in_the_place_of_any_directory_leads_root_nowhere() {
    if !is_root() {
        return;
    }
    let treasure = Treasure::new();
    let kinds = ["gateways", "gateways/lab-1", "gateways/.by-fingerprint", "store", "store/blobs"]
        .map(PathBuf::from);
    let model = lived_in();
    let id = fs::read_dir(model.dir().join("store/gateways")).unwrap().next().unwrap().unwrap();
    let id = PathBuf::from("store/gateways").join(id.file_name());
    let mut places: Vec<PathBuf> = kinds.to_vec();
    places.extend(
        ["store/gateways", "store/records", "store/rollouts", "leases", "buckets", "pki", "cache"]
            .map(PathBuf::from),
    );
    for place in places.iter().chain([&id]) {
        let state = lived_in();
        let place = if *place == id {
            let entry = fs::read_dir(state.dir().join("store/gateways")).unwrap().next().unwrap();
            entry.unwrap().path()
        } else {
            state.dir().join(place)
        };
        if place.exists() {
            take_out(&place);
        }
        plant(&treasure.keys(), &place);
        try_everything(&state, &treasure, &place);
    }
}

/// The same for files. A dangling `lock` used to keep root busy for ever.
#[test]
fn a_link_in_the_place_of_any_file_leads_root_nowhere() {
    if !is_root() {
        return;
    }
    let treasure = Treasure::new();
    let (secret, nothing) = (treasure.keys().join("ca.key"), treasure.keys().join("nothing"));
    let mut kinds = 0;
    let model = lived_in();
    for number in 0..entries(&model).len() {
        let state = lived_in();
        let place = entries(&state)[number].clone();
        if fs::symlink_metadata(&place).unwrap().is_dir() {
            continue;
        }
        kinds += 1;
        let lock = place.ends_with("lock");
        for target in [&secret, &nothing].into_iter().take(if lock { 2 } else { 1 }) {
            take_out(&place);
            plant(target, &place);
            for args in [&["publish", "lab-1", "FOLDER"][..], &["pki", "renew"], &["status"]] {
                let folder = state.folder("other", &[("boot.ipxe", b"#!ipxe\nboot\n")]);
                let folder = folder.to_str().unwrap();
                let args: Vec<_> =
                    args.iter().map(|arg| if *arg == "FOLDER" { folder } else { arg }).collect();
                let output = ends(&state, &args);
                let said = [output.stdout, output.stderr].concat();
                let what = format!("{args:?} with a link at {}", place.display());
                assert!(!String::from_utf8_lossy(&said).contains(SECRET), "{what} tells");
                treasure.is_untouched(&what);
            }
            if !place.is_symlink() {
                break;
            }
        }
    }
    assert!(kinds > 10, "only {kinds} files");
}

/// A pipe used to have the next command, and then all others, wait for ever.
#[test]
fn a_pipe_in_the_place_of_any_file_keeps_nobody_waiting() {
    let new = || if nix::unistd::geteuid().is_root() { lived_in() } else { TestState::quick() };
    let model = new();
    for number in 0..entries(&model).len() {
        let state = new();
        let place = entries(&state)[number].clone();
        let name = place.file_name().unwrap().to_str().unwrap().to_owned();
        let facts = fs::symlink_metadata(&place).unwrap();
        if !facts.is_file() || place.starts_with(state.dir().join("pki")) || name.len() == 64 {
            continue;
        }
        take_out(&place);
        assert!(Command::new("mkfifo").arg(&place).status().unwrap().success());
        chown(&place, Some(facts.uid()), Some(facts.gid())).unwrap();
        for args in [&["status"][..], &["gateway", "add", "lab-3"], &["gateway", "renew", "lab-1"]]
        {
            ends(&state, args);
        }
    }
}

/// What the operator names is not the state's owner's to read, and root's work all the same.
#[test]
fn root_reads_and_writes_what_it_names_as_root() {
    if !is_root() {
        return;
    }
    let state = lived_in();
    let private = tempfile::tempdir().unwrap();
    let path = |name: &str| private.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("boot.ipxe"), "#!ipxe\nboot\n").unwrap();
    fs::set_permissions(path("boot.ipxe"), fs::Permissions::from_mode(0o600)).unwrap();
    state.ok(&["publish", "lab-1", private.path().to_str().unwrap()]);
    let (cert, key) = state.credentials("lab-1");
    let command = "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
                   -subj /CN=x -keyout \"$0\" -out \"$1\"";
    let made = Command::new("sh").args(["-c", command, &path("key"), &path("csr")]).output();
    assert!(made.unwrap().status.success());
    state.ok(&["gateway", "add", "lab-5", "--csr", &path("csr")]);
    state.ok(&["gateway", "add", "lab-1", "--if-missing", "--cert", cert.to_str().unwrap()]);
    assert_eq!(fs::metadata(key).unwrap().uid(), NOBODY);
    let config = fs::read_to_string(state.dir().join("farmgate.toml")).unwrap();
    let shared = format!("{config}\n[store]\nurl = \"file://{}\"\n", path("store"));
    fs::write(path("config"), shared).unwrap();
    fs::set_permissions(path("config"), fs::Permissions::from_mode(0o600)).unwrap();
    state.ok(&["--config", &path("config"), "store", "new-host", &path("host-2")]);
    for file in ["", "pki/server.key", "token.key", "proxy-mark.conf"] {
        assert_eq!(fs::metadata(private.path().join("host-2").join(file)).unwrap().uid(), 0);
    }
}

/// As the state's owner, root used to see nothing of other users' programs.
#[test]
fn root_is_told_who_has_the_port() {
    if !is_root() {
        return;
    }
    let state = lived_in();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = state.dir().join("farmgate.toml");
    let text = fs::read_to_string(&config).unwrap();
    let tls = format!("tls = \"{}\"", other.local_addr().unwrap());
    let own = |line: &str| if line.starts_with("tls = ") { tls.clone() } else { line.to_owned() };
    let text: Vec<String> = text.lines().map(own).collect();
    fs::write(&config, text.join("\n")).unwrap();
    let report = state.run(&["doctor"]);
    let report = String::from_utf8_lossy(&report.stdout).into_owned();
    assert!(report.contains(&format!("process {} (", std::process::id())), "{report}");
}

/// Swaps what root has just made for links, as fast as it can, with no rights but nobody's.
fn attack(state: &Path, target: &Path, over: &AtomicBool) -> u64 {
    nix::unistd::setfsgid(Gid::from_raw(NOBODY));
    nix::unistd::setfsuid(Uid::from_raw(NOBODY));
    let mut swaps = 0;
    while !over.load(Ordering::Relaxed) {
        for dir in ["store/blobs", "store/gateways", "gateways", "store"] {
            for entry in fs::read_dir(state.join(dir)).into_iter().flatten().flatten() {
                let path = entry.path();
                let name = entry.file_name().into_string().unwrap();
                if name.ends_with("-away") || !path.is_dir() || path.is_symlink() {
                    continue;
                }
                let away = path.with_file_name(format!("{name}-away"));
                if fs::rename(&path, &away).is_ok() {
                    swaps += u64::from(symlink(target, &path).is_ok());
                    let _ = fs::remove_file(&path);
                    let _ = fs::rename(&away, &path);
                }
            }
        }
    }
    swaps
}

/// `ca.key` and other files of root's used to change their owner so, within seconds: root opened
/// by its name what it had just made, and gave that to the owner of the directory.
#[test]
fn root_wins_no_race_because_it_runs_none() {
    if !is_root() {
        return;
    }
    let (state, treasure) = (lived_in(), Treasure::new());
    let over = AtomicBool::new(false);
    let dir = state.dir();
    let swaps = std::thread::scope(|scope| {
        let attacker = scope.spawn(|| attack(&dir, &treasure.keys(), &over));
        for round in 0..8 {
            let script = ("boot.ipxe".to_owned(), b"#!ipxe\nboot\n".to_vec());
            // Enough for directories of blobs that are not there yet.
            let blobs = (0..40).map(|n| (format!("f{n}"), format!("{round} {n}").into_bytes()));
            let files: Vec<_> = [script].into_iter().chain(blobs).collect();
            let files: Vec<_> = files.iter().map(|(n, c)| (n.as_str(), c.as_slice())).collect();
            let folder = state.folder(&format!("round-{round}"), &files);
            let name = format!("lab-{}", round + 10);
            ends(&state, &["gateway", "add", &name]);
            ends(&state, &["publish", &name, folder.to_str().unwrap()]);
        }
        over.store(true, Ordering::Relaxed);
        attacker.join().unwrap()
    });
    assert!(swaps > 100, "only {swaps} attempts");
    treasure.is_untouched("after the race");
    // And when it is over, root's work is done as ever.
    state.ok(&["gateway", "add", "lab-99"]);
    state.publish("lab-99", 10);
}

fn uid(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().uid()
}

/// As farmgate made it before: all of `pki/` but the CA's key, and `cache/`, the server's user's.
fn as_before(state: &TestState) {
    let pki = state.dir().join("pki");
    for name in ["", "ca.crt", "server.crt", "server.key", "crl.pem"] {
        chown(pki.join(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    fs::set_permissions(&pki, fs::Permissions::from_mode(0o700)).unwrap();
    let cache = state.dir().join("cache");
    chown(&cache, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::create_dir(cache.join("ipxe-planted")).unwrap();
    fs::write(cache.join("base-planted"), "x").unwrap();
}

#[test]
fn a_state_made_before_is_put_right_by_the_next_command() {
    if !is_root() {
        return;
    }
    let state = lived_in();
    as_before(&state);
    let (pki, cache) = (state.dir().join("pki"), state.dir().join("cache"));
    let ca = fs::read(pki.join("ca.crt")).unwrap();
    state.ok(&["status"]);
    for path in ["", "ca.crt", "ca.key", "server.crt", "crl.pem"].map(|name| pki.join(name)) {
        assert_eq!(uid(&path), 0, "{}", path.display());
    }
    assert_eq!(uid(&pki.join("server.key")), NOBODY);
    assert_eq!(fs::read(pki.join("ca.crt")).unwrap(), ca);
    assert_eq!(uid(&cache), 0);
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 0, "what others put there is still there");
    // All that the CA signs can be signed.
    state.ok(&["gateway", "renew", "lab-1"]);
    state.ok(&["gateway", "revoke", "lab-1"]);
    state.ok(&["pki", "renew"]);
    assert_eq!(uid(&pki.join("server.key")), NOBODY);
}

/// Root used to give `pki/server.key` to the server's user, also where that user had moved `ca.key`
/// there, and another file of root's to where that was.
#[test]
fn the_cas_key_is_not_given_away_under_another_name() {
    if !is_root() {
        return;
    }
    let state = lived_in();
    as_before(&state);
    let pki = state.dir().join("pki");
    let config = state.dir().join("farmgate.toml");
    let (key, text) = (fs::read(pki.join("ca.key")).unwrap(), fs::read(&config).unwrap());
    // Edited by root, for instance.
    chown(&config, Some(0), Some(0)).unwrap();
    fs::rename(pki.join("ca.key"), pki.join("server.key")).unwrap();
    fs::rename(&config, pki.join("ca.key")).unwrap();
    fs::write(&config, text).unwrap();
    // Nor by a second try.
    for _ in 0..2 {
        let said = state.fails(&["status"]);
        assert!(said.contains("server.key belongs to root"), "{said}");
        assert_eq!(uid(&pki.join("server.key")), 0);
        assert_eq!(uid(&pki), NOBODY);
    }
    assert_eq!(fs::read(pki.join("server.key")).unwrap(), key);
}

/// The server's user used to own `pki/ca.crt`: media then trusted another CA, and nothing said so.
#[test]
fn another_ca_is_not_taken_from_the_servers_user() {
    if !is_root() {
        return;
    }
    let (state, other) = (lived_in(), TestState::quick());
    as_before(&state);
    let pki = state.dir().join("pki");
    let own = fs::read(pki.join("ca.crt")).unwrap();
    let foreign = fs::read(other.dir().join("pki/ca.crt")).unwrap();
    fs::write(pki.join("ca.crt"), &foreign).unwrap();
    let said = state.fails(&["gateway", "list"]);
    assert!(said.contains("is not the certificate of ca.key"), "{said}");
    fs::write(pki.join("ca.crt"), &own).unwrap();
    state.ok(&["gateway", "list"]);

    // Put in the place of all of it, with a key of its own.
    fs::rename(&pki, state.dir().join("old")).unwrap();
    assert!(Command::new("cp").arg("-r").arg(other.dir().join("pki")).arg(&pki).status().is_ok());
    for name in ["", "ca.crt", "ca.key", "server.crt", "server.key", "crl.pem"] {
        chown(pki.join(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let image = state.dir().parent().unwrap().join("base.iso");
    let said = state.fails(&["iso", "base", "-o", image.to_str().unwrap()]);
    assert!(said.contains("media would trust it") && said.contains("chown -R root:"), "{said}");
    let report = state.run(&["doctor"]);
    let report = String::from_utf8_lossy(&report.stdout).into_owned();
    assert!(report.contains("can replace the CA"), "{report}");
    // What it says puts it right: a state that the server's user made himself.
    for dir in [&pki, &state.dir().join("cache")] {
        assert!(Command::new("chown").args(["-R", "0:0"]).arg(dir).status().unwrap().success());
    }
    state.ok(&["gateway", "list"]);
    assert_eq!(uid(&pki.join("server.key")), NOBODY, "the server cannot read its key");
    // It used to stay 0700: the server could not read the CA's certificate, and nobody booted.
    let mode = fs::metadata(&pki).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o711, "the server cannot get in");
    let report = state.run(&["doctor"]);
    let report = String::from_utf8_lossy(&report.stdout).into_owned();
    assert!(!report.contains("can replace the CA"), "{report}");
}

/// Without rights of root's, the server reads all that it needs.
#[test]
fn the_servers_user_can_serve_and_not_write_what_media_trust() {
    if !is_root() {
        return;
    }
    let state = lived_in();
    // Not every directory on the way to the program need be open to nobody.
    let program = state.dir().parent().unwrap().join("farmgate");
    assert!(Command::new("cp").arg(BIN).arg(&program).status().unwrap().success());
    let run = |program: &Path, args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program).args(args);
        command.output().unwrap()
    };
    let dir = state.dir().to_str().unwrap().to_owned();
    let output = run(&program, &["--state", &dir, "serve", "--check"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let pki = format!("{dir}/pki");
    assert!(run(Path::new("cat"), &[&format!("{pki}/server.key")]).status.success());
    for args in [&["cat", &format!("{pki}/ca.key")][..], &["touch", &format!("{pki}/x")]] {
        assert!(!run(Path::new(args[0]), &args[1..]).status.success(), "{args:?}");
    }
    assert!(!run(Path::new("touch"), &[&format!("{dir}/cache/x")]).status.success());
}

/// Keys used to go into whatever directory had the name.
#[test]
fn init_takes_no_directory_that_somebody_else_made() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let shared = dir.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
    let state = shared.join("state");
    let init = || {
        Command::new(BIN)
            .env_remove("SUDO_UID")
            .arg("--state")
            .arg(&state)
            .args(["init", "--url", "https://a", "--key-type", "p256"])
            .output()
            .unwrap()
    };
    fs::create_dir(&state).unwrap();
    chown(&state, Some(NOBODY), Some(NOBODY)).unwrap();
    let output = init();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("of your own"), "{said}");
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
    // In its own it is content, and what it finds too open is shut.
    chown(&state, Some(0), Some(0)).unwrap();
    fs::create_dir(state.join("gateways")).unwrap();
    fs::set_permissions(state.join("gateways"), fs::Permissions::from_mode(0o755)).unwrap();
    let output = init();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::metadata(state.join("gateways")).unwrap().mode() & 0o777, 0o700);

    // One that root itself would follow a stranger to is refused too.
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
    let output =
        Command::new(BIN).arg("--state").arg(&state).args(["gateway", "list"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("can be changed by"), "{said}");
}
