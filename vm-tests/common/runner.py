"""The parts that the runners of scenarios share: tools, the choice of scenarios, and the end of a run."""

from __future__ import annotations

import ast
import concurrent.futures
import contextlib
import importlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from typing import NoReturn

from . import process
from .report import Report
from .scenario import Scenario

ROOT = Path(__file__).resolve().parent.parent.parent
# Where cargo builds.
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def install(purpose: str) -> dict[str, str] | None:
    """The tools by the names of their variables; None when scripts/install-packages said why not."""
    installer = ROOT / "scripts" / "install-packages"
    done = subprocess.run([installer, purpose], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        return None
    named = (shlex.split(line)[1].partition("=") for line in done.stdout.splitlines())
    return {name: value for name, _, value in named}


def logs_of(kind: str) -> Path:
    """The folder of the logs of a run."""
    return Path(os.environ.get("FARMGATE_TEST_LOGS", ROOT / "target" / kind)).resolve()


def main(
    doc: str, scenarios: Iterable[Path], run_all: Callable[[list[Path], Path], dict[str, int]]
) -> int:
    """Runs the scenarios that the arguments choose. Whatever ends it, no process of theirs stays.

    `run_all` gets them and a folder for the time of the run, and returns their counts.
    """
    arguments = sys.argv[1:]
    if "-h" in arguments or "--help" in arguments:
        print(doc.strip())
        return 0
    patterns = [argument for argument in arguments if not argument.startswith("-")]
    chosen = [
        path
        for path in sorted(scenarios)
        if not patterns or any(part in path.stem for part in patterns)
    ]
    if "--list" in arguments:
        for path in chosen:
            print(f"{path.stem:36} {promise(path)}")
        return 0
    if not chosen:
        print(f"no scenario is called like {' or '.join(patterns)}", file=sys.stderr)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    with tempfile.TemporaryDirectory(prefix="farmgate-vm-") as scratch:
        try:
            counts = run_all(chosen, Path(scratch))
        except KeyboardInterrupt:
            process.stop_all()
            print("stopped", file=sys.stderr)
            return 130
        finally:
            process.stop_all()
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**counts))
    return 1 if counts["failed"] or not counts["passed"] else 0


def promise(path: Path) -> str:
    """The first line of a scenario's documentation."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "(no promise)").splitlines()[0]


def stop(*_: object) -> NoReturn:
    # Once is enough: the second signal must not disturb the cleaning up.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def side_by_side(workers: int, jobs: Iterable[Callable[[], object]]) -> None:
    """Runs the jobs on so many threads."""
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        waiting = [pool.submit(job) for job in jobs]
        try:
            for one in waiting:
                with contextlib.suppress(process.Stopped):
                    one.result()
        except BaseException:
            # The pool would wait for all that is still to come.
            process.stop_all()
            raise


def run_module(module: str, tools: Any, logs: Path, report: Report) -> None:
    """Runs a scenario that is a module: `boots`, or `agent.boots`."""
    name = module.rpartition(".")[2]
    where = logs / name
    shutil.rmtree(where, ignore_errors=True)
    scenario = Scenario(name, tools, where, report)
    try:
        importlib.import_module(module).scenario(scenario)
    except process.Stopped:
        pass
    except Exception as failure:  # noqa: BLE001 (the other scenarios still run)
        text = str(failure) if isinstance(failure, process.Failure) else traceback.format_exc()
        report(scenario, "the scenario can be prepared", "failed", 0, text)
