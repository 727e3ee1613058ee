"""A machine with a root shell for the tests, as NixOS's test driver has it.

The names, arguments and results are those of that driver's `Machine`, so that one scenario runs with
both. The shell is a bash on a virtio-serial port: it reads commands, and answers each with a line of
base64 and a line with the exit status.
"""

import base64
import json
import re
import shlex
import socket
import time
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .process import Failure
from .process import Process
from .process import Word
from .process import pause

READY = "farmgate-test-shell"
# Default time limit of a command.
PATIENCE = 300


class Channel:
    """A Unix socket that QEMU listens on, read by lines."""

    def __init__(self, path: Path, process: Process, timeout: float = 20) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._process, self._rest = process, b""
        deadline = time.monotonic() + timeout
        while True:
            try:
                self._socket.connect(str(path))
                break
            except OSError:
                if process.ended() or time.monotonic() > deadline:
                    raise Failure(f"QEMU does not listen:\n{process.log.tail()}") from None
                pause(0.05)
        self._socket.settimeout(0.2)

    def send(self, text: str) -> None:
        self._socket.settimeout(PATIENCE)
        self._socket.sendall(text.encode())
        self._socket.settimeout(0.2)

    def line(self, timeout: float) -> str:
        """The next line without its end; a Failure when it does not come."""
        deadline = time.monotonic() + timeout
        parts = [self._rest]
        while b"\n" not in parts[-1]:
            try:
                data = self._socket.recv(1 << 20)
            except TimeoutError:
                pause(0)
                if time.monotonic() > deadline:
                    raise Failure(f"no answer within {timeout:.0f} s") from None
                continue
            except ConnectionError:
                data = b""
            if not data:
                raise Failure(f"the machine is gone:\n{self._process.log.tail()}")
            parts.append(data)
        line, _, self._rest = b"".join(parts).partition(b"\n")
        return line.decode("utf-8", "replace").rstrip("\r")

    def close(self) -> None:
        self._socket.close()


