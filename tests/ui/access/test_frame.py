import time
from pathlib import Path

import pytest
import streamlit as st
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest

from tests.dashboard import HOME, check, text
from ui.access.sign_in import SIGNED_IN_HOURS
from ui.pages import PAGES

AUTH = {"auth": {"redirect_uri": "http://localhost:8501/oauth2callback", "cookie_secret": "x" * 40}}
LOST = "cannot know who may see its pages"


def home(user: dict | None = None, secrets: dict | None = None) -> AppTest:
    app = AppTest.from_file(str(HOME), default_timeout=60)
    if secrets is not None:
        app.secrets.update(secrets)
    if user is not None:
        app.user = user
    return check(app.run())


def person(hours_ago: float = 0.0, **more: object) -> dict:
    return {"is_logged_in": True, "iat": int(time.time() - 3600 * hours_ago), "email": "ada@example.org", **more}


def shows_a_page(app: AppTest) -> bool:
    return "seven diagnoses" in text(app) or len(app.get("page_link")) > 0


@pytest.fixture(autouse=True)
def as_on_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep AppTest from forgetting before every run what keep_pages_within_home() told the server."""
    real = PagesManager.__init__

    def knowing(self: PagesManager, *args: object, **options: object) -> None:
        PagesManager.uses_pages_directory = False
        real(self, *args, **options)

    monkeypatch.setattr(PagesManager, "__init__", knowing)


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path))


def test_where_no_sign_in_is_set_up_the_pages_are_shown_to_anyone() -> None:
    app = home()
    assert shows_a_page(app)
    assert not [b for b in app.button if b.label.startswith("Sign")]


@pytest.mark.parametrize(
    "user",
    [
        {"is_logged_in": False},
        {},
        {"email": "ada@example.org"},
        {"is_logged_in": "true", "iat": int(time.time())},
        {"is_logged_in": True},
        {"is_logged_in": True, "iat": "now"},
        person(hours_ago=SIGNED_IN_HOURS + 1),
    ],
    ids=["not signed in", "unknown", "only named", "a word", "since never", "since when?", "too long ago"],
)
def test_where_it_is_set_up_nothing_but_the_button_is_shown_to_who_is_not_signed_in(user: dict) -> None:
    app = home(user, AUTH)
    assert [b.label for b in app.button] == ["Sign in"]
    assert text(app).strip() == "Dermlens"
    assert not app.sidebar.children
    assert not shows_a_page(app)


@pytest.mark.parametrize("page", sorted(Path(page.path).stem for page in PAGES))
def test_no_page_is_shown_to_who_is_not_signed_in(page: str) -> None:
    app = home(person(), AUTH)
    app.switch_page(f"pages/{page}.py")
    assert "Sign in" not in [b.label for b in check(app.run()).button]
    seen = text(app)
    app.user = {"is_logged_in": False}
    assert [b.label for b in check(app.run()).button] == ["Sign in"]
    assert text(app).strip() == "Dermlens" != seen.strip()


def test_the_readme_says_how_long_a_sign_in_holds() -> None:
    assert f"A sign-in lasts {SIGNED_IN_HOURS} hours." in (HOME.parent / "README.md").read_text()


def test_who_is_signed_in_sees_the_page_and_can_sign_out() -> None:
    app = home(person(hours_ago=SIGNED_IN_HOURS - 1), AUTH)
    assert shows_a_page(app)
    assert "ada" in app.sidebar.caption[-1].value
    next(b for b in app.sidebar.button if b.label == "Sign out").click()
    app.run()
    assert [b.label for b in app.button] == ["Sign in"]
    assert not shows_a_page(app)


@pytest.mark.parametrize("content", [b"[auth\n", b"\xff\xfe", None], ids=["not TOML", "not UTF-8", "named but missing"])
def test_secrets_that_cannot_be_read_close_the_pages(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamlit.runtime.secrets import Secrets

    file = tmp_path / "secrets.toml"
    if content is not None:
        file.write_bytes(content)
    secrets = Secrets()
    monkeypatch.setattr(st, "secrets", secrets)
    before = st.get_option("secrets.files")
    st.config.set_option("secrets.files", [str(file)])
    try:
        app = home()
    finally:
        st.config.set_option("secrets.files", before)
    assert LOST in app.error[0].value
    assert not shows_a_page(app)
    assert not app.button
