//! ssh: Debian's sshd on the loopback, with a host key and a user's key of its own.

use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Instant;

use super::Forge;
use super::Here;
use crate::common::PATIENCE;
use crate::common::free_port;
use crate::common::installed;
use crate::common::skip;

/// A running sshd that lets this test's key in, to read repositories.
struct SshServer {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl SshServer {
    /// `None` where there is no sshd, or it may not run.
    fn start() -> Option<Self> {
        let given = std::env::var_os("FARMGATE_SSHD").map(PathBuf::from);
        let sshd = given
            .or_else(|| installed("sshd"))
            .or_else(|| Some(PathBuf::from("/usr/sbin/sshd")).filter(|path| path.exists()));
        let Some(sshd) = sshd else {
            skip("git by ssh", "sshd is missing");
            return None;
        };
        if rustix::process::geteuid().is_root() {
            // Its package makes it, and the next start of the system.
            let _ = std::fs::create_dir("/run/sshd");
        }
        let dir = tempfile::tempdir().unwrap();
        for name in ["host", "user", "stranger"] {
            let mut make = Command::new("ssh-keygen");
            make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.path().join(name));
            assert!(make.status().unwrap().success());
        }
        let port = free_port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {dir}/host\nPidFile none\n\
             AuthorizedKeysFile {dir}/user.pub\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
             LogLevel DEBUG\nPermitUserEnvironment no\n",
            dir = dir.path().display(),
        );
        std::fs::write(dir.path().join("config"), config).unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let mut command = Command::new(sshd);
        command.args(["-D", "-e", "-f"]).arg(dir.path().join("config"));
        let child = command.stdin(Stdio::null()).stderr(log).spawn().unwrap();
        let mut server = Self { child, port, dir };
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = std::fs::read_to_string(server.dir.path().join("log")).unwrap();
            assert!(Instant::now() < until, "sshd does not listen: {log}");
            if server.child.try_wait().unwrap().is_some() {
                skip("git by ssh", &format!("sshd does not run here: {}", log.trim()));
                return None;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Some(server)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn known_hosts(&self, key: &str) -> String {
        let key = std::fs::read_to_string(self.file(key)).unwrap();
        format!("[127.0.0.1]:{} {key}", self.port)
    }

    fn remote(&self, repository: &Path) -> String {
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        let user = String::from_utf8(user).unwrap();
        format!("ssh://{}@127.0.0.1:{}{}", user.trim(), self.port, repository.display())
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_deploy_key_and_a_known_host_are_all_it_takes() {
    let Some(server) = SshServer::start() else { return };
    let forge = Forge::new();
    forge.write("fleet.toml", b"x");
    let id = forge.push("first");
    let mut here = Here::new(&server.remote(&forge.bare()));

    let error = here.fails();
    assert!(error.contains("host is not known") && error.contains("ssh-keyscan"), "{error}");
    let known = here.secret("known hosts", &server.known_hosts("host.pub"));
    here.config.known_hosts = Some(known.clone());
    let error = here.fails();
    assert!(error.contains("does not take the key"), "{error}");
    here.config.ssh_key = Some(server.file("stranger"));
    assert!(here.fails().contains("does not take the key"));
    here.config.ssh_key = Some(server.file("user"));
    let came = here.bring();
    let log = || std::fs::read_to_string(server.file("log")).unwrap();
    let came = came.unwrap_or_else(|error| panic!("{error:#}: {}", log()));
    assert_eq!(came.commit.id, id);

    // Somebody else answers at that address.
    std::fs::write(&known, server.known_hosts("stranger.pub")).unwrap();
    let error = here.fails();
    assert!(error.contains("host"), "{error}");
    // Without a file in the configuration, the one in the state counts.
    std::fs::write(&known, server.known_hosts("host.pub")).unwrap();
    std::fs::rename(&known, here.dir().join("known_hosts")).unwrap();
    here.config.known_hosts = None;
    assert_eq!(here.bring().unwrap().commit.id, id);
    here.config.ssh_key = Some(server.file("no-such-key"));
    assert!(here.fails().contains("no-such-key"));
}
