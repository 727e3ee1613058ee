"""After three boots without an acknowledgement, a gateway goes back to the last generation that had one.

Each boot is a separate power-on; the booted system powers off when it is done.
"""

import json
from pathlib import Path

from common.host import BootHost
from common.scenario import Scenario

TRIES = 3


def scenario(t: Scenario) -> None:
    with t.boot_host() as host:
        image = host.image("lab-1")
        good = host.folder("good", "acknowledge.ipxe", network=True)
        with host.serving():
            host.publish("lab-1", good)
            with t.subtest("generation 1 boots, acknowledges, and is good"):
                t.boots_and_acknowledges(image, generation=1)
                expect(host, {1: (1, True)}, gets=1)

            host.publish("lab-1", mute(host, good))
            with t.subtest(f"generation 2, which never acknowledges, is booted {TRIES} times"):
                for tries in range(1, TRIES + 1):
                    t.boots_and_acknowledges(image, generation=2, word="no: this initramfs has no")
                    expect(host, {1: (1, True), 2: (tries, False)}, gets=2 if tries < TRIES else 1)

            with t.subtest("`status` and `generations` say which one comes next, and why"):
                why = "generation 1: generation 2 is bad"
                for command in ("status", "generations"):
                    shown = host.farmgate(command, "lab-1")
                    assert f"the next boot gets {why}" in shown, shown
                assert f"{TRIES} boots, none acknowledged" in host.farmgate("status"), (
                    host.farmgate("status")
                )

            with t.subtest("then generation 1 boots again, and acknowledges"):
                t.boots_and_acknowledges(image, generation=1)
                assert host.log.search("generation 2 is bad"), (
                    f"no word in the log:\n{host.log.tail()}"
                )

            host.publish("lab-1", good)
            with t.subtest("generation 3, which acknowledges, is booted once"):
                t.boots_and_acknowledges(image, generation=3)
                expect(host, {2: (TRIES, False), 3: (1, True)}, gets=3)

            with t.subtest("generation 3 stays, however often it is booted"):
                for _ in range(TRIES):
                    status, answer = host.curl("/boot/ipxe", identity=host.identity("lab-1"))
                    assert status == 302 and "/g/3/" in answer, answer
                t.boots_and_acknowledges(image, generation=3)
                expect(host, {3: (TRIES + 2, True)}, gets=3)


def mute(host: BootHost, good: Path) -> Path:
    """A folder like `good`, but with an initramfs without a network, which never acknowledges."""
    folder = host.folder("mute", "acknowledge.ipxe")
    lines = (good / "boot.ipxe").read_text().splitlines(keepends=True)
    left = [line for line in lines if " network.img" not in line and " ca.crt" not in line]
    assert len(left) == len(lines) - 2
    (folder / "boot.ipxe").write_text("".join(left))
    return folder


def expect(host: BootHost, boots: dict[int, tuple[int, bool]], gets: int) -> None:
    """`farmgate generations` tells these {generation: (boots, good)}, and what the next boot gets."""
    shown = json.loads(host.farmgate("--json", "generations", "lab-1"))
    rows = {row["generation"]: (row["boots"], row["good"]) for row in shown["generations"]}
    for generation, wanted in boots.items():
        assert rows[generation] == wanted, f"generation {generation}: {rows[generation]}"
    assert shown["next"]["generation"] == gets, shown["next"]
