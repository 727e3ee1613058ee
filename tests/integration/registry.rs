//! A real registry, and images for it.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::time::Duration;
use std::time::Instant;

use serde_json::json;
use sha2::Digest;
use sha2::Sha256;
use tempfile::TempDir;

use crate::common::PATIENCE;
use crate::common::TestState;
use crate::common::free_port;
use crate::common::installed;
use crate::common::skip;
use crate::common::tool;

pub(crate) const USER: &str = "farm:unmistakable-password";

/// The same for the registry, by bcrypt.
const HTPASSWD: &str = "farm:$2y$05$ca99MjWuZ04WUUrlPlwpYeTvQ2udzbY4bfvMGSJ148NXJm9i1DM..\n";

/// Debian's docker-registry, with TLS of a private CA and a password. Gone when dropped.
pub(crate) struct Registry {
    process: Option<Child>,
    /// Its CA and certificate are those of a fleet.
    pki: TestState,
    dir: TempDir,
    port: u16,
}

impl Registry {
    /// `None` if there is no registry here.
    pub(crate) fn start() -> Option<Self> {
        let program = tool("FARMGATE_REGISTRY", "bookworm/docker-registry/usr/bin/docker-registry");
        let program = program.or_else(|| installed("docker-registry"))?;
        if installed("skopeo").is_none() {
            skip("images of a registry", "there is no skopeo");
            return None;
        }
        let (pki, dir) =
            (TestState::with_init(&["--key-type", "p256"]), tempfile::tempdir().unwrap());
        let mut registry = Self { process: None, pki, dir, port: free_port() };
        fs::write(registry.dir.path().join("htpasswd"), HTPASSWD).unwrap();
        let (home, port) = (registry.dir.path().display(), registry.port);
        let keys = registry.pki.dir().join("pki");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {home}/data}}}}\n\
             http: {{addr: '127.0.0.1:{port}', secret: x, tls: {{certificate: {keys}/server.crt, key: {keys}/server.key}}}}\n\
             auth: {{htpasswd: {{realm: farm, path: {home}/htpasswd}}}}\n",
            keys = keys.display()
        );
        fs::write(registry.dir.path().join("config.yml"), config).unwrap();
        let log = fs::File::create(registry.dir.path().join("log")).unwrap();
        let mut command = Command::new(program);
        command.arg("serve").arg(registry.dir.path().join("config.yml"));
        command.stdout(log.try_clone().unwrap()).stderr(log);
        registry.process = Some(command.spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || fs::read_to_string(registry.dir.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "docker-registry does not start: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(registry)
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The certificate of its CA.
    pub(crate) fn ca(&self) -> PathBuf {
        self.pki.dir().join("pki/ca.crt")
    }

    /// Pushes an image with these layers; returns its reference.
    pub(crate) fn push(&self, name: &str, architecture: &str, layers: &[&[u8]]) -> String {
        let layout = self.dir.path().join("layout");
        let _ = fs::remove_dir_all(&layout);
        write_layout(&layout, architecture, layers);
        let reference = format!("{}/{name}", self.host());
        let from = format!("oci:{}:image", layout.display());
        let output = skopeo(
            &self.ca(),
            &["copy", "--dest-creds", USER, &from, &format!("docker://{reference}")],
        );
        assert!(output.status.success(), "{output:?}");
        reference
    }

    /// Stops it for the rest of the test.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs skopeo, which trusts this CA.
pub(crate) fn skopeo(ca: &Path, args: &[&str]) -> Output {
    let certificates = tempfile::tempdir().unwrap();
    fs::copy(ca, certificates.path().join("ca.crt")).unwrap();
    let mut command = Command::new("skopeo");
    command.arg("--insecure-policy").arg("--tmpdir").arg(certificates.path()).args(args);
    // Which side it is decides what the option is called.
    let sides: &[&str] = match args[0] {
        "copy" => &["--src-cert-dir", "--dest-cert-dir"],
        _ => &["--cert-dir"],
    };
    for side in sides {
        command.arg(side).arg(certificates.path());
    }
    // Nobody's saved passwords.
    command.env("REGISTRY_AUTH_FILE", certificates.path().join("auth.json"));
    command.output().unwrap()
}

/// A layer: a tar file with one file.
pub(crate) fn layer(seed: u8, size: usize) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    // Nothing that can be packed: sizes are compared.
    let mut state = u64::from(seed) + 1;
    let content: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(size)
    .collect();
    let mut header = tar::Header::new_ustar();
    header.set_size(size as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, format!("file-{seed}"), &content[..]).unwrap();
    tar.into_inner().unwrap()
}

/// Writes an image layout with one image, `image`.
pub(crate) fn write_layout(dir: &Path, architecture: &str, layers: &[&[u8]]) {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let blob = |media_type: &str, bytes: &[u8]| {
        let digest = hex::encode(Sha256::digest(bytes));
        fs::write(blobs.join(&digest), bytes).unwrap();
        json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len()})
    };
    let diffs: Vec<_> = layers
        .iter()
        .map(|layer| format!("sha256:{}", hex::encode(Sha256::digest(layer))))
        .collect();
    let config = json!({
        "architecture": architecture, "os": "linux", "config": {"Cmd": ["/bin/true"]},
        "rootfs": {"type": "layers", "diff_ids": diffs},
    });
    let config = blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let layers: Vec<_> =
        layers.iter().map(|layer| blob("application/vnd.oci.image.layer.v1.tar", layer)).collect();
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let image =
        json!({"schemaVersion": 2, "mediaType": manifest, "config": config, "layers": layers});
    let mut found = blob(manifest, image.to_string().as_bytes());
    found["annotations"] = json!({"org.opencontainers.image.ref.name": "image"});
    let index = json!({"schemaVersion": 2, "manifests": [found]});
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}
