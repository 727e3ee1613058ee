"""`farmgate try` boots a gateway's image in QEMU, and says how far it came.

It is a boot as any other: the boot host sees it, and the booted system acknowledges it.
"""

import json
from pathlib import Path

from common.host import BootHost
from common.process import Process
from common.process import pause
from common.qemu import turn
from common.scenario import Scenario


def scenario(t: Scenario) -> None:
    with t.boot_host() as host:
        host.image("lab-1")
        host.publish("lab-1", host.folder("acknowledging", "acknowledge.ipxe", network=True))
        parts: tuple[str | Path, ...] = ("--ipxe", t.tools.ipxe, "--ntp", "none")
        ipxe = ("--firmware", "bios", *parts)

        # The first without a word: UEFI is what try takes by itself.
        for firmware, given in (("uefi", parts), ("bios", ipxe)):
            what = f"try shows the stages of a boot by {firmware}, and ends when it is acknowledged"
            with t.subtest(what):
                acknowledges(host, firmware, given)

        with t.subtest("try gives up after its time"):
            done = host.run("try", "lab-1", "--medium", "cd", "--timeout", "1s", *ipxe)
            assert done.returncode == 1, done
            assert "lab-1 did not acknowledge: the 1s of --timeout are over" in done.stderr, done

        with t.subtest("Ctrl-C ends the machine, and the console says how far it came"):
            command: list[str | Path] = [t.tools.farmgate, "--state", host.state, "try", "lab-1"]
            command += ipxe
            with turn(), Process("farmgate try", command, Path(t.logs, "try.log")) as trying:
                trying.log.wait_for(f"asking {host.url}", 120, process=trying)
                machines = children(trying.pid)
                assert len(machines) == 1, machines
                trying.interrupt()
                assert trying.wait(20) == 1
            text = trying.log.text()
            assert "the last lines of the console:" in text, text
            assert "lab-1 did not acknowledge: interrupted; it came to: " in text, text
            gone = Path(f"/proc/{machines[0]}")
            for _ in range(50):
                if gone.exists():
                    pause(0.1)
            assert not gone.exists(), "the machine still runs"

        with t.subtest("without its key, the image that was made before is needed, and is enough"):
            image = host.scratch / "before.iso"
            host.farmgate("iso", "make", "lab-1", "-o", image, "--forget-key", *parts)
            done = host.run("try", "lab-1", *ipxe)
            assert done.returncode == 1 and "--iso FILE" in done.stderr, done
            done = host.run("try", "lab-1", "--iso", image, "--timeout", "1s", "--firmware", "bios")
            assert "are over" in done.stderr, done
            host.farmgate("gateway", "add", "lab-2")
            done = host.run("try", "lab-2", "--iso", image, "--firmware", "bios")
            assert "is none of lab-2's" in done.stderr, done


def acknowledges(host: BootHost, firmware: str, given: tuple[str | Path, ...]) -> None:
    with host.serving(), turn():
        said = json.loads(host.farmgate("--json", "try", "lab-1", *given))
    stages = [reached["stage"] for reached in said["stages"]]
    assert said["acknowledged"] and said["generation"] == 1, said
    assert said["firmware"] == firmware, said
    assert "console" not in said, said
    for expected in (
        "iPXE started",
        f"asking {host.url}",
        "the boot host sends generation 1",
        "vmlinuz: ",
        "acknowledged",
    ):
        assert any(stage.startswith(expected) for stage in stages), (expected, stages)
    status = json.loads(host.farmgate("--json", "status", "lab-1"))
    assert status["boots"][0]["acknowledged"], status


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]
