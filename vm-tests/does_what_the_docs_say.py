"""The tutorial and the how-to pages do what they say: their commands run as written, and print what is shown.

`common/page.py` says how a page is written.
"""

import os
from pathlib import Path

from common import page
from common.process import Failure
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
    with t.subtest("a page that says what is not so is found"):
        finds_what_is_wrong(t, environment)
    for path in [path for path in pages() if only in path.stem]:
        with t.subtest(f"{path.relative_to(page.ROOT)} does what it says"), turn():
            page.run(path, t.tools.farmgate.resolve(), t.logs, environment)


def pages() -> list[Path]:
    return [DOCS / "tutorial.md", *sorted((DOCS / "how-to").glob("*.md"))]


# Pages of which each says one thing that is not so, and what is to be told of it.
WRONG = {
    "```sh\nfalse\n```": "this block fails",
    "```sh\nfalse | true\n```": "this block fails",
    "<!-- status: 2 -->\n```sh\nfalse\n```": "this block fails",
    "```sh\necho one; echo two\n```\n```text\none\n```": "is printed",
    "```sh\necho one; echo two\n```\n```text\ntwo\none\n```": "is printed",
    "```sh\necho one\n```\n```text\no...x\n```": "is printed",
    "```sh\ntrue\n```\n<!-- then:\nfalse\n-->": "this block fails",
    "```text\none\n```\n": "without commands",
    "<!-- not-run: because -->\n```sh\ntrue\n```": "no such marker",
    "<!-- skip: because -->\n```sh\ntrue\n```": "no such marker",
    "<!-- not run: because -->\n```sh\nfalse\n```": "nothing in it can be run",
}
RIGHT = """
<!-- given:
one=1
-->
1. First

   ```sh
   cd .; printf '%s\\n' $one two  three
   ```
   ```text
   1
   ...
   t...ee
   ```

<!-- status: 1 -->
```sh
false
```
<!-- not run: it fails -->
```sh
false
```
<!-- then:
[ $one = 1 ]
-->
"""


def finds_what_is_wrong(t: Scenario, environment: dict[str, str]) -> None:
    here = t.logs / "made-up.md"
    for text, why in WRONG.items():
        here.write_text(text)
        try:
            page.run(here, t.tools.farmgate.resolve(), t.logs, environment)
        except Failure as failure:
            assert why in str(failure), f"{text}\n{failure}"
        else:
            raise AssertionError(f"nothing is found in\n{text}")
    here.write_text(RIGHT)
    page.run(here, t.tools.farmgate.resolve(), t.logs, environment)
