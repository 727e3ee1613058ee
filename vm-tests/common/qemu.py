"""A gateway: a QEMU machine that starts from a boot medium and knows nothing else.

Its network is, unless another is given, QEMU's own user network, which needs no root: a DHCP server,
and the boot host at 10.0.2.2, which is this machine's loopback.
"""

import contextlib
import functools
import json
import os
import re
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from typing import Self

from .process import Failure
from .process import Process
from .process import Stopped
from .process import pause

# Asks QEMU: a command and its arguments, and what it returns.
Ask = Callable[..., Any]

BOOT_HOST = "10.0.2.2"
FIRMWARES = ("bios", "uefi")
MEDIA = ("cd", "usb")
# iPXE's line when it asked the boot host and got no script: the address and the error's number.
REFUSED = r"https://10\.0\.2\.2:[^\n]*https?://ipxe\.org/[0-9a-f]{8}"
BOOTED = r"^FARMGATE-BOOTED gateway=(\S*) generation=(\S*)$"
# The booted system's line about its acknowledgement: yes, or no and why.
ACKNOWLEDGED = r"^FARMGATE-ACK (yes|no.*)$"

_PROGRAM = "qemu-system-x86_64"
_OVMF: tuple[tuple[str, str], ...] = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
)
if "FARMGATE_OVMF" in os.environ:
    _named = os.environ["FARMGATE_OVMF"]
    _OVMF = ((f"{_named}/OVMF_CODE.fd", f"{_named}/OVMF_VARS.fd"),)

# Each machine keeps one core busy. More machines at once would only slow all of them down.
_slots = threading.BoundedSemaphore(2)

_turn = threading.local()

# How long this thread has waited for its turn. This does not count as boot time.
queued = threading.local()


@functools.cache
def accelerator() -> tuple[str, str]:
    """("kvm" or "tcg", why): KVM only when the kernel FARMGATE_KERNEL starts with it.

    That /dev/kvm can be opened does not prove it, nor that firmware runs: inside some virtual machines
    QEMU then fails on a model-specific register, or stands still once a kernel unpacks itself.
    """
    if not Path("/dev/kvm").exists():
        return "tcg", "no /dev/kvm"
    kernel = os.environ.get("FARMGATE_KERNEL")
    if not kernel:
        return "tcg", "FARMGATE_KERNEL names no kernel to try KVM with"
    with tempfile.TemporaryDirectory(prefix="farmgate-kvm-") as where:
        arguments = [
            *(_PROGRAM, "-machine", "pc,accel=kvm", "-cpu", "host", "-m", "512", "-no-reboot"),
            *("-nodefaults", "-display", "none", "-serial", "stdio"),
            *("-kernel", kernel, "-append", "console=ttyS0 panic=-1"),
        ]
        with Process("KVM probe", arguments, Path(where, "probe.log")) as probe:
            try:
                probe.log.wait_for(r"Linux version", timeout=15, process=probe)
            except Failure:
                last = (probe.log.lines() or ["it said nothing"])[-1]
                return "tcg", f"no kernel starts with KVM: {last.strip()[:120]}"
    return "kvm", "a kernel started with it"


@contextlib.contextmanager
def turn() -> Iterator[None]:
    """Waits until one more machine may run; inside, this thread may start one at once."""
    if getattr(_turn, "held", False):
        yield
        return
    asked = time.monotonic()
    while not _slots.acquire(timeout=0.2):
        pause(0)
    queued.seconds = getattr(queued, "seconds", 0) + time.monotonic() - asked
    _turn.held = True
    try:
        yield
    finally:
        _turn.held = False
        _slots.release()


