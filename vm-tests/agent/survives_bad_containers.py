"""Containers that end at once, restart the machine or fill the memory, and clocks that are wrong."""

import contextlib
from collections.abc import Iterator
from typing import Any

from common.agent import FakeHost
from common.agent import Gateway
from common.agent import Image
from common.agent import profile
from common.agent import shell
from common.agent import tools_of
from common.scenario import Scenario

LIVES = "echo IN-CONTAINER; exec /bin/busybox sleep 1000"


def scenario(t: Scenario) -> None:
    tools = tools_of(t)

    @contextlib.contextmanager
    def boot(name: str, image: Image, **options: Any) -> Iterator[tuple[FakeHost, Gateway]]:
        wanted = profile(image, container=options.pop("container", {}))
        with FakeHost(t.logs / name, image) as host:
            with Gateway(tools, host, wanted, t.logs / f"{name}.log", **options) as machine:
                yield host, machine

    image = shell(tools.busybox, LIVES)
    for year in (1980, 2040):
        with t.subtest(f"a clock of {year} is set right by the boot host"):
            with boot(f"clock-{year}", image, clock=f"{year}-01-01T00:00:00") as (host, machine):
                step = host.wait_for("time")
                assert step["source"] == "boot-host", step
                assert (step["forward"] > 10**9) == (year == 1980), step
                host.wait_until_acknowledged()

    with t.subtest("a container that ends at once is started again, and is no success"):
        image = shell(tools.busybox, "echo IN-CONTAINER; exit 3")
        with boot("ends", image) as (host, machine):
            second = host.wait_for("trouble", count=2)
            assert "ended with status 3" in second["what"], second
            assert not host.acknowledged

    with t.subtest("a container that runs once and fails, fails the boot"):
        with boot("once", image, container={"restart": "never"}) as (host, machine):
            failed = host.wait_for("failed")
            assert "ended with status 3" in failed["what"], failed
            assert "farm| IN-CONTAINER" in failed["console"], failed["console"][-500:]
            machine.wait_until_it_restarts()
            assert not host.acknowledged

    with t.subtest("a container that restarts the machine restarts it"):
        image = shell(tools.busybox, "echo IN-CONTAINER; busybox reboot -f; busybox sleep 100")
        with boot("restarts", image, container={"privileged": True}) as (host, machine):
            machine.wait_for("container farm asked for a restart")
            machine.wait_until_it_restarts()

    with t.subtest("a container that fills the memory harms only itself"):
        eats = "echo IN-CONTAINER; x=0123456789; while :; do x=$x$x; done"
        with boot("eats", shell(tools.busybox, eats)) as (host, machine):
            trouble = host.wait_for("trouble", timeout=240)
            assert "ended with status" in trouble["what"], trouble
            host.wait_for("trouble", timeout=240, count=2)
            assert not machine.console.search("Kernel panic"), machine.console.tail()
