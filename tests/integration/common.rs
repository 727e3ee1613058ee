//! A state directory, a running server, and a client that sends just the bytes
//! it is told to.

use std::ffi::OsString;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::RootCertStore;
use rustls::StreamOwned;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;
use rustls::sign::SingleCertAndKey;
use tempfile::TempDir;

/// Longest wait for anything; only ever reached by a test that fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const BIN: &str = env!("CARGO_BIN_EXE_farmgate");

/// What farmgate takes for a Linux kernel: a setup header, and as many bytes as it says.
pub(crate) fn kernel() -> Vec<u8> {
    let mut kernel = vec![0; 2048];
    kernel[0x1f1] = 1;
    kernel[0x1f4] = 64;
    kernel[0x1fe..0x200].copy_from_slice(b"\x55\xaa");
    kernel[0x202..0x208].copy_from_slice(b"HdrS\x0f\x02");
    kernel
}

/// A state directory that is gone with the test.
pub(crate) struct TestState {
    dir: TempDir,
    /// The environment of every program that runs on it, besides our own.
    pub(crate) env: Vec<(OsString, OsString)>,
}

impl TestState {
    /// `farmgate init` and nothing more.
    pub(crate) fn new() -> Self {
        Self::with_init(&[])
    }

    pub(crate) fn with_init(args: &[&str]) -> Self {
        Self::prepared_with(args, |_| {})
    }

