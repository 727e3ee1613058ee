"""The appliance test's boot host on plain Debian, and gateways on its network. No root is needed.

One host starts from the disk that scripts/install-packages made, gets the package and is
initialised. Then it is saved to a file, and each scenario resumes its own copy of it.

The network is a hub inside the host's QEMU with some sockets, one for each gateway that may run at
a time. The host itself is its DHCP and DNS server.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path
from typing import Protocol
from typing import Self

from .host import find_program
from .machine import READY
from .machine import Machine
from .process import Failure
from .process import Word
from .qemu import Gateway
from .qemu import accelerator

ADDRESS, NAME = "192.168.1.1", "boot.farmgate.test"
STATE = "/var/lib/farmgate"
_SOCKETS = 3


class Missing(Exception):
    """A scenario cannot run, because this machine lacks what it needs; the message says what."""


# --- What the test adds to a Debian ---

_SHELL = f"""\
#!/bin/bash
# A root shell for the test driver, which reads and writes the other end of this port.
port=/dev/virtio-ports/farmgate.shell
until [ -c $port ]; do sleep 0.1; done
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
cd /root
exec 0<>$port 1>&0
echo {READY}
exec bash --norc
"""

_SHELL_UNIT = """\
[Unit]
Description=Root shell of the test driver

[Service]
ExecStart=/usr/lib/farmgate-test/shell
KillSignal=SIGHUP
SendSIGKILL=yes
TimeoutStopSec=2s
"""

_LAN_UNIT = f"""\
[Unit]
Description=Network of the test
DefaultDependencies=no
Before=network.target network-online.target
Wants=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip link set eth0 up
ExecStart=ip address add {ADDRESS}/24 dev eth0
"""

_DHCP_UNIT = """\
[Unit]
Description=DHCP and DNS server of the test
After=farmgate-test-lan.service
Requires=farmgate-test-lan.service

[Service]
ExecStart=dnsmasq --keep-in-foreground --conf-file=/etc/farmgate-test/dnsmasq.conf
"""

_DHCP = f"""\
interface=eth0
bind-interfaces
no-resolv
no-hosts
address=/{NAME}/{ADDRESS}
dhcp-range=192.168.1.100,192.168.1.200,1h
dhcp-option=option:dns-server,{ADDRESS}
dhcp-leasefile=/run/dnsmasq.leases
log-facility=-
"""

# Not needed on the boot host, and slow at each start.
_MASKED = (
    "e2scrub_reap.service",
    "getty@tty1.service",
    "proc-sys-fs-binfmt_misc.automount",
    "ssh.service",
)

_UNITS = {"shell": _SHELL_UNIT, "lan": _LAN_UNIT, "dhcp": _DHCP_UNIT}

# All scenarios start from here: an initialised boot host behind nginx, without gateways.
_INITIALISE = (
    "dpkg --install /etc/farmgate-test/farmgate.deb 2>&1",
    f"farmgate init --url https://{NAME} --nginx",
    "farmgate nginx-config >/etc/nginx/conf.d/farmgate.conf",
    "systemctl enable --now farmgate.socket farmgate-admin.socket 2>&1",
    "systemctl restart nginx",
    # Kept for the images that the scenarios make. It takes ten seconds where there is no KVM.
    (
        "farmgate iso base -o /tmp/base.iso --ipxe /etc/farmgate-test/ipxe "
        "--syslinux /etc/farmgate-test/syslinux --ntp none 2>&1"
    ),
)


class Tools(Protocol):
    """Where the programs and files are that the boot host is made of."""

    root: Path
    ipxe: Path
    kernel: Path
    busybox: Path
    appliance: Path
    package: Path
    generation: Path
    syslinux: list[Path]
    brought: dict[str, Path]


def files(tools: Tools, where: Path) -> None:
    """The files that are put on the host's disk at its first start."""
    test = where / "etc" / "farmgate-test"
    units = where / "etc" / "systemd" / "system"
    programs = where / "usr" / "lib" / "farmgate-test"
    for folder in (test / "ipxe", test / "syslinux", units, programs):
        folder.mkdir(parents=True)
    shutil.copytree(tools.generation, test / "generation")
    for name in ("ipxe.lkrn", "ipxe.efi"):
        shutil.copy(tools.ipxe / name, test / "ipxe")
    for path in tools.syslinux:
        shutil.copy(path, test / "syslinux")
    shutil.copy(tools.package, test / "farmgate.deb")
    (test / "dnsmasq.conf").write_text(_DHCP)
    for name, text in _UNITS.items():
        (units / f"farmgate-test-{name}.service").write_text(text)
    (programs / "shell").write_text(_SHELL)
    (programs / "shell").chmod(0o755)
    (where / "etc" / "hosts").write_text(f"127.0.0.1 localhost\n{ADDRESS} {NAME} boot\n")
    (where / "etc" / "hostname").write_text("boot\n")


