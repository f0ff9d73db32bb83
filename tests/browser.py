"""What Chromium makes of a page: its requests, complaints and pictures.

The browser is driven by its own protocol through a pair of pipes (JSON, each message closed by a
zero byte), so that neither a library nor a port is needed.
"""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

CHROMIUM = shutil.which("chromium")
TIMEOUT = 180  # seconds, on cores that have much else to do
_PICTURES = """
Promise.all([...document.images].map(image => image.decode().catch(() => 0)))
    .then(() => [...document.images].map(image => [image.alt, image.naturalWidth]))
"""


class Seen(NamedTuple):
    """Addresses asked for beside the page's own, messages of the console, and pictures.

    Attributes:
        requests: all addresses, those of ``data:`` cut to their kind.
        complaints: errors and warnings of console, network and security policy, and exceptions.
        pictures: alternative text and natural width in pixels, 0 for what cannot be shown.
        screenshot: of the whole page, if asked for.
        width: of all that is on the page, in pixels: more than the window's where it overflows.
    """

    requests: list[str]
    complaints: list[str]
    pictures: list[tuple[str, int]]
    screenshot: Image.Image | None
    width: int


class Browser:
    """A headless Chromium, which looks at one page after the other.

    Args:
        profile: an empty folder for it.
    """

    def __init__(self, profile: Path) -> None:
        self._begin()
        self._number = 0
        self._read = b""
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()

        def hand_over() -> None:  # Chromium reads from descriptor 3 and writes to 4
            pipes = [fcntl.fcntl(pipe, fcntl.F_DUPFD, 10) for pipe in (commands, answers)]
            for place, pipe in enumerate(pipes, start=3):
                os.dup2(pipe, place)

        assert CHROMIUM is not None
        self._process = subprocess.Popen(
            [
                *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
                *("--remote-debugging-pipe", "--host-resolver-rules=MAP * ~NOTFOUND"),
                *("--disable-dev-shm-usage", "--window-size=1100,800"),
                *(f"--user-data-dir={profile}", "about:blank"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=hand_over,
        )
        os.close(commands)
        os.close(answers)

    def look_at(self, page: Path, width: int = 1100, screenshot: bool = False) -> Seen:
        """Open a file in a window of ``width`` pixels, which shares nothing with those before."""
        self._begin()
        context = self._ask("Target.createBrowserContext")["browserContextId"]
        target = self._ask("Target.createTarget", url="about:blank", browserContextId=context)
        attached = self._ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Network", "Log", "Runtime", "Page"):
            self._ask(f"{domain}.enable")
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", **size)
        self._ask("Page.navigate", url=page.resolve().as_uri())
        self._wait_for("Page.loadEventFired")
        pictures, content = (
            self._ask(
                "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
            )["result"]["value"]
            for expression in (_PICTURES, "document.documentElement.scrollWidth")
        )
        shot = None
        if screenshot:
            data = self._ask("Page.captureScreenshot", captureBeyondViewport=True)["data"]
            shot = Image.open(io.BytesIO(base64.b64decode(data)))
        self._ask("Target.disposeBrowserContext", browserContextId=context)
        requests, complaints = [], []
        for event in self._events:
            name, params = event["method"], event["params"]
            if name == "Network.requestWillBeSent":
                requests.append(params["request"]["url"].partition(",")[0])
            elif name == "Log.entryAdded":
                complaints.append(params["entry"]["text"])
            elif name in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
                complaints.append(json.dumps(params))
        return Seen(
            [url for url in requests if url != page.resolve().as_uri()],
            complaints,
            [(text, width) for text, width in pictures],
            shot,
            content,
        )

    def close(self) -> None:
        try:
            self._begin()
            self._ask("Browser.close")
            self._process.wait(timeout=20)
        except (OSError, EOFError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._commands)
        os.close(self._answers)

    def _begin(self) -> None:
        """Forget what the last page has told, and give the next one as much time."""
        self._events: list[dict[str, Any]] = []
        self._session = ""
        self._deadline = time.monotonic() + TIMEOUT

    def _ask(self, method: str, **params: Any) -> Any:
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": params}
        if self._session and not method.startswith(("Target.", "Browser.")):
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def _wait_for(self, event: str) -> None:
        while all(seen["method"] != event for seen in self._events):
            self._next()

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            left = self._deadline - time.monotonic()
            if left < 0 or not select.select([self._answers], [], [], left)[0]:
                raise TimeoutError(f"Chromium did not answer within {TIMEOUT} seconds")
            block = os.read(self._answers, 1 << 20)
            if not block:
                raise EOFError(f"Chromium ended with exit code {self._process.wait()}")
            self._read += block
        text, _, self._read = self._read.partition(b"\0")
        message = json.loads(text)
        if "method" in message and message.get("sessionId") == self._session:
            self._events.append(message)
        return message
