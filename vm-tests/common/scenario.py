"""The interface of a scenario: subtests, and the two checks that most of them use.

A scenario is a module in vm-tests/ whose first line states its promise and whose function
`scenario(t)` tests it in subtests named as sentences.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
import traceback
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from .host import BootHost
from .host import Tools
from .process import Failure
from .process import Stopped
from .qemu import ACKNOWLEDGED
from .qemu import BOOTED
from .qemu import REFUSED
from .qemu import Gateway
from .qemu import queued

if TYPE_CHECKING:
    from .network import Network

# What is told of a subtest: its scenario, sentence, outcome, seconds, and why.
Tell = Callable[["Scenario", str, str, float, str], None]


class Skip(Exception):
    """A subtest that cannot run here; the message says why."""

    def __init__(self, why: str, allowed_in_ci: bool = False) -> None:
        super().__init__(why)
        self.allowed_in_ci = allowed_in_ci


class Scenario:
    """One scenario under way. Its results go to `report(scenario, subtest, outcome, seconds, text)`."""

    def __init__(self, name: str, tools: Tools, logs: Path, report: Tell) -> None:
        self.name, self.tools, self.logs = name, tools, logs
        self._report = report
        self._machines = 0
        logs.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def subtest(self, sentence: str) -> Iterator[None]:
        """Counts the block as one subtest. An exception is reported and not passed on."""
        started, queued.seconds = time.monotonic(), 0
        outcome, text = "passed", ""
        try:
            yield
        except Skip as why:
            outcome, text = "skipped", str(why)
            if os.environ.get("CI") == "true" and not why.allowed_in_ci:
                outcome = "failed"
        except (Stopped, KeyboardInterrupt):
            raise
        except (Failure, AssertionError) as failure:
            outcome, text = "failed", str(failure) or traceback.format_exc()
        except Exception:  # noqa: BLE001 (whatever it is, it is this subtest's failure)
            outcome, text = "failed", traceback.format_exc()
        seconds = time.monotonic() - started - queued.seconds
        self._report(self, sentence, outcome, seconds, text)

    def together(self, subtests: dict[str, Callable[[], object]]) -> None:
        """Runs {sentence: function} side by side."""

        def run(sentence: str, function: Callable[[], object]) -> None:
            with contextlib.suppress(Stopped), self.subtest(sentence):
                function()

        threads = [threading.Thread(target=run, args=item) for item in subtests.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def boot_host(self, **options: Any) -> BootHost:
        return BootHost(self.tools, self.logs, **options)

    def gateway(
        self,
        image: Path,
        firmware: str = "bios",
        medium: str = "cd",
        clock: str | None = None,
        network: Network | None = None,
    ) -> Gateway:
        """A machine that is powered on inside the `with` block."""
        self._machines += 1
        name = f"console-{self._machines}-{firmware}-{medium}"
        machine = Gateway(image, firmware, medium, self.logs, name, clock)
        if network:
            machine.network = network.wire
        return machine

    # --- The two checks ---

    def boots(
        self,
        image: Path,
        firmware: str = "bios",
        medium: str = "cd",
        gateway: str = "lab-1",
        generation: int = 1,
        clock: str | None = None,
    ) -> float:
        """The image boots to userspace, which has this name and this generation."""
        with self.gateway(image, firmware, medium, clock) as machine:
            return booted_as(machine, gateway, generation)

    def boots_and_says(
        self, image: Path, pattern: str, gateway: str = "lab-1", generation: int = 1
    ) -> re.Match[str]:
        """The same, and then the system says `pattern` and powers off by itself; the match."""
        with self.gateway(image) as machine:
            booted_as(machine, gateway, generation)
            # Wait until the end, because the system may print it in its last moment.
            machine.wait_until_off()
            found = machine.console.search(pattern)
            assert found, f"it never says {pattern!r}:\n{machine.console.tail()}"
            return found

    def boots_and_acknowledges(
        self, image: Path, gateway: str = "lab-1", generation: int = 1, word: str = "yes"
    ) -> None:
        """The same with the word about the acknowledgement: "yes", or "no" and why."""
        said = self.boots_and_says(image, ACKNOWLEDGED, gateway, generation)[1]
        assert said.startswith(word), f"acknowledged: {said}, not {word}"

    def does_not_boot(
        self,
        host: BootHost,
        image: Path,
        firmware: str = "bios",
        medium: str = "cd",
        logged: str | None = None,
        shown: str = REFUSED,
        clock: str | None = None,
    ) -> None:
        """The gateway is refused: iPXE shows it, the host's log says it, and no asset was sent.

        `shown` is what the console must show, `logged` what the log must say after power-on.
        """
        log_start = host.log.end()
        access_start = host.access.end() if host.access else 0
        with self.gateway(image, firmware, medium, clock) as machine:
            # A medium that does not even start must not count as refused.
            machine.wait_for(r"iPXE.*Open Source Network Boot Firmware")
            machine.wait_for(f"{shown}|Linux version")
            if logged:
                host.log.wait_for(logged, timeout=10, start=log_start)
            found = machine.console.search(f"{BOOTED}|Linux version")
            assert not found, "it boots all the same"
        for log, start in ((host.log, log_start), (host.access, access_start)):
            if log is None:
                continue
            found = log.search(r"vmlinuz|initrd\.img|/g/[0-9]", start)
            assert not found, f"the host sent something of a generation:\n{log.tail()}"


def booted_as(machine: Gateway, gateway: str, generation: int, timeout: float = 180) -> float:
    """Waits until the machine booted as this gateway with this generation; the seconds."""
    name, number, seconds = machine.wait_until_booted(timeout)
    assert (name, number) == (gateway, str(generation)), (
        f"the booted system is gateway {name}, generation {number}, "
        f"not gateway {gateway}, generation {generation}"
    )
    return seconds
