"""Start the dashboard and a real Chromium, for the browser tests and `make screenshots`."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, FloatRect, Locator, Page, expect, sync_playwright

ROOT = Path(__file__).parents[2]
START_SECONDS = 600
STOP_SECONDS = 10
PATIENCE = 60_000
"""Milliseconds that a step in the browser may take: generous, so that a busy machine fails no test."""
ARGUMENTS = (  # nothing may leave this machine, and a container has little shared memory
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
)


IDLE = "[data-testid=stApp][data-test-script-state=notRunning]"


def go_to(page: Page, name: str, title: str | None = None) -> None:
    """Follow a link of the side bar, as a person does, and wait for the page's title (by default the link's name)."""
    unfold = page.get_by_test_id("stExpandSidebarButton")
    if unfold.is_visible():  # on a phone the side bar is folded away
        unfold.click()
    page.get_by_test_id("stSidebarNavLink").filter(has_text=name).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(title or name)


def part(page: Page, key: str) -> Locator:
    """Return the element with a key; while one is being replaced, the one that comes."""
    return page.locator(f".st-key-{key}[data-stale=false]:not([data-retained])")


def choose(page: Page, label: str, option: str) -> None:
    """Choose from a menu with the mouse. Scrolling would close its list, so that is done and over before."""
    menu = page.get_by_role("combobox", name=label, exact=True)
    menu.scroll_into_view_if_needed()
    settle(page)
    menu.click()
    page.get_by_role("option", name=option, exact=True).click()


def standing(page: Page, element: Locator) -> FloatRect:
    """Return where an element is on the screen, in pixels, once it is in sight and nothing moves: to click inside."""
    element.scroll_into_view_if_needed()
    settle(page)
    box = element.bounding_box()
    assert box is not None
    return box


def settle(page: Page) -> None:
    """Wait until the script has run and its charts and images are drawn."""
    page.wait_for_load_state("networkidle")
    page.get_by_role("heading", level=1).first.wait_for()
    page.wait_for_selector(IDLE)
    page.evaluate(
        "Promise.all([...document.images].map(image => image.complete || new Promise(drawn => {"
        " image.addEventListener('load', drawn); image.addEventListener('error', drawn); })))"
    )
    page.evaluate("document.fonts.ready")
    page.wait_for_timeout(1000)  # Plotly fades its marks in


def chromium_path() -> str | None:
    """Return the browser to drive: $DERMLENS_BROWSER, else the first Chromium on the PATH, else None."""
    names = (os.environ.get("DERMLENS_BROWSER", ""), "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)


@contextmanager
def chromium(path: str) -> Iterator[Browser]:
    """Yield a headless browser that reaches this machine only."""
    as_root = ("--no-sandbox",) if os.geteuid() == 0 else ()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, timeout=1000 * START_SECONDS, args=[*ARGUMENTS, *as_root]
        )
        try:
            yield browser
        finally:
            browser.close()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serve(log: Path, settings: Mapping[str, str] | None = None, port: int | None = None) -> Iterator[str]:
    """Run the dashboard and yield its address.

    Args:
        log: file that receives what the server prints.
        settings: environment variables on top of this process's own, e.g. {"DERMLENS_MODELS": ...}.
        port: to serve on, by default a free one.
    """
    port = port or free_port()
    command = [sys.executable, "-m", "streamlit", "run", "Home.py", "--server.port", str(port)]
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "DERMLENS_STATE": str(log.with_suffix(".state")), **(settings or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_healthy(server, port, log)
            yield f"http://localhost:{port}"
        finally:
            _stop(server)


def _stop(server: subprocess.Popen) -> None:
    server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _wait_until_healthy(server: subprocess.Popen, port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    raise RuntimeError(f"The dashboard did not start within {START_SECONDS} s; it printed:\n{log.read_text()}")
