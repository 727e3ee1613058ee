"""Prints results as they come."""

import threading
from pathlib import Path
from typing import Protocol

from .process import Log


class Told(Protocol):
    """A scenario that results are told of."""

    name: str
    logs: Path


class Report:
    """Prints each result, with the end of the logs of what failed, and counts."""

    def __init__(self) -> None:
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}
        self._lock = threading.Lock()

    def __call__(
        self, scenario: Told, sentence: str, outcome: str, seconds: float, text: str
    ) -> None:
        with self._lock:
            self.counts[outcome] += 1
            mark = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}[outcome]
            print(f"{mark} {seconds:6.1f} s  {scenario.name}: {sentence}", flush=True)
            if outcome == "skipped":
                print(f"       because {text}", flush=True)
            if outcome == "failed":
                for line in text.rstrip().splitlines():
                    print(f"       {line}")
                self._consoles(scenario)

    @staticmethod
    def _consoles(scenario: Told) -> None:
        print(f"       logs: {scenario.logs}")
        for kind in ("*farmgate.log", "*error.log", "*journal.log", "console*.log"):
            logs = sorted(scenario.logs.glob(kind), key=lambda path: path.stat().st_mtime)
            for log in logs[-1:]:
                print(f"       the end of {log.name}:")
                print(Log(log).tail(10), flush=True)
