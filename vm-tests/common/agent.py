"""A gateway that begins with its kernel, and a boot host that says and notes what a test wants.

Whether firmware, iPXE and farmgate bring the agent to run is tested by runs_a_container.py. Here it
is about what the agent does on bad days, and many of them fit into the time of one whole boot.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import http.server
import io
import json
import ssl
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from typing import Protocol
from typing import Self
from typing import cast

from .certificates import openssl
from .machine import Monitor
from .process import Failure
from .process import Process
from .process import Word
from .process import pause
from .qemu import BOOT_HOST
from .qemu import accelerator
from .qemu import turn
from .scenario import Scenario

TOKEN = "boot-token-of-the-test"  # noqa: S105 (it is made up here)
REPOSITORY = "registry.test/farm/gateway"
REFERENCE = f"{REPOSITORY}:v1"
LABEL = "FARMGATE_CACHE"

# {path in the image: (mode, bytes)}
Files = dict[str, tuple[int, bytes]]


class Image:
    """A container image of one layer per `files`."""

    def __init__(self, *layers: Files, command: list[str], environment: list[str] | None = None):
        self.blobs: dict[str, bytes] = {}
        packed = [layer(files) for files in layers]
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": command, "Env": environment or []},
            "rootfs": {"type": "layers", "diff_ids": [digest(plain) for plain in packed]},
        }
        layers_json = [self._add(gzip.compress(plain, 1, mtime=0), "layer") for plain in packed]
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self._add(json.dumps(config).encode(), "config"),
            "layers": layers_json,
        }
        data = json.dumps(manifest).encode()
        self.digest = digest(data)
        self.blobs[self.digest] = data

    def _add(self, data: bytes, kind: str) -> dict[str, Any]:
        types = {"layer": "layer.v1.tar+gzip", "config": "config.v1+json"}
        name = digest(data)
        self.blobs[name] = data
        media = f"application/vnd.oci.image.{types[kind]}"
        return {"mediaType": media, "digest": name, "size": len(data)}


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def layer(files: Files) -> bytes:
    """A tar archive of these files, the same each time."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, (mode, data) in sorted(files.items()):
            member = tarfile.TarInfo(path)
            member.mode, member.size = mode, len(data)
            archive.addfile(member, io.BytesIO(data))
    return plain.getvalue()


def shell(busybox: Path, script: str) -> Image:
    """An image that runs a script with busybox."""
    files = {
        "bin/busybox": (0o755, busybox.read_bytes()),
        "bin/sh": (0o755, busybox.read_bytes()),
    }
    return Image(files, {"script": (0o755, script.encode())}, command=["/bin/sh", "/script"])


# --- The boot host ---


class FakeHost:
    """What a boot sees of a boot host. Entered with `with`."""

    def __init__(self, where: Path, *images: Image) -> None:
        self.where = where
        self.blobs = {name: data for image in images for name, data in image.blobs.items()}
        self.reports: list[dict[str, Any]] = []
        self.acknowledged = 0
        self._server: http.server.ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        certificate, key = self._certificate()
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        self.port = server.server_address[1]
        self._server = server
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()

    def _certificate(self) -> tuple[Path, Path]:
        """Its certificate and key, and the CA that the boot trusts in `ca`."""
        self.where.mkdir(parents=True, exist_ok=True)
        authority: list[Word] = ["-keyout", self.where / "ca.key", "-out", self.where / "ca.crt"]
        certificate, key = self.where / "host.crt", self.where / "host.key"
        own: list[Word] = ["-CA", self.where / "ca.crt", "-CAkey", self.where / "ca.key"]
        own += ["-addext", f"subjectAltName=IP:{BOOT_HOST}"]
        own += ["-addext", "basicConstraints=critical,CA:false"]
        own += ["-keyout", key, "-out", certificate]
        make = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30")
        for subject, words in (("/CN=CA", authority), ("/CN=host", own)):
            openssl(*make, "-subj", subject, *words)
        self.ca = ssl.PEM_cert_to_DER_cert((self.where / "ca.crt").read_text())
        return certificate, key

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        host = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                known = self.headers["Authorization"] == f"Bearer {TOKEN}"
                if self.path.startswith(f"/v2/{REPOSITORY}/") and not known:
                    self.answer(401)
                elif self.path.startswith(f"/v2/{REPOSITORY}/") and name in host.blobs:
                    self.answer(200, host.blobs[name])
                else:
                    self.answer(404)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                if self.path == f"/boot/ack/{TOKEN}":
                    host.acknowledged += 1
                elif self.path == f"/boot/report/{TOKEN}":
                    host.reports.append(json.loads(body))
                else:
                    self.answer(404)
                    return
                self.answer(200)

            def answer(self, status: int, body: bytes = b"") -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def steps(self, name: str) -> list[dict[str, Any]]:
        """The reports of this step."""
        return [report for report in list(self.reports) if report["step"] == name]

    def wait_for(self, name: str, timeout: float = 120, count: int = 1) -> dict[str, Any]:
        """The report of this step, or the one with this number among several."""
        deadline = time.monotonic() + timeout
        while len(found := self.steps(name)) < count:
            if time.monotonic() > deadline:
                said = [report["step"] for report in self.reports]
                raise Failure(f"no report {name} within {timeout:.0f} s, but {said}")
            pause(0.1)
        return found[count - 1]

    def wait_until_acknowledged(self, timeout: float = 120) -> None:
        deadline = time.monotonic() + timeout
        while not self.acknowledged:
            if time.monotonic() > deadline:
                raise Failure(f"not acknowledged within {timeout:.0f} s: {self.reports}")
            pause(0.1)

    def secrets(self) -> str:
        return (
            f"FARMGATE_URL=https://{BOOT_HOST}:{self.port}\n"
            f"FARMGATE_CA={base64.b64encode(self.ca).decode()}\n"
            f"FARMGATE_TOKEN={TOKEN}\n"
            "FARMGATE_GATEWAY=lab-1\npassword=correct-horse\n"
        )


