"""A made fleet for the tests of the status page: gateways in every condition, without a wait.

The events and journals are written as farmgate writes them, with times of the past.
"""

import hashlib
import json
import os
import subprocess
import uuid
from collections.abc import Iterable
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from pathlib import Path
from typing import Any

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

SCRIPT = """#!ipxe
kernel vmlinuz console=ttyS0 b2c.container=registry.example/runner:{tag}
initrd initrd.img
boot
"""


class Fleet:
    """A state directory with gateways."""

    def __init__(self, farmgate: Path, state: Path) -> None:
        self.farmgate, self.state = farmgate, state
        self.now = datetime.now(UTC)
        # For ids of the same millisecond.
        self.last: dict[str, int] = {}
        self.run("init", "--url", "https://127.0.0.1:8443", "--ntp", "none", "--key-type", "p256")

    def run(self, *arguments: str) -> str:
        """Runs a command of farmgate that has to succeed."""
        command = [str(self.farmgate), "--state", str(self.state), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{arguments}: {done.stderr}")
        return done.stdout

    def listen(self, port: int) -> None:
        """Opens the admin listener."""
        path = self.state / "farmgate.toml"
        before, _ = path.read_text().split("[listen]")
        path.write_text(f'{before}[listen]\nadmin = "127.0.0.1:{port}"\n')

    def blob(self, content: bytes) -> dict[str, Any]:
        """Stores a file."""
        digest = hashlib.sha256(content).hexdigest()
        path = self.state / "store/blobs" / digest[:2] / digest
        path.parent.mkdir(mode=0o711, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o644)
        return {"sha256": digest, "size": len(content)}

    def gateway(self, name: str, *more: str, days: int | None = None) -> "Gateway":
        """Adds a gateway; `more` are arguments of `gateway set`."""
        validity = ["--days", str(days)] if days else []
        self.run("gateway", "add", name, *validity)
        if more:
            self.run("gateway", "set", name, *more)
        return Gateway(self, name)


class Gateway:
    """A gateway, and what happened to it."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self.fleet, self.name = fleet, name
        record = json.loads((fleet.state / "gateways" / name / "gateway.json").read_text())
        self.id: str = record["id"]
        self.home = fleet.state / "store/gateways" / self.id
        self.generations: list[str] = []

    def event(self, at: datetime, kind: str, **more: Any) -> str:
        """Writes an event; returns its id."""
        millis = max(int(at.timestamp() * 1000), self.fleet.last.get(self.id, 0) + 1)
        self.fleet.last[self.id] = millis
        random = int.from_bytes(os.urandom(10), "big")
        value = (millis << 80) | (7 << 76) | (((random >> 64) & 0xFFF) << 64)
        value |= (2 << 62) | (random & ((1 << 62) - 1))
        name = str(uuid.UUID(int=value))
        self.home.mkdir(mode=0o700, exist_ok=True)
        event = {"format": 1, "at": stamp(at), "kind": kind, **more}
        path = self.home / f"{name}.json"
        path.write_text(json.dumps(event))
        path.chmod(0o600)
        return name

    def publish(self, ago: timedelta, tag: str, message: str | None = None) -> None:
        """Publishes and activates a generation."""
        at = self.fleet.now - ago
        by = {"author": "ada@boothost", **({"message": message} if message else {})}
        files = {
            "boot.ipxe": self.fleet.blob(SCRIPT.format(tag=tag).encode()),
            "vmlinuz": self.fleet.blob(b"kernel" * 4000),
            "initrd.img": self.fleet.blob(b"initrd" * 20000),
        }
        number = len(self.generations) + 1
        published = self.event(at, "published", number=number, files=files, by=by)
        self.generations.append(published)
        self.event(at, "activated", generation=published, by=by)

    def boot(
        self,
        ago: timedelta,
        generation: int = 0,
        acknowledged: bool = True,
        upto: str = "system",
        slow: float = 1.0,
    ) -> None:
        """A boot of a generation (0: the latest), as far as `upto`: script, kernel or system."""
        at = self.fleet.now - ago
        number = generation or len(self.generations)
        boot = self.event(at, "booted", generation=self.generations[number - 1])
        lines: list[tuple[float, dict[str, Any]]] = [
            (
                0.0,
                {
                    "stage": "boot",
                    "generation": number,
                    "reason": "good",
                    "mac": "52:54:00:12:34:56",
                    "platform": "efi",
                    "ipxe": "1.21.1+git",
                },
            ),
            (0.4, file("boot.ipxe", 300, 300, 12)),
        ]
        if upto == "kernel":
            lines.append((2.1 * slow, file("vmlinuz", 24000, 14800, 1600)))
        elif upto == "system":
            lines += [
                (2.0 * slow, file("vmlinuz", 24000, 24000, int(1500 * slow))),
                (6.5 * slow, file("initrd.img", 120_000, 120_000, int(4300 * slow))),
            ]
        if acknowledged:
            self.event(at + timedelta(seconds=15 * slow), "acknowledged", boot=boot)
            lines += [(11.0 * slow, {"stage": "secrets"}), (15.0 * slow, {"stage": "acknowledged"})]
        self.journal(at, boot, lines)

    def journal(
        self, at: datetime, boot: str, lines: Iterable[tuple[float, dict[str, Any]]]
    ) -> None:
        """Writes lines of the flight recorder."""
        with (self.home / "journal.jsonl").open("a") as out:
            for seconds, stage in lines:
                when = stamp(at + timedelta(seconds=seconds))
                out.write(
                    json.dumps({"at": when, "boot": boot, "address": "192.0.2.17", **stage}) + "\n"
                )


def file(path: str, size: int, sent: int, millis: int) -> dict[str, Any]:
    """A line about a file that was sent."""
    return {"stage": "file", "path": path, "size": size, "bytes": sent, "millis": millis}


def stamp(at: datetime) -> str:
    """A time as farmgate writes it."""
    return at.isoformat().replace("+00:00", "Z")


def conditions(fleet: Fleet) -> None:
    """A dozen gateways, each in another condition."""
    for number, (group, slow) in enumerate([("berlin", 1.0), ("berlin", 1.2), ("lyon", 0.8)], 1):
        fine = fleet.gateway(f"lab-{number}", "--group", group, "--label", f"rack={number}")
        fine.publish(40 * DAY, "2026.1", "first")
        fine.publish(6 * DAY, "2026.2", "runner 2026.2")
        for boot in range(5):
            fine.boot((5 - boot) * 20 * HOUR + number * HOUR, slow=slow)
    fine = fleet.gateway("lab-10", "--group", "lyon")
    fine.publish(9 * DAY, "2026.2")
    fine.boot(8 * DAY)
    fine.boot(3 * HOUR, slow=1.4)
    pinned = fleet.gateway("attic-1", "--group", "home", "--label", "owner=grace")
    pinned.publish(30 * DAY, "2026.1")
    pinned.publish(20 * DAY, "2026.2")
    pinned.event(
        fleet.now - 19 * DAY,
        "pinned",
        generation=pinned.generations[0],
        by={"author": "grace@boothost"},
    )
    pinned.boot(2 * DAY, generation=1)
    stuck = fleet.gateway("attic-2", "--group", "home", "--label", "owner=linus")
    stuck.publish(30 * DAY, "2026.1")
    stuck.publish(2 * DAY, "2026.2", "runner 2026.2")
    stuck.boot(29 * DAY, generation=1)
    stuck.boot(7 * DAY, generation=1)
    stuck.boot(47 * HOUR)
    stuck.boot(2 * HOUR, acknowledged=False, upto="kernel")
    fell = fleet.gateway("farm-1", "--group", "berlin")
    fell.publish(30 * DAY, "2026.1")
    fell.boot(20 * DAY)
    fell.publish(DAY, "2026.3-rc1", "try the new runner")
    for boot in range(3):
        fell.boot((9 - boot) * HOUR, acknowledged=False)
    fell.boot(5 * HOUR, generation=1)
    broken = fleet.gateway("farm-2", "--group", "berlin")
    broken.publish(3 * DAY, "2026.2")
    for boot in range(3):
        broken.boot((30 - boot) * HOUR, acknowledged=False, upto="script")
    soon = fleet.gateway("farm-3", "--group", "lyon", days=21)
    soon.publish(20 * DAY, "2026.2")
    soon.boot(11 * HOUR)
    trial = fleet.gateway("farm-4", "--group", "lyon")
    trial.publish(20 * DAY, "2026.1")
    trial.boot(19 * DAY)
    trial.publish(2 * HOUR, "2026.2")
    booting = fleet.gateway("desk-1", "--group", "home")
    booting.publish(20 * DAY, "2026.1")
    booting.boot(10 * DAY)
    booting.boot(MINUTE, acknowledged=False)
    stolen = fleet.gateway("desk-2", "--group", "home")
    stolen.publish(20 * DAY, "2026.1")
    stolen.boot(15 * DAY)
    fleet.run("gateway", "revoke", "desk-2")
    fleet.gateway("desk-3", "--group", "home")
