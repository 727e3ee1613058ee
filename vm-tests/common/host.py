"""The boot host: the real `farmgate serve` on the loopback, alone or behind a real nginx."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Protocol
from typing import Self

from .process import Failure
from .process import Log
from .process import Process
from .process import Word
from .process import pause
from .qemu import BOOT_HOST

if TYPE_CHECKING:
    from .network import Network

# The files with a certificate and its key.
Identity = tuple[Path, Path]

# Relative names are inside nginx's prefix. The log has one line per request, with what tells who sent
# the bytes: farmgate answers an asset with an address and no body, and nginx sends the file.
_NGINX = """\
daemon off;
worker_processes 1;
pid nginx.pid;
error_log {errors} info;
{user}
events {{ worker_connections 256; }}
http {{
    log_format evidence '$status $request_method $request_uri sent=$body_bytes_sent '
        'upstream=$upstream_bytes_received accel=$upstream_http_x_accel_redirect '
        'verify=$ssl_client_verify protocol=$ssl_protocol/$ssl_cipher';
    access_log {access} evidence;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include farmgate.conf;
}}
"""


class Tools(Protocol):
    """Where the programs and files are that a boot host needs."""

    farmgate: Path
    ipxe: Path
    ipxe2: Path | None
    nginx: str | None
    generation: Path

    def network(self) -> Path:
        """What makes the initramfs able to acknowledge."""


class BootHost:
    """One state directory and the servers on it. `door` says who speaks TLS: "own" or "nginx".

    With `first`, another boot host of its fleet, which shares a store. With `network`, it is in that
    network, under its name there.
    """

    # What `serving` starts: `front` is the one that gateways talk to.
    server: Process
    front: Process
    log: Log
    access: Log | None

    def __init__(
        self,
        tools: Tools,
        logs: Path,
        key_type: str | None = None,
        url: str | None = None,
        name: str = "host",
        first: BootHost | None = None,
        network: Network | None = None,
    ) -> None:
        self.tools, self.name = tools, name
        self.logs = Path(logs)
        # Short, because the path of a Unix socket may have no more than 107 characters.
        self._scratch = tempfile.TemporaryDirectory(prefix="farmgate-vm-")
        self.scratch = Path(self._scratch.name)
        self.state = self.scratch / "state"
        self.port = free_port()
        self.listen = network.address if network else "127.0.0.1"
        self.url = url or f"https://{network.name if network else BOOT_HOST}:{self.port}"
        self._served = 0
        self.access = None
        if first:
            first.farmgate("store", "new-host", self.state, "--url", self.url)
            return
        kind = ["--key-type", key_type] if key_type else []
        self.farmgate("init", "--url", self.url, "--san", "127.0.0.1", *kind)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.cleanup()

    # --- The command line ---

    def run(self, *arguments: Word) -> subprocess.CompletedProcess[str]:
        """Runs farmgate on this state; the completed process, whatever its exit status."""
        command = [self.tools.farmgate, "--state", self.state, *arguments]
        return subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def farmgate(self, *arguments: Word) -> str:
        """Runs farmgate on this state; returns its standard output, or raises a Failure."""
        done = self.run(*arguments)
        if done.returncode != 0:
            words = " ".join(str(argument) for argument in arguments)
            raise Failure(f"`farmgate {words}` exits {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def image(self, name: str, ipxe: Path | None = None) -> Path:
        """A boot medium for the gateway `name`, which is added when it is not known yet."""
        if not (self.state / "gateways" / name).exists():
            self.farmgate("gateway", "add", name)
        path = self.scratch / f"{name}.iso"
        self.farmgate("iso", "make", name, "-o", path, *self.parts(ipxe))
        return path

    def base_image(self, ipxe: Path | None = None) -> Path:
        """A boot medium without an identity."""
        path = self.scratch / "base.iso"
        if not path.exists():
            self.farmgate("iso", "base", "-o", path, *self.parts(ipxe))
        return path

    def parts(self, ipxe: Path | None = None) -> tuple[Word, ...]:
        """Options for making images. No time server, because the tests reach only this machine."""
        return "--ipxe", ipxe or self.tools.ipxe, "--ntp", "none"

    def seal(self, base: Path, certificate: Path, key: Path, name: str) -> Path:
        """A copy of `base` with this identity."""
        path = self.scratch / f"{name}.iso"
        self.farmgate("iso", "seal", base, "--cert", certificate, "--key", key, "-o", path)
        return path

    def spliced(self, base: Path, medium: Path, name: str) -> Path:
        """A copy of `base` with the identity that is on `medium`.

        `iso seal` refuses an identity of another fleet than the base's, so nothing else makes one.
        """
        image, other = bytearray(base.read_bytes()), medium.read_bytes()
        image[slot(image)] = other[slot(other)]
        path = self.scratch / f"{name}.iso"
        path.write_bytes(image)
        return path

    def publish(self, name: str, folder: Path | None = None) -> str:
        """Publishes a folder, or the test system, for `name`, always as a new generation."""
        return self.farmgate("publish", "--force", name, folder or self.tools.generation)

    def folder(
        self, name: str, script: str, network: bool = False, files: dict[str, str] | None = None
    ) -> Path:
        """A folder to publish: the test system with another boot script of common/, and `files`.

        With `network` the booted system can acknowledge.
        """
        folder = self.scratch / name
        shutil.copytree(self.tools.generation, folder)
        shutil.copy(Path(__file__).with_name(script), folder / "boot.ipxe")
        if network:
            shutil.copy(self.tools.network(), folder)
            shutil.copy(self.authority[0], folder / "ca.crt")
        for path, content in (files or {}).items():
            (folder / path).write_text(content)
        return folder

    # --- Identities ---

    @property
    def authority(self) -> Identity:
        return self.state / "pki" / "ca.crt", self.state / "pki" / "ca.key"

    def identity(self, name: str) -> Identity:
        """The files with certificate and key of the gateway `name`."""
        where = self.state / "gateways" / name
        return one_pem(where, b"BEGIN CERTIFICATE"), one_pem(where, b"PRIVATE KEY")

    # --- Serving ---

    @contextlib.contextmanager
    def serving(self, door: str = "own", log_all: bool = True) -> Iterator[Self]:
        """Serves inside the `with` block. Without `log_all`, nginx logs as it does on a real host."""
        self._served += 1
        prefix = f"{self.name}-{self._served}"
        self.logs.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            server_log = self.logs / f"{prefix}-farmgate.log"
            # Both listeners run at once, as on a real boot host. The gateways' port leads to one of them.
            own_port = self.port if door == "own" else free_port()
            self.unix = self.scratch / "farmgate.sock"
            self.set_listen(own_port)
            command: list[Word] = [self.tools.farmgate, "--state", self.state, "serve"]
            self.server = stack.enter_context(Process("farmgate serve", command, server_log))
            self.log = self.server.log
            wait_for_port(own_port, self.server)
            self.front = self.server
            if door == "nginx":
                self.front = stack.enter_context(self._nginx(prefix, log_all))
                wait_for_port(self.port, self.front)
            yield self

    def set_listen(self, port: int) -> None:
        """Sets the table [listen] of farmgate.toml and leaves the rest as it is."""
        path = self.state / "farmgate.toml"
        kept, inside = [], False
        for line in path.read_text().splitlines():
            if line.startswith("["):
                inside = line.strip() == "[listen]"
            if not inside:
                kept.append(line)
        # `accel` affects only nginx. With its own TLS, farmgate still sends every byte.
        kept += ["[listen]", f'tls = "{self.listen}:{port}"', f'unix = "{self.unix}"']
        kept += ['accel = "/farmgate-blobs"', ""]
        path.write_text("\n".join(kept))

    def share_store(self, directory: Path) -> None:
        """Gives the fleet a store in this directory. Call it before its other boot hosts are made."""
        path = self.state / "farmgate.toml"
        store = f'[store]\nurl = "file://{directory}"\ninterval = "1s"\n'
        path.write_text(f"{path.read_text()}\n{store}")

    def name_on_media(self, other: BootHost) -> None:
        """Media that are made from now on fall back to that boot host."""
        path = self.state / "farmgate.toml"
        text = path.read_text()
        named = text.replace("[media]\n", f'[media]\nfallback-urls = ["{other.url}"]\n')
        assert named != text
        path.write_text(named)

    def _nginx(self, log_prefix: str, log_all: bool) -> Process:
        prefix = self.scratch / f"nginx-{self._served}"
        prefix.mkdir()
        errors = Log(self.logs / f"{log_prefix}-nginx-error.log").path
        self.access = Log(self.logs / f"{log_prefix}-nginx-access.log")
        # As root, nginx would run its workers as another user, who cannot enter a private
        # directory of the tests.
        user = "user root root;" if os.geteuid() == 0 else ""
        (prefix / "nginx.conf").write_text(
            _NGINX.format(
                errors=quoted(errors),
                access=quoted(self.access.path),
                user=user,
            )
        )
        block = self.farmgate("nginx-config", "--listen", f"{self.listen}:{self.port}")
        # The tests need every request in the log, even those that a boot host would not log.
        hidden = "access_log off;" if log_all else "\0"
        (prefix / "farmgate.conf").write_text(block.replace(hidden, ""))
        nginx = self.tools.nginx or "nginx"
        command: list[Word] = [nginx, "-p", prefix, "-c", prefix / "nginx.conf", "-e", errors]
        checked = subprocess.run(
            [*map(str, command), "-t"], capture_output=True, text=True, timeout=30, check=False
        )
        if checked.returncode != 0:
            raise Failure(f"nginx refuses what `farmgate nginx-config` printed:\n{checked.stderr}")
        return Process("nginx", command, self.logs / f"{log_prefix}-nginx.log")

    # --- Asking as a gateway would ---

    def curl(self, path: str, *options: str, identity: Identity | None = None) -> tuple[int, str]:
        """(HTTP status, headers and body) of one request; status 0 when TLS fails."""
        return self._ask(f"https://127.0.0.1:{self.port}{path}", options, identity)

    def _ask(
        self, url: str, options: tuple[str, ...], identity: Identity | None
    ) -> tuple[int, str]:
        authority, _ = self.authority
        command = ["curl", "--silent", "--show-error", "--include", "--max-time", "30"]
        command += ["--noproxy", "*", "--path-as-is", "--cacert", str(authority)]
        if identity:
            certificate, key = identity
            command += ["--cert", str(certificate), "--key", str(key)]
        command += ["--write-out", "\n%{http_code}", *options, url]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        answer = done.stdout.decode("utf-8", "replace")
        body, _, status = answer.rpartition("\n")
        return int(status), body + done.stderr.decode("utf-8", "replace")


def quoted(path: Path) -> str:
    """A path as nginx takes it in quotes."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def slot(image: bytes | bytearray) -> slice:
    """Where an image's slot stands; it has the same length in all of them."""
    marks = b"# farmgate slot 1 begins\n", b"# farmgate slot 1 ends\n"
    counts = [image.count(mark) for mark in marks]
    if counts != [1, 1]:
        raise Failure(f"the image's slot begins {counts[0]} times and ends {counts[1]} times")
    begin, end = map(image.index, marks)
    return slice(begin + len(marks[0]), end)


def one_pem(directory: Path, mark: bytes) -> Path:
    """The only file in `directory` that contains a PEM block of this type."""
    found = [
        path
        for path in sorted(Path(directory).rglob("*"))
        if path.is_file() and mark in path.read_bytes()
    ]
    if len(found) != 1:
        raise Failure(f"{len(found)} files with {mark.decode()!r} in {directory}, not one: {found}")
    return found[0]


def free_port() -> int:
    """A free port of the loopback that the kernel does not give to others that ask for any port: those are
    above 32768 (`ip_local_port_range`). A port that was free a moment ago may be a client's by now.
    """
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_for_port(port: int, process: Process, timeout: int = 20) -> None:
    """Returns when a process accepts connections there."""
    for _ in range(timeout * 20):
        if process.ended():
            raise Failure(f"{process.name} ended at once:\n{process.log.tail()}")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        pause(0.05)
    raise Failure(f"{process.name} does not listen after {timeout} s:\n{process.log.tail()}")


def find_program(name: str) -> str | None:
    """A program in the PATH, or in a directory that a normal user's PATH lacks."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