class Monitor:
    """QEMU's own control channel."""

    def __init__(self, path: Path, process: Process) -> None:
        self._channel = Channel(path, process)
        self._channel.line(20)
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: object) -> Any:
        """The answer; a Failure when QEMU refuses."""
        self._channel.send(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        while True:
            answer = json.loads(self._channel.line(60))
            if "error" in answer:
                raise Failure(f"QEMU: {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def close(self) -> None:
        self._channel.close()


class Machine:
    """A QEMU process with these arguments, a shell and a monitor in `where`."""

    def __init__(self, name: str, arguments: Sequence[Word], where: Path, log: Path) -> None:
        self.name, self._arguments = name, arguments
        self._where, self._log = Path(where), log
        self._process: Process | None = None
        self._channel: Channel | None = None
        self._shell: Channel | None = None
        self._monitor: Monitor | None = None

    @property
    def monitor(self) -> Monitor:
        """QEMU's own control channel, while the machine runs."""
        if self._monitor is None:
            raise Failure(f"{self.name} does not run")
        return self._monitor

    def _running(self) -> Process:
        if self._process is None:
            raise Failure(f"{self.name} does not run")
        return self._process

    # --- Power ---

    def start(self, allow_reboot: bool = False, incoming: Path | None = None) -> None:
        """Powers the machine on, or wakes it from the file `incoming`."""
        if self._process is not None:
            return
        arguments = list(self._arguments)
        arguments += [] if allow_reboot else ["-no-reboot"]
        arguments += ["-incoming", "defer"] if incoming else []
        for name in ("shell", "monitor"):
            path = self._where / name
            path.unlink(missing_ok=True)
            arguments += ["-chardev", f"socket,id={name},path={path},server=on,wait=off"]
        arguments += ["-mon", "chardev=monitor,mode=control", "-device", "virtio-serial-pci"]
        arguments += ["-device", "virtserialport,chardev=shell,name=farmgate.shell"]
        self._process = Process(f"QEMU ({self.name})", arguments, self._log, nice=5)
        self._channel = Channel(self._where / "shell", self._process)
        self._monitor = Monitor(self._where / "monitor", self._process)
        if incoming:
            self.monitor.ask("migrate-incoming", uri=f"exec:cat {shlex.quote(str(incoming))}")
            self._wait_for_monitor("query-status", lambda answer: answer["status"] == "running")
            self._shell = self._channel
            # The machine was suspended, and its clock with it.
            self.succeed(f"date --set=@{time.time():.3f}")

    def sleep_to(self, file: Path) -> None:
        """Writes the running machine into a file, and powers it off."""
        self.succeed("sync")
        self.monitor.ask("migrate", uri=f"exec:cat > {shlex.quote(str(file))}")
        self._wait_for_monitor("query-migrate", lambda answer: answer["status"] == "completed")
        self.crash()

    def _wait_for_monitor(
        self, command: str, done: Callable[[Any], bool], timeout: float = 60
    ) -> None:
        deadline = time.monotonic() + timeout
        while not done(answer := self.monitor.ask(command)):
            if answer["status"] == "failed" or time.monotonic() > deadline:
                raise Failure(f"QEMU ({self.name}): {command} says {answer}")
            pause(0.05)

    def crash(self) -> None:
        """Takes the power away."""
        if self._process is None:
            return
        for channel in (self._channel, self._monitor):
            if channel:
                channel.close()
        # Data that reached the machine's disk stays; data in its memory is lost.
        self._process.stop()
        self._process = self._channel = self._shell = self._monitor = None

    def shutdown(self) -> None:
        """Shuts the system down in good order."""
        self._connected().send("systemctl poweroff\n")
        self.wait_for_shutdown()

    def wait_for_shutdown(self) -> None:
        self._running().wait(PATIENCE)
        self.crash()

    def wait_for_reboot(self) -> None:
        """Waits until the system that was told to reboot has done so; needs `allow_reboot`."""
        self._shell = None
        self._connected()

    # --- Commands ---

    def _connected(self, timeout: float = PATIENCE) -> Channel:
        """The shell's channel, once the system is there."""
        if self._process is None:
            self.start()
        if self._shell is None:
            channel = self._channel
            assert channel is not None, "a machine that runs has its channel"
            while channel.line(timeout) != READY:
                pass
            self._shell = channel
        return self._shell

    def execute(
        self,
        command: str,
        check_return: bool = True,
        check_output: bool = True,
        timeout: float | None = PATIENCE,
    ) -> tuple[int, str]:
        """(exit status, standard output)"""
        shell = self._connected()
        limit = f"timeout {timeout}" if timeout is not None else ""
        quoted = shlex.quote(f"set -euo pipefail; {command}")
        shell.send(f"{limit} bash -c {quoted} </dev/null | (base64 -w 0; echo)\n")
        if not check_output:
            return -2, ""
        patience = (timeout or 3600) + 30
        output = base64.b64decode(shell.line(patience)).decode("utf-8", "replace")
        if not check_return:
            return -1, output
        shell.send("echo ${PIPESTATUS[0]}\n")
        return int(shell.line(30)), output

    def succeed(self, *commands: str, timeout: float | None = PATIENCE) -> str:
        """What the commands print; a Failure when one of them fails."""
        output = ""
        for command in commands:
            status, said = self.execute(command, timeout=timeout)
            if status != 0:
                raise Failure(f"`{command}` on {self.name} exits {status}:\n{indented(said)}")
            output += said
        return output

    def fail(self, *commands: str, timeout: float | None = PATIENCE) -> str:
        """What the commands print; a Failure when one of them succeeds."""
        output = ""
        for command in commands:
            status, said = self.execute(command, timeout=timeout)
            if status == 0:
                raise Failure(f"`{command}` on {self.name} succeeds:\n{indented(said)}")
            output += said
        return output

    # --- Waiting ---

    def wait_until_succeeds(self, command: str, timeout: float = PATIENCE) -> str:
        return self._wait(command, timeout, lambda status: status == 0)

    def wait_until_fails(self, command: str, timeout: float = PATIENCE) -> str:
        return self._wait(command, timeout, lambda status: status != 0)

    def _wait(self, command: str, timeout: float, good: Callable[[int], bool]) -> str:
        deadline = time.monotonic() + timeout
        while True:
            status, output = self.execute(command, timeout=timeout)
            if good(status):
                return output
            if time.monotonic() > deadline:
                raise Failure(
                    f"`{command}` on {self.name} still exits {status} after {timeout} s:\n"
                    f"{indented(output)}"
                )
            pause(0.3)

    def systemctl(self, words: str) -> tuple[int, str]:
        """(exit status, standard output) of systemctl"""
        return self.execute(f"systemctl {words}")

    def get_unit_property(self, unit: str, name: str) -> str:
        return self.succeed(f"systemctl show --property={name} --value {shlex.quote(unit)}").strip()

    def wait_for_unit(self, unit: str, timeout: float = PATIENCE) -> None:
        """Waits until the unit is active; a Failure at once when it failed."""
        deadline = time.monotonic() + timeout
        while (state := self.get_unit_property(unit, "ActiveState")) != "active":
            if state == "failed" or time.monotonic() > deadline:
                journal = self.execute(f"journalctl --no-pager -n 15 -u {shlex.quote(unit)}")[1]
                raise Failure(f"{unit} is {state}:\n{indented(journal)}")
            pause(0.2)

    def wait_for_open_port(
        self, port: int, addr: str = "localhost", timeout: float = PATIENCE
    ) -> None:
        self.wait_until_succeeds(f"exec 3<>/dev/tcp/{addr}/{port}", timeout)

    def wait_for_closed_port(
        self, port: int, addr: str = "localhost", timeout: float = PATIENCE
    ) -> None:
        self.wait_until_fails(f"exec 3<>/dev/tcp/{addr}/{port}", timeout)

    def wait_for_file(self, filename: str, timeout: float = PATIENCE) -> None:
        self.wait_until_succeeds(f"test -e {shlex.quote(filename)}", timeout)

    # --- Files and consoles ---

    def read_bytes(self, path: str) -> bytes:
        """The content of a file in the machine."""
        return base64.b64decode(self.succeed(f"base64 -w 0 {shlex.quote(str(path))}"))

    def copy_from_vm(self, source: str, target_dir: str = "") -> None:
        """Copies a file into this directory of the test's logs."""
        target = self._log.parent / target_dir / Path(source).name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.read_bytes(source))

    def get_console_log(self) -> str:
        return self._running().log.text()

    def wait_for_console_text(self, regex: str, timeout: float = PATIENCE) -> None:
        process = self._running()
        process.log.wait_for(regex, timeout, process=process)

    @staticmethod
    def sleep(seconds: float) -> None:
        pause(seconds)

    @staticmethod
    def log(_message: str) -> None:
        """The NixOS driver would log this; here the subtests say enough."""


def indented(text: str) -> str:
    lines = [line for line in re.split(r"\r?\n", text) if line.strip()]
    return "\n".join(f"    | {line}" for line in lines[-25:]) or "    | (it says nothing)"
