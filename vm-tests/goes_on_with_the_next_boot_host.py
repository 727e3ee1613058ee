"""If one of two boot hosts is gone, a gateway boots from the other, and gets its secrets and acknowledges there."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.host import BootHost
from common.process import pause
from common.scenario import Scenario

TEMPLATE = "FARMGATE_PROOF=${gateway}-in-$generation\n"


def scenario(t: Scenario) -> None:
    with t.boot_host(name="first") as first:
        first.share_store(first.scratch / "store")
        with t.boot_host(name="second", first=first) as second:
            first.name_on_media(second)
            image = first.image("lab-1")
            first.publish("lab-1", first.folder("system", "acknowledge.ipxe", network=True))
            with second.serving():
                two_hosts(t, first, second, image)


def two_hosts(t: Scenario, first: BootHost, second: BootHost, image: Path) -> None:
    with first.serving():
        with t.subtest("what is published on one host comes to the other"):
            wait_until(lambda: next_generation(second) == 1, "the second host has no generation")
        with t.subtest("a gateway boots from the first host of its list"):
            t.boots_and_acknowledges(image)
            assert first.log.search("acknowledged") and not second.log.search("acknowledged")

    with t.subtest("with the first host gone, it boots from the second, and acknowledges there"):
        t.boots_and_acknowledges(image)
        assert second.log.search("acknowledged"), second.log.tail()

    with t.subtest("what is published meanwhile on the second, with secrets, is booted from there"):
        folder = second.folder("with", "secrets.ipxe", files={"secrets": TEMPLATE})
        second.publish("lab-1", folder)
        pattern = r"(?s)^SECRETS-URL=(\S*?)=$.*^FARMGATE-SECRETS (mode=\S* proof=\S*)$"
        said = t.boots_and_says(image, pattern, generation=2)
        assert said[1].startswith(f"{second.url}/secrets/"), said[1]
        assert re.fullmatch(r"mode=600 proof=lab-1-in-2", said[2]), said[2]

    with first.serving(), t.subtest("the first host comes back, and hears of all of it"):
        wait_until(lambda: generations(first) == generations(second), "the hosts do not agree")
        rows = {row["generation"]: row for row in generations(first)["generations"]}
        assert (rows[1]["boots"], rows[1]["good"]) == (2, True), rows
        assert (rows[2]["boots"], rows[2]["good"]) == (1, False), rows


def generations(host: BootHost) -> Any:
    return json.loads(host.farmgate("--json", "generations", "lab-1"))


def next_generation(host: BootHost) -> int | None:
    done = host.run("--json", "generations", "lab-1")
    following = json.loads(done.stdout)["next"] if done.returncode == 0 else None
    return following and following["generation"]


def wait_until(test: Callable[[], bool], otherwise: str, timeout: int = 60) -> None:
    for _ in range(timeout * 4):
        if test():
            return
        pause(0.25)
    assert test(), otherwise