class Snapshot:
    """A boot host that is ready, written to files in `where`."""

    def __init__(self, tools: Tools, where: Path, logs: Path) -> None:
        self._tools, self._where = tools, Path(where)
        self._initrd = self._where / "host-initrd"
        self._disk, self._memory = self._where / "ready.qcow2", self._where / "ready.memory"
        folder = self._where / "files"
        files(tools, folder)
        maker = tools.root / "scripts" / "make-initramfs"
        subprocess.run(
            [maker, "--disk", tools.busybox, tools.kernel, folder, self._initrd], check=True
        )
        shutil.rmtree(folder)
        self._overlay(tools.appliance, "raw", self._disk)
        host = self._machine(self._where / "making", self._disk, logs / "host-console.log")
        try:
            host.start()
            host.succeed(*_INITIALISE)
            host.wait_for_unit("multi-user.target")
            host.sleep_to(self._memory)
        finally:
            host.crash()

    @staticmethod
    def _overlay(base: Path, kind: str, disk: Path) -> None:
        command = [
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-b",
            str(base),
            "-F",
            kind,
            str(disk),
        ]
        subprocess.run(command, check=True)

    def _machine(self, where: Path, disk: Path, log: Path) -> Machine:
        where.mkdir()
        kind, _ = accelerator()
        arguments: list[Word] = ["qemu-system-x86_64", "-name", "host", "-nodefaults"]
        arguments += ["-display", "none"]
        arguments += ["-machine", f"pc,accel={kind}", "-cpu", "host" if kind == "kvm" else "max"]
        arguments += ["-m", "512", "-smp", "2", "-serial", "stdio", "-device", "virtio-rng-pci"]
        arguments += ["-kernel", self._tools.kernel, "-initrd", self._initrd, "-append"]
        units = [f"systemd.wants=farmgate-test-{name}.service" for name in _UNITS]
        units += [f"systemd.mask={name}" for name in _MASKED]
        arguments.append(
            "root=/dev/vda rw console=ttyS0 quiet panic=-1 net.ifnames=0 systemd.show_status=no "
            f"systemd.getty_auto=no {' '.join(units)}"
        )
        # The machine's power may fail, this one's does not.
        arguments += ["-drive", f"if=none,id=disk,file={disk},format=qcow2,cache=unsafe"]
        arguments += ["-device", "virtio-blk-pci,drive=disk"]
        arguments += ["-netdev", "hubport,id=lan,hubid=0"]
        arguments += ["-device", "virtio-net-pci,netdev=lan,romfile=,mac=52:54:00:00:01:01"]
        for number in range(_SOCKETS):
            path = f"addr.type=unix,addr.path={where}/lan-{number}"
            arguments += ["-netdev", f"stream,id=wire{number},server=on,{path}"]
            arguments += ["-netdev", f"hubport,id=port{number},hubid=0,netdev=wire{number}"]
        return Machine("the boot host", arguments, where, log)

    def wake(self, name: str, logs: Path) -> Host:
        """A separate `Host` for the scenario `name`."""
        where = self._where / name
        disk = self._where / f"{name}.qcow2"
        self._overlay(self._disk, "qcow2", disk)
        machine = self._machine(where, disk, logs / "host-console.log")
        return Host(machine, where, disk, self._memory, self._tools.brought, logs)


