"""Sign-in by OpenID Connect, with a provider on this machine: who is not signed in sees no page."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from joserfc.jwk import RSAKey
from playwright.sync_api import Browser, Page, expect

from tests.browser.app import ROOT, free_port, serve
from tests.browser.provider import CLIENT, SECRET, Provider, provide
from tests.visitor import Visitor

PAGES = [("" if p.stem == "home" else p.stem) for p in sorted((ROOT / "pages").glob("*.py")) if p.stem != "record"]


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with provide() as running:
        yield running


@pytest.fixture(scope="module")
def closed(provider: Provider, pair: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A dashboard with sign-in; returns its address."""
    folder, port = tmp_path_factory.mktemp("signin"), free_port()
    secrets = folder / "secrets.toml"
    secrets.write_text(
        "[auth]\n"
        f'redirect_uri = "http://localhost:{port}/oauth2callback"\n'
        f'cookie_secret = "{"only for this test " * 3}"\n'
        f'client_id = "{CLIENT}"\n'
        f'client_secret = "{SECRET}"\n'
        f'server_metadata_url = "{provider.address}/.well-known/openid-configuration"\n'
    )
    settings = {"DERMLENS_MODELS": str(pair), "STREAMLIT_SECRETS_FILES": str(secrets)}
    with serve(folder / "log", settings, port) as address:
        yield address


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a browser that has never been here."""
    context = browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


def sign_in(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Continue as Ada").click()


def expect_closed(page: Page) -> None:
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    expect(page.get_by_role("heading")).to_have_text(["Dermlens"])
    expect(page.get_by_test_id("stSidebarNavLink")).to_have_count(0)
    words = page.get_by_test_id("stMain").inner_text().split()
    assert words == ["Dermlens", "login", "Sign", "in"], "the second is the icon's name in its font"


@pytest.mark.parametrize("name", PAGES)
def test_a_deep_link_shows_nothing_but_the_button(page: Page, closed: str, name: str) -> None:
    page.goto(f"{closed}/{name}?split=test&image=0123456789ab")
    expect_closed(page)


@pytest.mark.parametrize("name", PAGES)
def test_nothing_else_is_sent_either(closed: str, name: str) -> None:
    with Visitor(closed, name) as visitor:
        assert [str(e.WhichOneof("type")) for e in visitor.elements.values()] == ["html", "heading", "button"]
        assert visitor.text() == "Dermlens"
        assert not visitor.media


def test_after_signing_in_the_pages_open_until_signing_out(page: Page, closed: str, provider: Provider) -> None:
    sign_in(page, closed)
    expect(page.get_by_text("Signed in as ada@example.org")).to_be_visible()
    expect(page.get_by_test_id("stSidebarNavLink")).to_have_count(len(PAGES))
    page.goto(f"{closed}/metrics?split=validation")
    expect(page.get_by_role("heading", level=1)).to_have_text("Metrics")
    page.get_by_role("button", name="Sign out").click()
    expect_closed(page)
    assert "/logout" in provider.asked, "the provider's own session is ended too"
    page.goto(f"{closed}/metrics?split=validation")
    expect_closed(page)


def test_a_token_signed_by_somebody_else_opens_nothing(page: Page, closed: str, provider: Provider) -> None:
    provider.signing = RSAKey.generate_key(2048, {"kid": "1"})
    try:
        sign_in(page, closed)
        expect_closed(page)
    finally:
        provider.signing = provider.published


def test_a_changed_cookie_opens_nothing(page: Page, closed: str) -> None:
    sign_in(page, closed)
    expect(page.get_by_text("Signed in as")).to_be_visible()
    (cookie,) = [c for c in page.context.cookies() if c["name"] == "_streamlit_user"]
    assert cookie["httpOnly"]
    page.context.add_cookies([{**cookie, "value": cookie["value"][:-2] + "xx"}])
    page.goto(closed)
    expect_closed(page)
