import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.app import IDLE, ROOT, choose, go_to, part, serve, settle
from tests.browser.test_predict import upload
from ui.pages import PAGES


@pytest.fixture
def fresh_server(tmp_path: Path) -> Iterator[str]:
    """A dashboard that nobody has visited yet, with no model."""
    with serve(tmp_path / "log", {"DERMLENS_MODELS": str(tmp_path)}) as address:
        yield address


def test_a_deep_link_on_a_fresh_server_opens_its_page_within_the_app(browser: Browser, fresh_server: str) -> None:
    page = browser.new_page(reduced_motion="reduce")
    page.goto(f"{fresh_server}/metrics?split=validation")
    expect(page.get_by_test_id("stSidebarNavLink")).to_have_count(len(PAGES))
    expect(page.get_by_role("heading", level=1)).to_have_text("Metrics", ignore_case=True)
    expect(page).to_have_url(f"{fresh_server}/metrics?split=validation")
    page.close()


@contextmanager
def nothing_leaves(page: Page, address: str) -> Iterator[None]:
    """Fail if the page asks anything of another host, or tries what the server's security policy forbids."""
    asked: list[str] = []
    forbidden: list[str] = []
    page.context.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.on("console", lambda said: forbidden.append(said.text) if "Content Security Policy" in said.text else None)
    yield
    own = (f"{address}/", f"{address.replace('http', 'ws', 1)}/", "data:", f"blob:{address}/")
    assert any(url.startswith("ws:") for url in asked)
    assert [url for url in asked if not url.startswith(own)] == []
    assert forbidden == []


@pytest.mark.parametrize(
    "attempt",
    [
        "fetch('http://elsewhere.example').catch(() => 0)",
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.elsewhere = 1'}))",
    ],
    ids=["a request", "a script of nobody's"],
)
def test_an_attempt_is_noticed(page: Page, fresh_server: str, attempt: str) -> None:
    def try_it() -> None:
        with nothing_leaves(page, fresh_server):
            page.goto(fresh_server)
            page.wait_for_selector(IDLE)
            page.evaluate(attempt)
            page.wait_for_load_state("networkidle")

    with pytest.raises(AssertionError, match="elsewhere|Content Security Policy"):
        try_it()
    assert page.evaluate("window.elsewhere") is None


def test_no_page_asks_anything_of_another_host(page: Page, fresh_server: str) -> None:
    with nothing_leaves(page, fresh_server):
        for path in sorted((ROOT / "pages").glob("*.py")):
            page.goto(fresh_server if path.stem == "home" else f"{fresh_server}/{path.stem}")
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            page.wait_for_load_state("networkidle")


def test_a_case_and_all_that_is_shown_of_it_asks_nothing_of_another_host(
    page: Page, dashboard: str, lesion: np.ndarray
) -> None:
    with nothing_leaves(page, dashboard):
        page.goto(f"{dashboard}/predict")
        upload(page, lesion, np.ascontiguousarray(lesion[::-1]))
        expect(page.get_by_text("2 images in this case")).to_be_visible()
        choose(page, "Evidence for", "Melanoma (malignant)")
        expect(part(page, "heat")).to_contain_text("Melanoma")
        for expander in page.get_by_test_id("stExpander").all():
            expander.locator("summary").click()
            page.wait_for_selector(IDLE)
        expect(page.get_by_text("Copy by copy")).to_be_visible()  # worked out behind the page; then it is drawn anew
        page.locator(".st-key-report").get_by_role("button", name="Report").click()
        for button in ("Save the report", "Download plot", "Data (CSV)"):
            settle(page)
            with page.expect_download() as saved:
                page.get_by_role("button", name=re.compile(re.escape(button))).first.click()
            assert saved.value.failure() is None, button
        for name in ("Compare models", "Metrics", "Training curves", "About the data"):
            go_to(page, name)
            page.wait_for_selector(IDLE)
            for tab in page.get_by_role("tab").all():
                tab.click()
                page.wait_for_selector(IDLE)
            page.wait_for_load_state("networkidle")
