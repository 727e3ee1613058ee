//! Folders with a `gateway.toml`: what is made from it, by every command that takes folders.

mod from_registry;
mod in_fleet;

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;

use serde_json::json;

use crate::common::TestServer;
use crate::common::TestState;
use crate::common::kernel;
use crate::common::request;
use crate::common::setting_path;
use crate::fleet_folder::ok;
use crate::fleet_folder::serve;
use crate::fleet_folder::sha256;
use crate::json::hold;
use crate::registry::layer;
use crate::registry::write_layout;

const DESCRIPTION: &str = "[kernel]\ncmdline = \"console=ttyS0\"\n\n[[container]]\nimage = \
    \"oci:images/v12\"\n[container.environment]\nTOKEN = \"secret:token\"\n";

/// Images of the folder.
const TAGS: [&str; 3] = ["v12", "v13", "v14"];

const INITRAMFS: &[u8] = b"070701 and more";

const SECRETS: &[u8] = b"# Of the farm.\ntoken=correct-horse\n";

fn folder(state: &TestState, name: &str, description: &str, more: &[(&str, &[u8])]) -> PathBuf {
    let kernel = kernel();
    let mut files: Vec<(&str, &[u8])> = vec![
        ("gateway.toml", description.as_bytes()),
        ("vmlinuz", &kernel),
        ("agent.cpio.zst", INITRAMFS),
    ];
    files.extend(more);
    let folder = state.folder(name, &files);
    images(&folder);
    folder
}

/// Puts images into a folder, with a layer that all share.
fn images(folder: &Path) {
    for (at, tag) in TAGS.iter().enumerate() {
        let layers = [layer(1, 3000), layer(10 + at as u8, 1000)];
        write_layout(&folder.join("images").join(tag), "amd64", &layers.each_ref().map(|l| &l[..]));
    }
}

fn str(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn what_is_made_is_shown_without_secrets() {
    let state = TestState::quick();
    let dir = folder(&state, "f", DESCRIPTION, &[("secrets", SECRETS)]);
    let shown = state.ok(&["render", str(&dir)]);
    for part in [
        "    kernel --timeout 30000 vmlinuz initrd=agent.cpio.zst console=ttyS0 panic=30\n",
        "    initrd --timeout 30000 ${secrets_url} /farmgate/secrets mode=600 mkdir=-1\n    boot\n",
        "kernel command line\n\n    initrd=agent.cpio.zst console=ttyS0 panic=30\n",
        "\"reference\": \"oci:images/v12\"",
        "    token=(secret)\n    FARMGATE_URL=${boot_url}\n",
    ] {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
    assert!(!shown.contains("correct-horse"));
    // The file says its folder.
    assert_eq!(state.ok(&["render", str(&dir.join("gateway.toml"))]), shown);
    let of_folder = state.json(&["render", str(&dir)]);
    let container = &of_folder["agent_profile"]["containers"][0];
    assert_eq!(container["environment"]["TOKEN"], json!({ "secret": "token" }));
    assert!(state.fails(&["render", "lab-1"]).contains("has no generation"));
    state.ok(&["publish", "lab-1", str(&dir)]);
    let of_gateway = state.json(&["render", "lab-1"]);
    assert_eq!(of_gateway["generation"], 1);
    assert_eq!(of_gateway["boot_script"], of_folder["boot_script"]);
    let digest = |made: &serde_json::Value| {
        made["agent_profile"]["containers"][0]["image"]["digest"].as_str().map(str::to_owned)
    };
    assert_eq!(digest(&of_folder), None, "it is known when it is published");
    assert!(digest(&of_gateway).unwrap().starts_with("sha256:"));
    hold("render", &[of_folder, of_gateway]);

    assert!(state.fails(&["render", "nothing/here"]).contains("there is no folder"));
    let other = state.folder("other", &[("boot.ipxe", b"#!ipxe\nboot\n")]);
    assert!(state.fails(&["render", str(&other)]).contains("has no gateway.toml"));
    let wrong = folder(&state, "wrong", DESCRIPTION, &[("secrets", b"tokn=1\n")]);
    let error = state.fails(&["render", str(&wrong)]);
    assert!(
        error.contains("gateway.toml:7:9: FG062 the file `secrets` has no line `token=`"),
        "{error}"
    );
}

#[test]
fn errors_have_a_line_and_a_caret_and_stop_a_publish() {
    let state = TestState::quick();
    let text = DESCRIPTION.replace("TOKEN = ", "TOKEN: ");
    let dir = folder(&state, "f", &text, &[("secrets", SECRETS)]);
    let output = state.run(&["check", str(&dir)]);
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("[FG060] Error") && shown.contains("gateway.toml:7:"), "{shown}");
    assert!(state.fails(&["publish", "lab-1", str(&dir)]).contains("FG060"));

    // Both ways to boot at once, and files that farmgate makes.
    for path in ["boot.ipxe", "agent.json", "oci/index.json"] {
        let name = path.replace('/', "-");
        let dir =
            folder(&state, &name, DESCRIPTION, &[("secrets", SECRETS), (path, b"#!ipxe\nboot\n")]);
        let error = state.fails(&["publish", "lab-1", str(&dir)]);
        assert!(error.contains("FG064 farmgate makes") && error.contains(path), "{error}");
    }
    // A kernel that is none is found as with a boot script.
    let dir =
        folder(&state, "page", DESCRIPTION, &[("secrets", SECRETS), ("vmlinuz", b"<html>sign in")]);
    assert!(state.fails(&["publish", "lab-1", str(&dir)]).contains("FG047"));
    assert_eq!(state.json(&["generations", "lab-1"])["generations"], json!([]));

    // A secret is shown by no finding.
    let dir = folder(
        &state,
        "secret",
        DESCRIPTION,
        &[("secrets", b"token=correct-horse\ncorrect-horse\n")],
    );
    let output = state.run(&["check", str(&dir)]);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("secrets:2:1") && !shown.contains("correct-horse"), "{shown}");

    // The file alone is not judged by what lies beside it.
    let dir = folder(&state, "good", DESCRIPTION, &[]);
    assert!(state.ok(&["check", str(&dir.join("gateway.toml"))]).contains("nothing found"));
    let floating = format!("{DESCRIPTION}[cache]\ndevice = '/dev/sda'\n");
    let floating = folder(&state, "floating", &floating, &[]).join("gateway.toml");
    assert!(state.ok(&["check", str(&floating)]).contains("FG065"));
    let syntax = ["check", "--syntax", str(&floating)];
    assert!(state.ok(&syntax).contains("nothing found"));
    assert_eq!(state.run(&["check", str(&dir)]).status.code(), Some(1));
    fs::write(dir.join("secrets"), SECRETS).unwrap();
    assert!(state.ok(&["check", str(&dir)]).contains("nothing found"));
}