class Gateway:
    """One power-on. A context manager: the machine runs inside the `with` block.

    `clock` is what its clock chip says, as `1980-01-01T00:00:00`; else it is right.
    """

    def __init__(
        self,
        image: Path,
        firmware: str = "bios",
        medium: str = "cd",
        logs: Path | None = None,
        name: str = "console",
        clock: str | None = None,
    ) -> None:
        assert firmware in FIRMWARES and medium in MEDIA
        self.clock = clock
        self.image, self.firmware, self.medium = Path(image), firmware, medium
        self.network = "user,id=lan"
        self.card: str | None = "virtio-net-pci"
        self._scratch = tempfile.TemporaryDirectory(prefix="farmgate-vm-")
        self._log = Path(logs or self._scratch.name, f"{name}.log")
        self._monitor = Path(self._scratch.name, "qmp")

    def __enter__(self) -> Self:
        self._turn = turn()
        self._turn.__enter__()
        try:
            self.started = time.monotonic()
            self._process = Process("QEMU", self._arguments(), self._log, nice=5)
        except BaseException:
            self._release()
            raise
        self.console = self._process.log
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._process.stop()
        finally:
            self._release()

    def _release(self) -> None:
        self._turn.__exit__(None, None, None)
        self._scratch.cleanup()

    def _arguments(self) -> list[str]:
        kind, _ = accelerator()
        arguments = [_PROGRAM, "-name", "gateway", "-m", "512", "-no-reboot", "-nodefaults"]
        # Without graphics SeaBIOS, and with it iPXE, writes its screen to the serial port too.
        arguments += ["-machine", f"pc,accel={kind},graphics=off", "-display", "none"]
        arguments += ["-cpu", "host"] if kind == "kvm" else []
        arguments += ["-serial", "stdio", "-monitor", "none", "-device", "virtio-rng-pci"]
        arguments += ["-qmp", f"unix:{self._monitor},server=on,wait=off"]
        # The machine's own network boot must not get in the way of the medium.
        if self.card:
            card = f"{self.card},id=card,netdev=lan,romfile="
            arguments += ["-netdev", self.network, "-device", card]
        arguments += ["-rtc", f"base={self.clock}"] if self.clock else []
        if self.firmware == "uefi":
            arguments += self._uefi()
        # An image name may hold a comma, which QEMU wants twice.
        file = str(self.image).replace(",", ",,")
        arguments += ["-drive", f"if=none,id=medium,file={file},format=raw,readonly=on"]
        if self.medium == "cd":
            arguments += ["-device", "ide-cd,drive=medium,bootindex=0"]
        else:
            arguments += ["-device", "qemu-xhci"]
            arguments += ["-device", "usb-storage,drive=medium,bootindex=0,removable=on"]
        return arguments

    def _uefi(self) -> list[str]:
        for code, variables in _OVMF:
            if Path(code).exists():
                own = Path(self._scratch.name, "variables.fd")
                shutil.copyfile(variables, own)
                return [
                    *("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={code}"),
                    *("-drive", f"if=pflash,unit=1,format=raw,file={own}"),
                ]
        raise Failure("no UEFI firmware for QEMU: install the package ovmf")

    def ended(self) -> bool:
        return self._process.ended()

    @contextlib.contextmanager
    def monitor(self) -> Iterator[Ask]:
        """A function that asks QEMU (QMP): `ask(command, argument=value)` gives what it returns."""
        while not self._monitor.exists():
            pause(0.05)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._monitor))
            lines = connection.makefile()
            lines.readline()

            def ask(command: str, **arguments: object) -> Any:
                request = {"execute": command, "arguments": arguments}
                connection.sendall(json.dumps(request).encode())
                for line in lines:
                    answer = json.loads(line)
                    if "error" in answer:
                        raise Failure(f"{command}: {answer['error']['desc']}")
                    if "return" in answer:
                        return answer["return"]
                raise Stopped

            ask("qmp_capabilities")
            yield ask

    def wait_for(self, pattern: str, timeout: float = 120) -> re.Match[str]:
        """The first match on the console; a Failure when it does not come."""
        return self.console.wait_for(pattern, timeout, process=self._process)

    def wait_until_booted(self, timeout: float = 180) -> tuple[str, str, float]:
        """(gateway's name, generation, seconds since power-on) as the booted system reports them."""
        # The medium retries forever. After three refusals it would be refused again.
        found = self.wait_for(rf"{BOOTED}|(?s:(?:{REFUSED}.*?){{3}})", timeout)
        if found[2] is None:
            raise Failure(f"the gateway does not get its script:\n{self.console.tail(12)}")
        return found[1], found[2], time.monotonic() - self.started

    def wait_until_off(self, timeout: float = 60) -> None:
        """Waits for the booted system to power its machine off."""
        self._process.wait(timeout)