# --- The gateway ---


class Tools(Protocol):
    """Where the files are that gateways begin with."""

    kernel: Path
    busybox: Path
    agent: Path
    modules: Path

    def bring(self, files: dict[str, bytes]) -> bytes:
        """The archive of files that iPXE would put into the initramfs."""


def tools_of(t: Scenario) -> Tools:
    return cast(Tools, t.tools)


def profile(image: Image, **changes: Any) -> dict[str, Any]:
    """A profile with one container; `cache` and `container` are changed by tables of their own."""
    cache = {"label": LABEL, "format": "if-blank", "swap": 0, "missing": "run-in-memory"}
    container = {
        "name": "farm",
        "image": {"reference": REFERENCE, "digest": image.digest, "held": True},
        "network": "host",
        "restart": "always",
    }
    cache.update(changes.pop("cache", {}))
    container.update(changes.pop("container", {}))
    return {"format": 1, "cache": cache, "containers": [container], **changes}


class Gateway:
    """One power-on with this profile. A context manager.

    `disk` is the file of its drive; `clock` is what its clock chip says.
    """

    def __init__(
        self,
        tools: Tools,
        host: FakeHost,
        profile: dict[str, Any],
        log: Path,
        disk: Path | None = None,
        clock: str | None = None,
        disk_options: str = "",
    ) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="farmgate-agent-")
        self._where = Path(self._scratch.name)
        self._log = log
        self._disk, self._disk_options, self._clock = disk, disk_options, clock
        self._kernel = tools.kernel
        self._initrd = self._where / "initrd"
        brought = tools.bring(
            {
                "farmgate/agent.json": json.dumps(profile).encode(),
                "farmgate/secrets": host.secrets().encode(),
            }
        )
        parts = [tools.agent.read_bytes(), tools.modules.read_bytes(), brought]
        self._initrd.write_bytes(b"".join(part + b"\0" * (-len(part) % 4) for part in parts))

    def __enter__(self) -> Self:
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(self._scratch)
        self._stack.enter_context(turn())
        process = Process("QEMU", self._arguments(), self._log, nice=5)
        self.process = self._stack.enter_context(process)
        self.console = process.log
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _arguments(self) -> list[str]:
        kind = accelerator()[0]
        cpu = "host" if kind == "kvm" else "max"
        line = "console=ttyS0 panic=30"
        arguments = [
            *("qemu-system-x86_64", "-machine", f"pc,accel={kind}", "-cpu", cpu, "-m", "640"),
            *("-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"),
            *("-kernel", str(self._kernel), "-initrd", str(self._initrd), "-append", line),
            *("-netdev", "user,id=lan", "-device", "virtio-net-pci,netdev=lan,romfile="),
            *("-device", "virtio-rng-pci"),
            *("-chardev", f"socket,id=monitor,path={self._where}/qmp,server=on,wait=off"),
            *("-mon", "chardev=monitor,mode=control"),
        ]
        if self._disk:
            drive = f"if=none,id=disk,format=raw,file={self._disk}{self._disk_options}"
            arguments += ["-drive", drive, "-device", "virtio-blk-pci,drive=disk,id=disk"]
        if self._clock:
            arguments += ["-rtc", f"base={self._clock}"]
        return arguments

    def monitor(self, command: str, **arguments: object) -> None:
        """Tells QEMU to do something."""
        monitor = Monitor(self._where / "qmp", self.process)
        try:
            monitor.ask(command, **arguments)
        finally:
            monitor.close()

    def wait_for(self, pattern: str, timeout: float = 120) -> None:
        self.console.wait_for(pattern, timeout, process=self.process)

    def wait_until_it_restarts(self, timeout: float = 120) -> None:
        """Waits for the restart, which here ends QEMU."""
        self.process.wait(timeout)


@contextlib.contextmanager
def drive(where: Path, label: str | None = LABEL, size: str = "400M") -> Iterator[Path]:
    """A file with a file system of this label, or a blank one."""
    path = where / f"drive-{time.monotonic_ns()}"
    subprocess.run(["truncate", "-s", size, str(path)], check=True)
    if label:
        make = ["/usr/sbin/mkfs.ext4", "-q", "-F", "-O", "encrypt", "-L", label, str(path)]
        subprocess.run(make, check=True)
    try:
        yield path
    finally:
        path.unlink()