#[test]
fn a_gateway_gets_what_was_made() {
    let state = TestState::quick();
    let dir = folder(&state, "f", DESCRIPTION, &[("secrets", SECRETS), ("motd", b"hello")]);
    state.ok(&["publish", "lab-1", str(&dir)]);
    assert!(state.ok(&["publish", "lab-1", str(&dir)]).contains("unchanged"));
    let server = TestServer::start(&state);
    let script = server.get(&state, "/g/1/boot.ipxe").text();
    assert!(script.ends_with("mode=600 mkdir=-1\nboot\n"), "{script}");
    let profile: serde_json::Value =
        serde_json::from_slice(&server.get(&state, "/g/1/agent.json").body).unwrap();
    assert_eq!(profile["containers"][0]["name"], "v12");
    assert_eq!(server.get(&state, "/g/1/motd").text(), "hello");
    assert_eq!(server.get(&state, "/g/1/agent.cpio.zst").body, INITRAMFS);
    assert_eq!(server.get(&state, "/g/1/secrets").status, 404);
    let secrets = leased(&server, &script);
    assert!(secrets.starts_with("# Of the farm.\ntoken=correct-horse\nFARMGATE_URL="), "{secrets}");
    assert!(secrets.contains("\nFARMGATE_GATEWAY=lab-1\nFARMGATE_GENERATION=1\n"), "{secrets}");
    // What was published can be had back, and published again.
    let back = state.dir().join("back");
    state.ok(&["get", "lab-1", "1", "-o", str(&back)]);
    assert_eq!(fs::read_to_string(back.join("gateway.toml")).unwrap(), DESCRIPTION);
    assert!(!back.join("boot.ipxe").exists() && !back.join("secrets").exists());
    assert!(state.ok(&["get", "lab-1", "1", "boot.ipxe"]).ends_with("boot\n"));
    state.ok(&["get", "lab-1", "1", "-o", str(&back), "--secrets", "--force"]);
    assert!(state.ok(&["publish", "lab-1", str(&back)]).contains("unchanged"));
}

