"""A headless Chromium, driven by its DevTools protocol through two pipes.

The protocol's messages are JSON, each ended by a zero byte. Nothing but Python's own library and
Debian's package `chromium` is needed.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

PATIENCE = 60.0

# Seen in the log of a page and not its fault.
HARMLESS = ("net::ERR_INCOMPLETE_CHUNKED_ENCODING",)


class Failure(Exception):
    """Something that the browser or a page did not do."""


def find() -> str | None:
    """Debian's Chromium, or the one that FARMGATE_CHROMIUM names."""
    return os.environ.get("FARMGATE_CHROMIUM") or shutil.which("chromium")


class Chromium:
    """One browser with one page."""

    def __init__(self, program: str) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="farmgate-page-"))
        to_browser, self.ours = os.pipe()
        self.theirs, from_browser = os.pipe()
        # The browser reads from descriptor 3 and writes to 4.
        script = f'exec 3<&{to_browser} 4>&{from_browser} "$@"'
        arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-extensions",
            "--hide-scrollbars",
            "--force-color-profile=srgb",
            "--remote-debugging-pipe",
            f"--user-data-dir={self.home}",
            "about:blank",
        ]
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", script, "chromium", program, *arguments],
            pass_fds=(to_browser, from_browser),
            env={**os.environ, "HOME": str(self.home)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self.number = 0
        self.buffer = b""
        self.session: str | None = None
        self.events: list[dict[str, Any]] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> "Chromium":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Calls a method and returns its result."""
        self.number += 1
        number = self.number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self.session and not method.startswith("Target."):
            message["sessionId"] = self.session
        os.write(self.ours, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self._receive(deadline)
            if answer is None:
                raise Failure(f"the browser did not answer {method}")
            if answer.get("id") == number:
                if "error" in answer:
                    raise Failure(f"{method}: {answer['error'].get('message')}")
                result: dict[str, Any] = answer["result"]
                return result
            if "method" in answer:
                self.events.append(answer)

    def _receive(self, deadline: float) -> dict[str, Any] | None:
        while b"\0" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.theirs], [], [], left)[0]:
                return None
            piece = os.read(self.theirs, 1 << 20)
            if not piece:
                raise Failure("the browser ended")
            self.buffer += piece
        first, self.buffer = self.buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(first)
        return message

    def look(self, width: int, height: int, scheme: str) -> None:
        """Sets the size of the window, and light or dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def scripts(self, on: bool) -> None:
        """Whether pages may run scripts."""
        self.call("Emulation.setScriptExecutionDisabled", value=not on)

    def open(self, address: str) -> None:
        """Loads a page and waits until it is there."""
        self.call("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, expression: str) -> Any:
        """The value of an expression in the page; promises are awaited."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            text = details.get("exception", {}).get("description") or details["text"]
            raise Failure(f"{expression[:80]}: {text}")
        return result["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Waits until an expression is true."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if self.run(expression):
                    return
            except Failure as error:
                # The page is just being exchanged.
                if "context" not in str(error):
                    raise
            if time.monotonic() > deadline:
                text = self.run("document.body.innerText")
                raise Failure(f"never true: {expression}; the page says:\n{text}")
            time.sleep(0.05)

    def complaints(self) -> list[str]:
        """What the browser complained about since the last time: errors, violations of the policy."""
        self.run("0")
        found = []
        for event in self.events:
            parameters = event["params"]
            if event["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
                found.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
            elif event["method"] == "Runtime.exceptionThrown":
                details = parameters["exceptionDetails"]
                found.append(str(details.get("exception", {}).get("description", details["text"])))
            elif event["method"] == "Runtime.consoleAPICalled" and parameters["type"] in (
                "error",
                "warning",
            ):
                found.append(str([one.get("value") for one in parameters["args"]]))
        self.events = []
        return [text for text in found if not any(harmless in text for harmless in HARMLESS)]

    def picture(self, file: Path, height: int | None = None) -> None:
        """Writes a picture of the window, or of this height of the page, as PNG."""
        options: dict[str, Any] = {"format": "png", "captureBeyondViewport": True}
        if height:
            width = self.run("innerWidth")
            options["clip"] = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        data = self.call("Page.captureScreenshot", **options)["data"]
        file.write_bytes(base64.b64decode(data))
