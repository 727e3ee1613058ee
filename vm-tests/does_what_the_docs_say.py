"""The tutorial and the how-to pages do what they say: their commands run as written, and print what is shown.

`common/page.py` says how a page is written.
"""

import os
from pathlib import Path

from common import page
from common.qemu import turn
from common.scenario import Scenario

DOCS = page.ROOT / "docs"


def scenario(t: Scenario) -> None:
    environment = {
        name: value for name, value in os.environ.items() if name.startswith("FARMGATE_")
    }
    for name in ("FARMGATE_STATE", "FARMGATE_CONFIG", "FARMGATE_PAGES"):
        environment.pop(name, None)
    cache = Path.home() / ".cache" / "farmgate"
    environment.setdefault("FARMGATE_CACHE", str(cache))
    environment["FARMGATE_BIN"] = str(t.tools.farmgate)
    only = os.environ.get("FARMGATE_PAGES", "")
    for path in [path for path in pages() if only in path.stem]:
        with t.subtest(f"{path.relative_to(page.ROOT)} does what it says"), turn():
            page.run(path, t.tools.farmgate.resolve(), t.logs, environment)


def pages() -> list[Path]:
    return [DOCS / "tutorial.md", *sorted((DOCS / "how-to").glob("*.md"))]