    fn empty() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), env: Vec::new() }
    }

    /// The same in a directory that `prepare` has made.
    pub(crate) fn prepared_with(args: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        let state = Self::empty();
        prepare(&state.dir());
        let mut all = vec!["init", "--url", "https://127.0.0.1:8443", "--ntp", "none"];
        all.extend(args);
        state.ok(&all);
        state
    }

    /// The same with one gateway, `lab-1`.
    pub(crate) fn with_gateway() -> Self {
        let state = Self::new();
        state.ok(&["gateway", "add", "lab-1"]);
        state
    }

    /// The same with keys that are made in no time, for tests that are not about them.
    pub(crate) fn quick() -> Self {
        let state = Self::with_init(&["--key-type", "p256"]);
        state.ok(&["gateway", "add", "lab-1"]);
        state
    }

    /// The state that is in `dir/state` already.
    pub(crate) fn at(dir: TempDir) -> Self {
        Self { dir, env: Vec::new() }
    }

    /// Another boot host of the same fleet.
    pub(crate) fn new_host(&self) -> Self {
        let host = Self::empty();
        self.ok(&["store", "new-host", host.dir().to_str().unwrap()]);
        host
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// A folder beside the state.
    pub(crate) fn folder(&self, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let folder = self.dir.path().join(name);
        for (path, content) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        Command::new(BIN)
            .env_remove("FARMGATE_STATE")
            .envs(self.env.iter().cloned())
            .arg("--state")
            .arg(self.dir())
            .args(args)
            .output()
            .unwrap()
    }

    /// Runs a command that must succeed, and returns what it printed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "farmgate {args:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail with one clear line, and returns the line.
    #[track_caller]
    pub(crate) fn fails(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "farmgate {args:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "not one line: {stderr}");
        stderr
    }

    /// The same for a configuration that cannot be read, whose error has several lines.
    #[track_caller]
    pub(crate) fn fails_at_length(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "farmgate {args:?}: {stderr}");
        assert!(
            stderr.starts_with("farmgate: cannot use ") && stderr.contains("TOML parse error"),
            "{stderr}"
        );
        stderr
    }

    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        let mut all = vec!["--json"];
        all.extend(args);
        serde_json::from_str(&self.ok(&all)).unwrap()
    }

    /// Publishes a script and a kernel of `size` bytes; returns the kernel.
    pub(crate) fn publish(&self, gateway: &str, size: usize) -> Vec<u8> {
        let kernel: Vec<u8> = (0..size).map(|i| (i / 7 % 251) as u8).collect();
        let files = [("boot.ipxe", &b"#!ipxe\nboot\n"[..]), ("vmlinuz", &kernel)];
        let folder = self.folder("published", &files);
        self.ok(&["publish", "--force", gateway, folder.to_str().unwrap()]);
        kernel
    }

    /// Certificate and key (PEM files) of a gateway's active certificate.
    pub(crate) fn credentials(&self, gateway: &str) -> (PathBuf, PathBuf) {
        let shown = self.json(&["gateway", "show", gateway]);
        let certificates = shown["certificates"].as_array().unwrap();
        let fingerprint = certificates.last().unwrap()["fingerprint"].as_str().unwrap();
        let home = self.dir().join("gateways").join(gateway);
        (home.join(format!("{fingerprint}.crt")), home.join(format!("{fingerprint}.key")))
    }

    /// Asks the admin listener `admin.sock` of a server.
    #[track_caller]
    pub(crate) fn admin(&self, path: &str) -> Reply {
        let stream = UnixStream::connect(self.dir().join("admin.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        request(stream, "GET", path, "").unwrap()
    }

    /// Writes `extra` to the configuration's `[listen]` table.
    pub(crate) fn set_listen(&self, extra: &str) {
        let path = self.dir().join("farmgate.toml");
        let text = fs::read_to_string(&path).unwrap();
        let (before, _) = text.split_once("[listen]").unwrap();
        fs::write(&path, format!("{before}[listen]\n{extra}\n")).unwrap();
    }
}

/// A running `farmgate serve`, ended when dropped.
pub(crate) struct TestServer {
    child: Child,
    pub(crate) tls_port: u16,
    pub(crate) unix: PathBuf,
    log: std::sync::Mutex<std::sync::mpsc::Receiver<String>>,
}

impl TestServer {
    /// Opens both doors: TLS on a free port, and a Unix socket in the state.
    pub(crate) fn start(state: &TestState) -> Self {
        Self::start_with(state, &[])
    }

    pub(crate) fn start_with(state: &TestState, args: &[&str]) -> Self {
        Self::start_in(state, args, &[])
    }

    /// The same with more environment variables.
    pub(crate) fn start_in(state: &TestState, args: &[&str], env: &[(&str, &Path)]) -> Self {
        let unix = state.dir().join("http.sock");
        let mut command = Command::new(BIN);
        command.arg("--state").arg(state.dir()).args(["serve", "--tls", "127.0.0.1:0", "--unix"]);
        command.arg(&unix).args(args);
        command.envs(state.env.iter().cloned()).envs(env.iter().copied());
        let mut server = Self::spawn(command, unix);
        let line = server.wait_for_log("listening: mutual TLS");
        // More may follow in a log that programs read.
        let (_, port) = line.rsplit_once("127.0.0.1:").unwrap();
        let digits = port.find(|other: char| !other.is_ascii_digit()).unwrap_or(port.len());
        server.tls_port = port[..digits].parse().unwrap();
        server.wait_for_log("listening: Unix socket");
        server
    }

    /// Whatever it takes to serve. `unix` is where nginx would ask.
    pub(crate) fn spawn(mut command: Command, unix: PathBuf) -> Self {
        let spawned = command.env_remove("FARMGATE_LOG").stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, log) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, tls_port: 0, unix, log: log.into() }
    }

    /// The next log line that holds `text`.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = String::new();
        let log = self.log.lock().unwrap();
        while let Ok(line) = log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if line.contains(text) {
                return line;
            }
            seen += &line;
            seen.push('\n');
        }
        panic!("the log never said {text:?}, only:\n{seen}");
    }

    /// What the log says since somebody last looked.
    pub(crate) fn log_so_far(&self) -> String {
        self.log.lock().unwrap().try_iter().map(|line| line + "\n").collect()
    }

    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    pub(crate) fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the server did not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Opens a TLS connection, with a client certificate or without.
    pub(crate) fn tls(
        &self,
        state: &TestState,
        credentials: Option<(PathBuf, PathBuf)>,
    ) -> StreamOwned<ClientConnection, TcpStream> {
        self.try_tls(state, credentials).unwrap()
    }

    /// `None` if nobody listens.
    pub(crate) fn try_tls(
        &self,
        state: &TestState,
        credentials: Option<(PathBuf, PathBuf)>,
    ) -> Option<StreamOwned<ClientConnection, TcpStream>> {
        tls_to(state, self.tls_port, "127.0.0.1", credentials)
    }

    /// Asks through own TLS as any gateway.
    #[track_caller]
    pub(crate) fn get_as(&self, state: &TestState, gateway: &str, path: &str) -> Reply {
        let stream = self.tls(state, Some(state.credentials(gateway)));
        request(stream, "GET", path, "").unwrap()
    }

    /// Asks through own TLS as the gateway `lab-1`.
    #[track_caller]
    pub(crate) fn get(&self, state: &TestState, path: &str) -> Reply {
        self.get_with(state, path, "")
    }

    #[track_caller]
    pub(crate) fn get_with(&self, state: &TestState, path: &str, headers: &str) -> Reply {
        let stream = self.tls(state, Some(state.credentials("lab-1")));
        request(stream, "GET", path, headers).unwrap()
    }

    /// Asks through the Unix socket, with the headers that nginx would set.
    #[track_caller]
    pub(crate) fn get_unix(&self, path: &str, headers: &str) -> Reply {
        let stream = UnixStream::connect(&self.unix).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        request(stream, "GET", path, headers).unwrap()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file system of its own, for as long as this lives.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where that is not allowed: it is said so, past the capture of the test harness.
    pub(crate) fn mount(at: &Path, options: &str, what: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at);
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Self(at.to_owned()));
        }
        let mut stderr = std::io::stderr().lock();
        let _ = writeln!(stderr, "NOT TESTED: {what}: only root can mount a tmpfs");
        None
    }

    /// Leaves no byte of room.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = fs::File::options().create(true).append(true).open(&path).unwrap();
        for size in [64 * 1024, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Also where a server that a failed test left is still in there.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// A TLS connection to whoever has that name at a port of this host.
pub(crate) fn tls_to(
    state: &TestState,
    port: u16,
    name: &str,
    credentials: Option<(PathBuf, PathBuf)>,
) -> Option<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(state.dir().join("pki/ca.crt")).unwrap();
    roots.add(ca).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        // What iPXE speaks.
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots);
    let config = match credentials {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
            let key = PrivateKeyDer::from_pem_file(key).unwrap();
            // As it is: also one that rustls would not read, or another's key.
            let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
            let credentials = SingleCertAndKey::from(CertifiedKey::new(chain, key));
            builder.with_client_cert_resolver(Arc::new(credentials))
        }
    };
    let connection =
        ClientConnection::new(Arc::new(config), name.to_owned().try_into().unwrap()).unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Some(StreamOwned::new(connection, stream))
}

