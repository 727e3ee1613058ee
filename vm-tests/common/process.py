"""Processes that the tests start, and the logs they write.

Every process is ended by the handle that started it, and never by name. Should the tests themselves
be killed, the kernel ends the processes (PR_SET_PDEATHSIG, set by setpriv of util-linux).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from .console import console_text

# A word of a command line.
Word = str | os.PathLike[str]

_live: set[Process] = set()
_lock = threading.Lock()
_stopping = threading.Event()


class Failure(Exception):
    """A promise that was not kept; the message says which and shows the evidence."""


class Stopped(Exception):
    """The whole run was told to stop."""


class Log:
    """A file that a process writes, read as plain text."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.path.touch()

    def text(self, start: int = 0) -> str:
        with self.path.open("rb") as file:
            file.seek(start)
            return console_text(file.read().decode("utf-8", "replace"))

    def end(self) -> int:
        """A position to pass as `start`, so that only what follows counts."""
        return self.path.stat().st_size

    def lines(self, start: int = 0) -> list[str]:
        return [line.rstrip() for line in self.text(start).split("\n") if line.strip()]

    def tail(self, count: int = 25) -> str:
        return "\n".join(f"    | {line}" for line in self.lines()[-count:])

    def search(self, pattern: str, start: int = 0) -> re.Match[str] | None:
        return re.search(pattern, self.text(start), re.MULTILINE)

    def wait_for(
        self, pattern: str, timeout: float, start: int = 0, process: Process | None = None
    ) -> re.Match[str]:
        """The first match of `pattern`; a Failure after `timeout` seconds or when `process` ends."""
        deadline = time.monotonic() + timeout
        while True:
            ended = process is not None and process.ended()
            found = self.search(pattern, start)
            if found:
                return found
            if process is not None and ended:
                raise Failure(f"{process.name} ended before {pattern!r} was seen:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise Failure(
                    f"no {pattern!r} within {timeout:.0f} s in {self.path}:\n{self.tail()}"
                )
            pause(0.1)


class Process:
    """A running program whose output goes to a log; a context manager that ends it."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[Word],
        log: Path,
        environment: dict[str, str] | None = None,
        nice: int | None = None,
    ) -> None:
        self.name = name
        self.log = Log(log)
        arguments = [str(argument) for argument in arguments]
        if nice is not None:
            arguments = ["nice", "-n", str(nice), *arguments]
        if shutil.which("setpriv"):
            arguments = ["setpriv", "--pdeathsig", "TERM", "--", *arguments]
        with _lock:
            if _stopping.is_set():
                raise Stopped
            with self.log.path.open("ab") as output:
                self._child = subprocess.Popen(
                    arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                )
            _live.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def ended(self) -> bool:
        return self._child.poll() is not None

    def terminate(self) -> None:
        """Asks the process to stop, and does not wait for it."""
        if not self.ended():
            self._child.terminate()

    @property
    def pid(self) -> int:
        return self._child.pid

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self._child.send_signal(signal.SIGINT)

    def wait(self, timeout: float) -> int:
        """The exit status; a Failure when the process still runs after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not self.ended():
            if time.monotonic() > deadline:
                raise Failure(f"{self.name} still runs after {timeout:.0f} s:\n{self.log.tail()}")
            pause(0.05)
        return self._child.returncode

    def stop(self, grace: float = 5) -> int:
        """Ends the process, by force if it does not react."""
        self.terminate()
        try:
            self._child.wait(grace)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        with _lock:
            _live.discard(self)
        return self._child.returncode


def pause(seconds: float) -> None:
    """Sleeps, unless the run was told to stop."""
    if _stopping.wait(seconds):
        raise Stopped


def stop_all() -> None:
    """Ends every process of this run; nothing can be started afterwards."""
    with _lock:
        _stopping.set()
        live = list(_live)
    for process in live:
        process.terminate()
    for process in live:
        process.stop(grace=3)
