"""What a second click does that comes while the page is still being drawn."""

from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from streamlit.testing.v1 import AppTest

from tests.dashboard import check
from ui.record import offer, session


def test_an_image_is_saved_once_however_often_the_button_is_clicked(monkeypatch: pytest.MonkeyPatch) -> None:
    def page() -> None:
        from types import SimpleNamespace

        from ui.record import offer

        for _ in range(2):
            offer._begin(SimpleNamespace(key="image", stored_aspect="as-is"), None, None)

    begun: list[object] = []

    def submit(what: Callable, saving: object, person: object) -> Future:
        begun.append(saving)
        done: Future = Future()
        done.set_result(None)
        return done

    saving = SimpleNamespace(image={"pixels_sha256": "0"})
    monkeypatch.setattr(offer, "prepare", lambda *about: saving)
    monkeypatch.setattr(session, "_savers", lambda: SimpleNamespace(submit=submit))
    check(AppTest.from_function(page).run(timeout=60))
    assert begun == [saving]
