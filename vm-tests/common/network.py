"""A separate network for one scenario, with typical network faults.

The thread that enters it, and every process that it starts there, is in a network namespace which
goes away with the last of them. In it is a bridge with the boot host on it and one cable, on which
the gateway's machine is plugged. dnsmasq does DHCP, router advertisements and DNS.
"""

import contextlib
import ctypes
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from .host import find_program
from .process import Failure
from .process import Process
from .process import Stopped
from .process import pause
from .qemu import Ask
from .qemu import Gateway
from .scenario import Skip

HOST = "10.0.2.2"
HOST6 = "fd00:77::2"
# Addresses that nobody has.
DEAD = "10.0.2.9"
NOWHERE6 = "fd00:99::2"
NAME = "boot.farmgate.test"

_CLONE_NEWNET = 0x40000000


class Network:
    """Entered with `with`, as root."""

    def __init__(
        self,
        logs: Path,
        dns: tuple[str, ...] = (HOST,),
        router: bool = True,
        ipv6_to_nowhere: bool = False,
    ) -> None:
        self.logs, self.dns, self.router = Path(logs), dns, router
        self.ipv6_to_nowhere = ipv6_to_nowhere
        self.name, self.address = NAME, "0.0.0.0"
        self.wire = "tap,id=lan,ifname=wire,script=no,downscript=no"

    def __enter__(self) -> Self:
        missing = [name for name in ("ip", "tc", "dnsmasq") if not find_program(name)]
        if missing:
            raise Skip(f"a network of its own needs {', '.join(missing)}: scripts/install-packages")
        with contextlib.ExitStack() as stack:
            self._own_namespace(stack)
            self._cable()
            stack.enter_context(Process("dnsmasq", self._dnsmasq(), self.logs / "dnsmasq.log"))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @staticmethod
    def _own_namespace(stack: contextlib.ExitStack) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, before)
        if libc.unshare(_CLONE_NEWNET) != 0:
            why = os.strerror(ctypes.get_errno())
            raise Skip(f"a network namespace cannot be made ({why}): run this as root")
        stack.callback(libc.setns, before, _CLONE_NEWNET)

    def _cable(self) -> None:
        for command in (
            "ip link set lo up",
            "ip link add lan type bridge",
            "ip tuntap add dev wire mode tap",
            "ip link set wire master lan",
            # No offloading: packets must become frames before they reach the faults.
            "ip link set lan gso_max_segs 1",
            f"ip address add {HOST}/24 dev lan",
            f"ip address add {HOST6}/64 dev lan nodad",
            "ip link set wire up",
            "ip link set lan up",
        ):
            run(*command.split())

    def _dnsmasq(self) -> list[str]:
        dnsmasq = find_program("dnsmasq") or "dnsmasq"
        command = [dnsmasq, "--keep-in-foreground", "--conf-file=/dev/null"]
        command += ["--user=root", "--pid-file=", "--log-facility=-", "--log-dhcp", "--log-queries"]
        command += [
            "--interface=lan",
            "--bind-interfaces",
            "--no-resolv",
            "--no-hosts",
            "--no-ping",
        ]
        command += ["--leasefile-ro", "--dhcp-range=10.0.2.100,10.0.2.200,255.255.255.0,1h"]
        # An option without a value is one that is not sent.
        command += [f"--dhcp-option=option:router{f',{HOST}' if self.router else ''}"]
        command += ["--dhcp-option=" + ",".join(("option:dns-server", *self.dns))]
        addresses = (HOST, NOWHERE6) if self.ipv6_to_nowhere else (HOST,)
        command += ["--local=/farmgate.test/", "--host-record=" + ",".join((NAME, *addresses))]
        if self.ipv6_to_nowhere:
            command += ["--enable-ra", "--dhcp-range=fd00:77::,ra-stateless,64"]
            command += [f"--dhcp-option=option6:dns-server,[{HOST6}]"]
        return command

    # --- Faults ---

    def lose_frames_over(self, length: int) -> None:
        """Longer frames are silently lost on the cable."""
        # A bridge passes what fits into the port's MTU, its header and a VLAN tag.
        run("ip", "link", "set", "wire", "mtu", str(length - 18))
        # Otherwise the bridge would adopt the smaller MTU, and the boot host would know it.
        run("ip", "link", "set", "lan", "mtu", "1500")

    def limit(self, rate: str) -> None:
        """The cable carries no more than this (`4mbit`)."""
        shaper = f"tbf rate {rate} burst 20kb latency 500ms"
        run("tc", "qdisc", "add", "dev", "wire", "root", *shaper.split())

    def cut(self) -> None:
        """From now on, everything is silently lost."""
        run("ip", "link", "set", "wire", "nomaster")

    def mend(self) -> None:
        """Undoes `cut`."""
        run("ip", "link", "set", "wire", "master", "lan")

    @contextlib.contextmanager
    def slow_port(self, machine: Gateway, seconds: float) -> Iterator[None]:
        """The switch passes nothing until the machine's card has been open for so long."""
        self.cut()
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(machine, seconds, done))
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def _watch(self, machine: Gateway, seconds: float, done: threading.Event) -> None:
        opened, forwarding = None, False
        # The machine may be off before it answers.
        with contextlib.suppress(Stopped, ConnectionError), machine.monitor() as ask:
            while not done.is_set() and not machine.ended():
                if not card_is_open(ask):
                    opened = None
                elif opened is None:
                    opened = time.monotonic()
                passes = opened is not None and time.monotonic() - opened >= seconds
                if passes != forwarding:
                    self.mend() if passes else self.cut()
                    forwarding = passes
                pause(0.2)


def card_is_open(ask: Ask) -> bool:
    """Whether the machine's driver uses its card (virtio, section 2.1: DRIVER_OK)."""
    answer = ask("x-query-virtio-status", path="/machine/peripheral/card/virtio-backend")
    return any("DRIVER_OK" in name for name in answer["status"]["statuses"])


def run(program: str, *arguments: str) -> str:
    """Runs a program of the system; a Failure when it fails."""
    command = [find_program(program) or program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
