"""A drive that is foreign, full, broken, read-only or pulled out never stops a gateway for good."""

import subprocess
from pathlib import Path

from common.agent import FakeHost
from common.agent import Gateway
from common.agent import drive
from common.agent import profile
from common.agent import shell
from common.agent import tools_of
from common.scenario import Scenario

SCRIPT = "echo IN-CONTAINER; exec /bin/busybox sleep 1000"


def scenario(t: Scenario) -> None:
    tools = tools_of(t)
    image = shell(tools.busybox, SCRIPT)
    wanted = profile(image)

    def works(name: str, disk: Path, kind: str, options: str = "") -> dict[str, object]:
        """The report of the drive of a boot that is acknowledged."""
        with FakeHost(t.logs / name, image) as host:
            log = t.logs / f"{name}.log"
            with Gateway(tools, host, wanted, log, disk, disk_options=options) as gateway:
                host.wait_until_acknowledged()
                gateway.wait_for("IN-CONTAINER")
                step = host.steps("drive")[-1]
                assert step["kind"] == kind, step
                return step

    with t.subtest("a foreign drive is left alone"), drive(t.logs, label="OTHER") as disk:
        before = disk.read_bytes()
        step = works("foreign", disk, "memory")
        assert "no drive is blank" in str(step["trouble"]), step
        assert disk.read_bytes() == before, "the foreign drive was written to"

    with t.subtest("a drive that cannot be written is replaced by memory"), drive(t.logs) as disk:
        step = works("read-only", disk, "memory", ",readonly=on")
        assert "write-protected" in str(step["trouble"]), step

    with t.subtest("a file system with errors is repaired"), drive(t.logs) as disk:
        spoil(disk)
        works("broken", disk, "cache")

    with t.subtest("a full drive is replaced by memory"), drive(t.logs, size="300M") as disk:
        fill(disk, t.logs / "filling")
        step = works("full", disk, "memory")
        assert "full" in str(step["trouble"]), step

    with t.subtest("a drive that is pulled out restarts the gateway"), drive(t.logs) as disk:
        with FakeHost(t.logs / "pulled", image) as host:
            log = t.logs / "pulled.log"
            with Gateway(tools, host, wanted, log, disk) as gateway:
                host.wait_until_acknowledged()
                gateway.monitor("device_del", id="disk")
                failed = host.wait_for("failed")
                assert "is gone" in failed["what"], failed
                assert "farmgate-agent: " in failed["console"], failed
                gateway.wait_until_it_restarts()

    with t.subtest("without a drive that must be there the gateway restarts"):
        strict = profile(image, cache={"missing": "reboot"})
        with FakeHost(t.logs / "strict", image) as host:
            with Gateway(tools, host, strict, t.logs / "strict.log") as gateway:
                failed = host.wait_for("failed")
                assert "is missing" in failed["what"], failed
                gateway.wait_until_it_restarts()
                assert not host.acknowledged


def spoil(disk: Path) -> None:
    """Block numbers that are none, in the inodes of two directories, and a dirty mark."""
    for command in ("sif / links_count 9", "sif /lost+found block[0] 99999999", "ssv state 0"):
        tool = ["/usr/sbin/debugfs", "-w", "-R", command, str(disk)]
        subprocess.run(tool, check=True, capture_output=True)
    done = subprocess.run(
        ["/usr/sbin/e2fsck", "-f", "-n", str(disk)], capture_output=True, check=False
    )
    assert done.returncode & 4, "the file system has no errors"


def fill(disk: Path, scratch: Path) -> None:
    """Leaves no block free."""
    with scratch.open("wb") as file:
        file.truncate(0)
        for _ in range(290):
            file.write(b"x" * (1 << 20))
    tool = ["/usr/sbin/debugfs", "-w", "-R", f"write {scratch} filling", str(disk)]
    subprocess.run(tool, check=False, capture_output=True)
    scratch.unlink()