/// A program that `scripts/install-packages test` makes available. Where it is not, the test
/// is skipped, except in CI, where it fails.
pub(crate) fn tool(variable: &str, in_cache: &str) -> Option<PathBuf> {
    let cache = || {
        let cache = std::env::var_os("FARMGATE_CACHE").map(PathBuf::from);
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/farmgate"));
        Some(cache.or_else(home)?.join(in_cache))
    };
    let path = std::env::var_os(variable).map(PathBuf::from).or_else(cache);
    if let Some(path) = path.filter(|path| path.exists()) {
        return Some(path);
    }
    skip("a test of object stores", &format!("{variable} is not set"));
    None
}

/// Says that something is not tested here. In CI, that fails.
pub(crate) fn skip(what: &str, why: &str) {
    let why = format!("{why}: run scripts/install-packages test");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "cannot be skipped in CI: {why}");
    // Past the capture of the test harness, so that whoever runs the tests sees it.
    let _ = writeln!(std::io::stderr().lock(), "skipped: {what}, because {why}");
}

/// A program that is installed.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let dirs = std::env::var_os("PATH")?;
    std::env::split_paths(&dirs).map(|dir| dir.join(program)).find(|path| path.exists())
}

/// A port that nobody has, and that nobody gets by asking for any: those are above 32768
/// (`ip_local_port_range`). A port that was free a moment ago may be another test's by now.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Other runs of the tests begin elsewhere.
    let base = 15_000 + (std::process::id() % 160) as u16 * 100;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed) % 1600;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The value of the line `set NAME VALUE ||` in a boot script.
pub(crate) fn setting(script: &str, name: &str) -> Option<String> {
    let prefix = format!("set {name} ");
    let value = script.lines().find_map(|line| line.strip_prefix(&*prefix))?;
    Some(value.trim_end_matches(" ||").to_owned())
}

/// The same for an address, which must be one of the boot host: its path.
pub(crate) fn setting_path(script: &str, name: &str) -> Option<String> {
    let url = setting(script, name)?;
    Some(url.strip_prefix("https://127.0.0.1:8443").expect("another host").to_owned())
}

/// Reads the configuration, or the like, and writes it as `edit` leaves it.
pub(crate) fn edit(path: &Path, edit: impl FnOnce(String) -> String) {
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, edit(text)).unwrap();
}

/// Writes a file that nobody else may read, anew if it is there.
pub(crate) fn write_private(path: &Path, text: &str) {
    let _ = fs::remove_file(path);
    let file = fs::File::options().write(true).create_new(true).mode(0o600).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

/// What nginx says of the client certificate in the file `certificate`.
pub(crate) fn nginx_headers(certificate: &Path) -> String {
    let pem = fs::read_to_string(certificate).unwrap();
    let escaped = percent_encoding::utf8_percent_encode(&pem, percent_encoding::NON_ALPHANUMERIC);
    format!("X-SSL-Client-Verify: SUCCESS\r\nX-SSL-Client-Cert: {escaped}\r\n")
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// Sends one request, whose path and headers go out as they are.
pub(crate) fn request(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    headers: &str,
) -> std::io::Result<Reply> {
    // A server may refuse, and close, before it has read everything.
    let sent = send(&mut stream, method, path, headers);
    receive(stream).map_err(|error| sent.err().unwrap_or(error))
}

/// The same without waiting for the answer.
pub(crate) fn send(
    mut stream: impl Write,
    method: &str,
    path: &str,
    headers: &str,
) -> std::io::Result<()> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes())
}

/// The answer to it.
pub(crate) fn receive(mut stream: impl Read) -> std::io::Result<Reply> {
    let mut raw = Vec::new();
    match stream.read_to_end(&mut raw) {
        Err(error) if raw.is_empty() => return Err(error),
        Ok(_) | Err(_) => {}
    }
    let end =
        raw.windows(4).position(|w| w == b"\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let head = String::from_utf8_lossy(&raw[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Ok(Reply { status, headers, body: raw[end + 4..].to_vec() })
}
