"""Photograph every page in both themes with one synthetic case loaded: `python -m tests.browser.screenshots`.

Everything goes to docs/screenshots/, which git ignores, and the top of the pages in FRONT to docs/, for the README.
"""

import re
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Browser, Page

from tests.browser.app import PATIENCE, ROOT, chromium, chromium_path, serve, settle

OUTPUT = ROOT / "docs" / "screenshots"
WIDTH, HEIGHT = 1280, 800
EXAMPLE = "two-toned"
FRONT = {
    ("predict", "light"): 1010,
    ("compare", "dark"): 1000,
    ("metrics", "light"): 1100,
    ("about_data", "dark"): 1000,
}
"""Page and theme -> how many pixels from the top."""


def photograph(page: Page, path: Path) -> None:
    """Save the whole page; Streamlit scrolls inside the window, so the window is made as tall as the content."""
    content = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": WIDTH, "height": max(HEIGHT, content)})
    settle(page)
    page.screenshot(path=path)
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})


def photograph_all(browser: Browser, address: str, theme: str) -> list[Path]:
    """Load a case, then walk through the pages by the links in the side bar, as a person does."""
    context = browser.new_context(color_scheme=theme, viewport={"width": WIDTH, "height": HEIGHT})  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(f"{address}/predict")
    settle(page)
    example = page.locator(f".st-key-example-{EXAMPLE} button")
    if example.count():  # without a model the page offers none
        example.click()
        page.get_by_role("button", name="New case").wait_for()
        settle(page)
    paths = []
    for link in page.get_by_test_id("stSidebarNavLink").all():
        target = str(link.get_attribute("href"))
        link.click()
        page.wait_for_url(re.compile(re.escape(target.rstrip("/")) + r"/?(\?.*)?$"))
        settle(page)
        stem = target.removeprefix(address).strip("/") or "home"
        paths.append(OUTPUT / f"{stem}-{theme}.png")
        photograph(page, paths[-1])
        if (stem, theme) in FRONT:
            top = np.array(cv2.imread(str(paths[-1])))[: FRONT[stem, theme]]
            cv2.imwrite(str(OUTPUT.parent / f"{stem}.png"), top, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    context.close()
    return paths


def main() -> int:
    """Fill docs/screenshots/ and print the paths."""
    path = chromium_path()
    if path is None:
        print("No Chromium found: `make browser` installs it.", file=sys.stderr)
        return 1
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder) / "log") as address, chromium(path) as browser:
        for theme in ("light", "dark"):
            print(*photograph_all(browser, address, theme), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
