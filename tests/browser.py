"""A real browser for tests of pages: what it saw go wrong is part of the test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOY = ROOT / "tests" / "toy.py"
CHROMIUM = Path("/usr/bin/chromium")
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Chromium's own remarks about drawing without a graphics card, and those of Panel's list of choices
IGNORED = ("GL Driver Message", "allowHTML will default to false")
LONGEST = 120  # seconds that a busy machine may take
tokens = {}
"""Of the servers, by their ports."""


def launching():
    """Say how the system's Chromium is launched; skip without it, or fail where it has to be."""
    if not CHROMIUM.exists():
        if os.environ.get("GANDASK_REQUIRE_BROWSER") == "1":
            pytest.fail(f"{CHROMIUM} is missing")
        pytest.skip(f"needs {CHROMIUM}")
    return {"executable_path": CHROMIUM, "args": SWITCHES, "timeout": 60_000}


def apart(coroutine):
    """Run a coroutine in a thread: a browser leaves a loop running in this one, Playwright's."""
    with ThreadPoolExecutor() as thread:
        return thread.submit(asyncio.run, coroutine).result()


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def served(runs, *options, command=("panel", "serve", str(ROOT / "dashboards")), imported=TOY):
    """Serve the pages of a folder of runs, as a user would; give the address of the server."""
    port = free_port()
    arguments = [*command, "--port", str(port), *options]
    state = Path(tempfile.mkdtemp())
    environment = os.environ | {"GANDASK_RUNS": str(runs), "GANDASK_IMPORT": str(imported)}
    environment["XDG_STATE_HOME"] = str(state)
    server = subprocess.Popen(
        [sys.executable, "-m", *arguments], env=environment, cwd=runs,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    address = f"http://localhost:{port}"
    try:
        until = time.monotonic() + 60
        while True:
            assert server.poll() is None, server.stdout.read().decode()
            assert time.monotonic() < until, "the server did not start"
            with contextlib.suppress(OSError), urllib.request.urlopen(address):
                break
            time.sleep(0.1)
        for file in state.rglob("*.html"):
            tokens[port] = re.findall(r"token=(.+)", file.read_text())[-1]
        yield address
    finally:
        tokens.pop(port, None)
        server.terminate()
        server.communicate(timeout=60)


class Tab:
    """A page in a context of its own, with everything that went wrong in it."""

    def __init__(self, new_context, width=1366, height=768, **options):
        viewport = {"width": width, "height": height}
        self.page = new_context(viewport=viewport, **options).new_page()
        self.page.set_default_timeout(1000 * LONGEST)
        self.wrong = []
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error.stack}"))
        self.page.on("console", self._said)
        self.page.on("request", self._asked)
        self.page.on("dialog", lambda dialog: (self.wrong.append("dialog"), dialog.dismiss()))

    def _said(self, message):
        known = any(remark in message.text for remark in IGNORED)
        if message.type in ("error", "warning") and not known:
            self.wrong.append(f"{message.type}: {message.text}")

    def _asked(self, request):
        host = request.url.split("/")[2].split(":")[0] if "://" in request.url else ""
        if host not in ("", "localhost", "127.0.0.1"):
            self.wrong.append(f"request: {request.url}")

    def open(self, address):
        """Open an address as it is told: with the token of its server."""
        token = tokens.get(urllib.parse.urlsplit(address).port)
        if token is None:
            self.page.goto(address)
            return self
        self.page.goto(f"{address}{'&' if '?' in address else '?'}token={token}")
        self.page.wait_for_url(lambda url: "token=" not in url)
        return self

    def wait(self, expression):
        """Wait for a JavaScript expression to be true."""
        self.page.wait_for_function(expression)

    def text(self):
        """Everything that can be read on the page, with what is in shadow roots."""
        return self.page.evaluate(TEXT)

    def see(self, words):
        """Wait until words can be read on the page."""
        self.page.wait_for_function(f"words => ({TEXT}).includes(words)", arg=words)


TEXT = """
(() => {
  const read = (node) => node.nodeType === 3 ? node.data
    : ["STYLE", "SCRIPT"].includes(node.tagName) ? ""
    : (node.shadowRoot ? [...node.shadowRoot.childNodes].map(read).join(" ") : "")
      + [...node.childNodes].map(read).join(" ")
  return read(document.body).replace(/\\s+/g, " ")
})()
"""
