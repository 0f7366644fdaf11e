from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.app import ROOT, serve


@pytest.fixture
def fresh_server(tmp_path: Path) -> Iterator[str]:
    """A dashboard that nobody has visited yet, with no model."""
    with serve(tmp_path / "log", {"DERMLENS_MODELS": str(tmp_path)}) as address:
        yield address


def test_a_deep_link_on_a_fresh_server_opens_its_page_within_the_app(browser: Browser, fresh_server: str) -> None:
    page = browser.new_page()
    page.goto(f"{fresh_server}/metrics?split=validation")
    expect(page.get_by_test_id("stSidebarNavLink")).to_have_count(len(list((ROOT / "pages").glob("*.py"))))
    expect(page.get_by_role("heading", level=1)).to_have_text("Metrics", ignore_case=True)
    expect(page).to_have_url(f"{fresh_server}/metrics?split=validation")
    page.close()


def test_no_page_asks_anything_of_another_host(browser: Browser, fresh_server: str) -> None:
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for path in sorted((ROOT / "pages").glob("*.py")):
        page.goto(fresh_server if path.stem == "home" else f"{fresh_server}/{path.stem}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.wait_for_load_state("networkidle")
    page.close()
    own = (fresh_server, fresh_server.replace("http", "ws"), "data:", "blob:")
    assert asked
    assert [url for url in asked if not url.startswith(own)] == []