/// The secrets that a script leads to.
fn leased(server: &TestServer, script: &str) -> String {
    let path = setting_path(script, "secrets_url").unwrap();
    let stream = UnixStream::connect(&server.unix).unwrap();
    request(stream, "GET", &path, "").unwrap().text()
}

/// The agent needs its token also where the boot host has the operator's secrets.
#[test]
fn secrets_of_the_boot_host_get_the_lines_of_farmgate() {
    let state = TestState::quick();
    let dir = folder(&state, "f", DESCRIPTION, &[]);
    let error = state.fails(&["publish", "lab-1", str(&dir)]);
    assert!(error.contains("FG062"), "{error}");
    let templates = state.folder("templates", &[("lab-1", b"token=of-the-host")]);
    state.set_listen(&format!("[secrets]\ndir = {templates:?}"));
    state.ok(&["publish", "lab-1", str(&dir)]);
    let server = TestServer::start(&state);
    let secrets = leased(&server, &server.get(&state, "/g/1/boot.ipxe").text());
    assert!(secrets.starts_with("token=of-the-host\nFARMGATE_URL="), "{secrets}");
    assert!(secrets.contains("\nFARMGATE_GATEWAY=lab-1\n"), "{secrets}");
}

#[test]
fn a_kernel_can_come_by_url() {
    let (url, asked) = serve(|path| match path {
        "/vmlinuz" => ok(&kernel()),
        _ => ok(b"<html>sign in</html>"),
    });
    let state = TestState::quick();
    let with = |path: &str, bytes: &[u8]| {
        let digest = sha256(bytes);
        let image = format!("image = {{ url = \"{url}{path}\", sha256 = \"{digest}\" }}\n");
        let text = DESCRIPTION.replace("[kernel]\n", &format!("[kernel]\n{image}"));
        let files: [(&str, &[u8]); 3] = [
            ("gateway.toml", text.as_bytes()),
            ("agent.cpio.zst", INITRAMFS),
            ("secrets", SECRETS),
        ];
        let folder = state.folder(path.trim_start_matches('/'), &files);
        images(&folder);
        folder
    };
    let page = with("/page", b"<html>sign in</html>");
    let error = state.fails(&["publish", "lab-1", str(&page)]);
    assert!(error.contains("FG047"), "{error}");
    let other = with("/other", &kernel());
    assert!(state.fails(&["publish", "lab-1", str(&other)]).contains("its SHA-256 is"));
    let right = with("/vmlinuz", &kernel());
    let before = asked.load(std::sync::atomic::Ordering::SeqCst);
    state.ok(&["check", str(&right)]);
    state.ok(&["publish", "lab-1", str(&right)]);
    state.ok(&["publish", "lab-1", str(&right)]);
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), before + 1, "fetched once");
    let server = TestServer::start(&state);
    assert_eq!(server.get(&state, "/g/1/vmlinuz").body, kernel());
}

/// The example is what docs/gateway-toml.md speaks of.
#[test]
fn the_example_is_right() {
    let state = TestState::quick();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/gateway");
    let checked = state.ok(&["check", str(&example)]);
    assert!(checked.contains("nothing found"), "{checked}");
    assert!(state.ok(&["render", str(&example)]).contains("\"encrypt\": \"fscrypt\""));
}

/// Every key of the page is one, and every key is in the page.
#[test]
fn the_page_has_every_key() {
    let read =
        |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let (page, source) = (read("docs/gateway-toml.md"), read("src/profile/description/raw.rs"));
    let keys: Vec<String> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub(super) ")?.split_once(": "))
        .map(|(key, _)| key.replace('_', "-"))
        .filter(|key| !key.contains(' '))
        .collect();
    assert!(keys.len() > 35, "{keys:?}");
    for key in &keys {
        let named = [
            format!("`{key}`"),
            format!("[{key}]"),
            format!("[[{key}]]"),
            format!("{key} }}"),
            format!("{{ {key},"),
            format!("[{key}."),
        ];
        assert!(named.iter().any(|name| page.contains(name)), "docs/gateway-toml.md lacks {key}");
    }
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .take_while(|row| !row.starts_with("FARMGATE"));
    for row in rows {
        let cell = row.split(" | ").next().unwrap();
        for key in cell
            .split('`')
            .step_by(2)
            .filter(|key| key.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
        {
            assert!(
                key.is_empty() || key == "secrets" || keys.iter().any(|other| other == key),
                "no key {key}"
            );
        }
    }
}
