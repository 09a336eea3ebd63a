"""A real browser without a window: what a page is in it, what it asked for and what it complained
of; and a server that remembers each request."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")
MISSING = [
    name
    for name, found in (
        ("selenium", find_spec("selenium")),
        ("chromium", CHROMIUM),
        ("chromedriver", CHROMEDRIVER),
    )
    if not found
]
needs_browser = pytest.mark.skipif(
    bool(MISSING), reason=f"no {' and no '.join(MISSING)} here: see `make test-browser`"
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


class Site:
    """A server of a directory; `requests` are the paths that were asked for."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.requests = directory, list[str]()
        site = self

        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments, directory=str(site.directory))

            def do_GET(self) -> None:
                site.requests.append(self.path)
                super().do_GET()

            def end_headers(self) -> None:
                self.send_header("Cache-Control", "no-store")
                super().end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                """Nothing on stderr."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"


@contextmanager
def serve(directory: Path) -> Iterator[Site]:
    """A server of a directory, for as long as the context is open."""
    site = Site(directory)
    thread = Thread(target=site.server.serve_forever, args=(0.01,))
    thread.start()
    yield site
    site.server.shutdown()
    thread.join()
    site.server.server_close()


class Browser:
    """Chromium with one tab, whose window and media are what `show` was given last."""

    def __init__(self, profile: Path) -> None:
        from selenium.webdriver import Chrome, ChromeOptions, ChromeService

        options = ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        options.unhandled_prompt_behavior = "ignore"
        self.driver = Chrome(options=options, service=ChromeService(CHROMEDRIVER))
        self._checks = ""

    def load(self, checks: Path) -> None:
        """Take the functions of `run` from a file of one JavaScript object."""
        self._checks = checks.read_text("utf-8")

    def show(
        self,
        url: str,
        *,
        width: int = 1280,
        scheme: str = "light",
        media: str = "",
        policy: bool = True,
    ) -> None:
        """Open a page; without `policy` its Content-Security-Policy is not heeded."""
        self.events(), self.complaints()
        self.cdp("Page.setBypassCSP", enabled=not policy)
        self.resize(width)
        self.emulate(scheme, media)
        self.driver.get(url)

    def resize(self, width: int) -> None:
        """Make the window as wide as so many CSS pixels."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.cdp("Emulation.setDeviceMetricsOverride", **size)

    def emulate(self, scheme: str = "light", media: str = "") -> None:
        """Prefer a light or a dark page without motion, on paper if the media is `print`."""
        wanted = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in wanted.items()]
        self.cdp("Emulation.setEmulatedMedia", media=media, features=features)

    def cdp(self, command: str, **arguments: Any) -> dict[str, Any]:
        """A command of the DevTools protocol."""
        answer: dict[str, Any] = self.driver.execute_cdp_cmd(command, arguments)
        return answer

    def js(self, text: str, *arguments: Any) -> Any:
        """What some JavaScript returns; no policy of the page is in its way."""
        return self.driver.execute_script(text, *arguments)

    def run(self, check: str, *arguments: Any) -> Any:
        """What a function of the loaded file returns."""
        return self.js(f"return ({self._checks}).{check}(...arguments)", *arguments)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """What happened in the tab since the last call: the protocol's names and parameters."""
        found = (json.loads(entry["message"])["message"] for entry in self._log("performance"))
        return [(event["method"], event["params"]) for event in found]

    def complaints(self) -> list[str]:
        """What was written to the console since the last call."""
        return [entry["message"] for entry in self._log("browser")]

    def pdf(self) -> bytes:
        """The page as it is printed."""
        return base64.b64decode(self.cdp("Page.printToPDF", printBackground=True)["data"])

    def _log(self, name: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.driver.get_log(name)  # type: ignore[no-untyped-call]
        return entries


@contextmanager
def started(profile: Path) -> Iterator[Browser]:
    """A browser with an empty profile, for as long as the context is open."""
    browser = Browser(profile)
    try:
        yield browser
    finally:
        browser.driver.quit()
