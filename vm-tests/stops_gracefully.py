"""A server that is told to stop finishes its running downloads and then ends."""

import hashlib
import subprocess
from pathlib import Path

from common.host import BootHost
from common.host import Identity
from common.process import Failure
from common.process import Word
from common.process import pause
from common.scenario import Scenario

# Slow enough to be running when the server is told to stop, and to need some seconds more.
RATE, BYTES = 1_000_000, 6_000_000


def scenario(t: Scenario) -> None:
    for door in ("own", "nginx"):
        through = "through nginx" if door == "nginx" else "through own TLS"
        with t.boot_host(name=door) as host:
            host.farmgate("gateway", "add", "lab-1")
            identity = host.identity("lab-1")
            host.publish("lab-1")
            with host.serving(door):
                with t.subtest(f"a download runs {through}"):
                    output = host.scratch / "part"
                    download = start(host, identity, output)
                    size = wait_for_bytes(output, download)

                with t.subtest(f"it is finished {through} after SIGTERM"):
                    host.server.terminate()
                    pause(0.5)
                    assert download.poll() is None and size < BYTES, "it was too fast to prove it"
                    status = download.wait(60)
                    assert status == 0, f"curl exits {status}: {said(download)}"
                    whole = (t.tools.generation / "vmlinuz").read_bytes()[1000 : 1000 + BYTES]
                    assert digest(output.read_bytes()) == digest(whole), "the bytes are wrong"

                with t.subtest(f"the server then ends with status 0 ({through})"):
                    status = host.server.wait(15)
                    assert status == 0, f"status {status}:\n{host.log.tail()}"


def start(host: BootHost, identity: Identity, output: Path) -> subprocess.Popen[bytes]:
    certificate, key = identity
    authority, _ = host.authority
    command: list[Word] = ["curl", "--silent", "--show-error", "--fail", "--max-time", "90"]
    command += ["--noproxy", "*"]
    command += ["--cacert", authority, "--cert", certificate, "--key", key]
    command += ["--limit-rate", str(RATE), "--range", f"1000-{1000 + BYTES - 1}"]
    command += ["--output", output, f"https://127.0.0.1:{host.port}/g/1/vmlinuz"]
    return subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE)


def wait_for_bytes(path: Path, download: subprocess.Popen[bytes]) -> int:
    for _ in range(200):
        if path.exists() and path.stat().st_size:
            return path.stat().st_size
        if download.poll() is not None:
            break
        pause(0.05)
    raise Failure(f"the download does not start: {said(download)}")


def said(download: subprocess.Popen[bytes]) -> str:
    assert download.stderr is not None
    return download.stderr.read().decode()


def digest(data: bytes) -> tuple[int, str]:
    return len(data), hashlib.sha256(data).hexdigest()
