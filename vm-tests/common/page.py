"""Runs a page of the documentation: its shell blocks as they are written, in one shell, top to bottom.

What a page consists of:

    ```sh             commands; each must succeed, and they share one shell in a fresh directory
    ```text           what the commands before it print; `...` stands for anything in a line, or for
                      any lines
    <!-- given:       shell lines that the reader does not see: what the page takes for granted
    <!-- then:        the same, to look at what came of it
    <!-- status: 1 -->     the next block's last command ends with this status
    <!-- not run: why -->  the next block is not run

Blocks of other languages are only read. The fresh directory is also the home directory, and has the
sources in `farmgate`; the program is in PATH.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import textwrap
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .process import Failure
from .process import pause

ROOT = Path(__file__).resolve().parent.parent.parent

_BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^(?P=indent)```$"
    r"|^ *<!-- (?P<marker>[a-z -]+):\s*(?P<value>.*?)\s*-->$",
    re.MULTILINE | re.DOTALL,
)
_MARKERS = ("given", "then", "status", "not run")
# What a page may take from the environment that the tests run in.
_KEPT = ("CARGO_HOME", "RUSTUP_HOME", "USER", "LOGNAME", "TERM")


@dataclass
class Block:
    """Commands, and what the page says of them."""

    line: int
    commands: str
    status: int = 0
    hidden: bool = False
    output: str | None = None


def blocks(page: Path) -> list[Block]:
    """What is to be run of a page; a Failure when its markers make no sense."""
    text, found = page.read_text(), []
    status, skipped, last_skipped = 0, False, False
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        place = f"{page.name}:{line}"
        marker, value = match["marker"], match["value"]
        if marker is not None:
            if marker not in _MARKERS or not value:
                raise Failure(f"{place}: no such marker: {match[0][:60]}")
            if marker == "status":
                status = int(value)
            elif marker == "not run":
                skipped = True
            else:
                found.append(Block(line, value + "\n", hidden=True))
        elif match["language"] == "sh":
            if not skipped:
                found.append(Block(line, textwrap.dedent(match["body"]), status))
            status, last_skipped, skipped = 0, skipped, False
        elif match["language"] == "text" and not last_skipped:
            if not found or found[-1].hidden or found[-1].output is not None:
                raise Failure(f"{place}: an output without commands before it")
            found[-1].output = textwrap.dedent(match["body"])
        elif skipped or status:
            raise Failure(f"{place}: a marker must stand before commands")
    if not any(block for block in found if not block.hidden):
        raise Failure(f"{page.name}: nothing in it can be run")
    return found


def shows(output: str, printed: str) -> bool:
    """Whether a page may show this output for what was printed.

    Lines follow each other as they do there, but for a line of `...`, which stands for any lines. Within
    a line `...` stands for anything. Spaces count as one, and empty lines not at all.
    """
    said = [line for line in printed.splitlines() if line.strip()]
    groups: list[list[re.Pattern[str]]] = [[]]
    for line in output.splitlines():
        if line.strip() == "...":
            groups.append([])
        elif line.strip():
            groups[-1].append(_of_line(line))
    at = 0
    for index, group in enumerate(groups):
        first, last = index == 0, index == len(groups) - 1
        end = len(said) - len(group)
        starts = [at] if first else [end] if last and group else range(at, end + 1)
        at = next((s for s in starts if s >= at and _fits(group, said[s:])), -1)
        if at < 0:
            return False
        at += len(group)
    return not groups[-1] or at == len(said)


def _of_line(line: str) -> re.Pattern[str]:
    words = ([re.escape(word) for word in part.split()] for part in line.split("..."))
    return re.compile(r"\s*" + r"\s*.*?\s*".join(r"\s+".join(part) for part in words) + r"\s*")


def _fits(group: list[re.Pattern[str]], said: list[str]) -> bool:
    return len(said) >= len(group) and all(
        wanted.fullmatch(line) for wanted, line in zip(group, said, strict=False)
    )


def run(page: Path, farmgate: Path, logs: Path, environment: Mapping[str, str]) -> None:
    """Runs a page; a Failure names the block that did not do what the page says."""
    parts = blocks(page)
    outputs = logs / page.stem
    shutil.rmtree(outputs, ignore_errors=True)
    outputs.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="farmgate-page-") as fresh:
        Path(fresh, "farmgate").symlink_to(ROOT)
        script = outputs / "page.sh"
        script.write_text(_script(parts, outputs))
        own = {name: os.environ[name] for name in _KEPT if name in os.environ}
        path = f"{farmgate.parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
        home = {"HOME": fresh, "PATH": path, "LANG": "C.UTF-8"}
        process = subprocess.Popen(
            [*_alone(), "bash", str(script)],
            cwd=fresh,
            env={**own, **home, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(outputs / "shell.log").open("wb"),
            start_new_session=True,
        )
        try:
            _wait(process, page, parts, outputs)
        finally:
            _end(process)
    for number, block in enumerate(parts):
        _compare(page, block, (outputs / str(number)).read_text(errors="replace"))


def _script(parts: list[Block], outputs: Path) -> str:
    """All blocks in one script. Each writes into a file of its own, and ends the script if it fails."""
    lines = ["set -o pipefail"]
    for number, block in enumerate(parts):
        lines.append(f"exec >'{outputs}/{number}' 2>&1; set -e")
        if block.status:
            lines += ["set +e", block.commands]
            lines.append(f"[ $? = {block.status} ] || {{ echo 'another status'; exit 99; }}")
        else:
            lines.append(block.commands)
    lines.append(f": >'{outputs}/done'")
    return "\n".join(lines) + "\n"


def _alone() -> list[str]:
    """A network of its own, where this may be had: then no port is taken, and nothing leaves."""
    if os.geteuid() != 0:
        return []
    return ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"]


def _wait(
    process: subprocess.Popen[bytes],
    page: Path,
    parts: list[Block],
    outputs: Path,
    timeout: float = 600,
) -> None:
    deadline = time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < deadline:
        pause(0.1)
    if (outputs / "done").exists():
        return
    number = max((int(path.name) for path in outputs.iterdir() if path.name.isdigit()), default=0)
    what = "fails" if process.returncode is not None else f"takes more than {timeout:.0f} s"
    said = (outputs / str(number)).read_text(errors="replace") if number < len(parts) else ""
    said += (outputs / "shell.log").read_text(errors="replace")
    last = "\n".join(f"    | {line}" for line in said.splitlines()[-25:])
    raise Failure(f"{page.name}:{parts[number].line}: this block {what}:\n{last}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends all that the page started: it is one session."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        time.sleep(0.5)
    process.wait()


def _compare(page: Path, block: Block, printed: str) -> None:
    if block.output is None:
        return
    # A console's escapes are no part of what the reader sees.
    printed = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed).replace("\r", "")
    if not shows(block.output, printed):
        raise Failure(
            f"{page.name}:{block.line}: the page shows\n{block.output}\nbut this is printed:\n{printed[-3000:]}"
        )