class Host:
    """A boot host and its gateways for one scenario; a context manager that ends them all."""

    def __init__(
        self,
        machine: Machine,
        where: Path,
        disk: Path,
        memory: Path,
        brought: dict[str, Path],
        logs: Path,
    ) -> None:
        self.machine, self._where, self._disk, self._logs = machine, where, disk, logs
        self._memory, self._brought = memory, brought
        self._gateways: list[LanGateway] = []
        self._count = itertools.count(1)

    def __enter__(self) -> Self:
        try:
            self.machine.start(incoming=self._memory)
        except BaseException:
            self.machine.crash()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for gateway in self._gateways:
            gateway.crash()
        self.machine.crash()
        self._disk.unlink()

    def gateway(self, image: str, firmware: str = "uefi", medium: str = "cd") -> LanGateway:
        """A gateway that is not yet started, with a copy of the image at this path on the host."""
        number = next(self._count)
        medium_file = self._where / f"medium-{number}.iso"
        medium_file.write_bytes(self.machine.read_bytes(image))
        name = f"console-{number}-{firmware}-{medium}"
        gateway = LanGateway(self, Gateway(medium_file, firmware, medium, self._logs, name))
        self._gateways.append(gateway)
        return gateway

    def bring(self, name: str) -> str:
        """The path on the host of a program that only some scenarios need.

        It is on a drive that is plugged in now: the other scenarios neither start nor wake with it.
        """
        program = self._brought.get(name)
        if program is None:
            raise Missing(f"there is no {name} here: scripts/install-packages appliance says why")
        folder, drive = self._where / name, self._where / f"{name}.ext4"
        folder.mkdir()
        shutil.copy(program, folder / name)
        (folder / name).chmod(0o755)
        size = program.stat().st_size // 1_000_000 + 16
        maker = find_program("mke2fs") or "mke2fs"
        command = [maker, "-q", "-t", "ext4", "-d", str(folder), str(drive), f"{size}M"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(folder)
        ask, place = self.machine.monitor.ask, f"/run/farmgate-test/{name}"
        file = {"driver": "file", "filename": str(drive), "read-only": True}
        ask("blockdev-add", **{"node-name": name, "driver": "raw", "read-only": True, "file": file})
        ask("device_add", driver="virtio-blk-pci", drive=name, serial=name)
        self.machine.wait_for_file(f"/dev/disk/by-id/virtio-{name}", timeout=60)
        self.machine.succeed(
            f"mkdir -p {place} && mount -o ro /dev/disk/by-id/virtio-{name} {place}"
        )
        return f"{place}/{name}"

    def free_socket(self) -> Path:
        """A socket of the hub that no running gateway uses."""
        taken = {gateway.socket for gateway in self._gateways}
        for number in range(_SOCKETS):
            path = self._where / f"lan-{number}"
            if path not in taken:
                return path
        raise Failure(f"more than {_SOCKETS} gateways at once")

    def journal(self) -> None:
        """Writes the host's journal to the logs, if the host still answers."""
        try:
            text = self.machine.succeed(
                "journalctl --no-pager --output=short-monotonic", timeout=30
            )
        except Failure as failure:
            text = str(failure)
        path = self._logs / "host-journal.log"
        path.write_text(text)


class LanGateway:
    """A gateway on the host's network, with the part of NixOS's `Machine` that scenarios use."""

    def __init__(self, host: Host, machine: Gateway) -> None:
        self._host, self._machine = host, machine
        self._running = False
        self.socket: Path | None = None

    def start(self) -> None:
        self.socket = self._host.free_socket()
        # QEMU wants a comma in a value twice.
        path = str(self.socket).replace(",", ",,")
        self._machine.network = f"stream,id=lan,server=off,addr.type=unix,addr.path={path}"
        self._machine.__enter__()
        self._running = True

    def crash(self) -> None:
        if self._running:
            self._running = False
            self._machine.__exit__(None, None, None)
            self.socket = None

    def wait_for_console_text(self, regex: str, timeout: float = 180) -> None:
        self._machine.wait_for(regex, timeout)

    def wait_for_shutdown(self) -> None:
        self._machine.wait_until_off(120)
        self.crash()

    def get_console_log(self) -> str:
        return self._machine.console.text()
