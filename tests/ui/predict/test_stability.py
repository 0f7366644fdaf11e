from concurrent.futures import Future
from pathlib import Path

import pytest
import streamlit
from streamlit.testing.v1 import AppTest

from dermlens.case import stability
from dermlens.case.image import CaseImage
from dermlens.case.stability import Stability
from dermlens.errors import ModelError
from dermlens.models.model import Model
from tests.dashboard import check, text

WAITING = "Asking again"


def page() -> None:
    import streamlit as st

    from dermlens.case.image import examine
    from dermlens.case.opinion import form
    from dermlens.image.examples import EXAMPLES, png
    from ui import cache, state
    from ui.predict import stability

    models, _ = cache.models()
    if "own" not in st.session_state:
        st.session_state["own"] = examine(png(EXAMPLES[1]), "a.png", models)
    st.slider("Opacity", 0, 100, key="opacity")
    st.button("New case", on_click=state.new_case)
    st.text("The diagnosis")
    image = st.session_state["own"]
    opinion = form(models, image.answers)
    stability.section(image, opinion)
    stability.start(image, opinion)


@pytest.fixture
def app(pair: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("DERMLENS_MODELS", str(pair))
    return AppTest.from_function(page, default_timeout=60)


def futures(app: AppTest) -> dict[tuple[str, str], Future[Stability]]:
    return app.session_state["case_probes"]


def wait(app: AppTest) -> None:
    """Wait for the probes that were begun: their one thread is shared by all tests."""
    for future in futures(app).values():
        future.exception(timeout=60)


def ready(app: AppTest) -> AppTest:
    check(app.run())
    wait(app)
    return check(app.run())


def test_the_page_is_drawn_before_the_probe_begins(app: AppTest) -> None:
    check(app.run())
    assert WAITING in text(app)
    assert "The diagnosis" in text(app)
    assert [model_id for _, model_id in futures(app)] == ["toy", "toy2"]
    wait(app)


def test_the_result_is_that_of_the_probe_and_comes_once(app: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(model: Model, *rest: object) -> Stability:
        asked.append(model.id)
        return original(model, *rest)

    original = stability.probe
    monkeypatch.setattr(stability, "probe", counted)
    ready(app)
    image: CaseImage = app.session_state["own"]
    shown = text(app).replace("\\", "")
    for (key, _), future in futures(app).items():
        assert key == image.key
        assert stability.sentence(future.result(), f"Toy {future.result().model_id}") in shown
    assert WAITING not in shown
    table = app.dataframe[0].value
    found = futures(app)[image.key, "toy"]
    assert set(table["copy"]) >= {look.name for look in found.result().looks}
    app.slider(key="opacity").set_value(40)
    check(app.run())
    assert sorted(asked) == ["toy", "toy2"], "another option asks no model again"


def test_every_copy_is_shown_without_scrolling(app: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(streamlit, "dataframe", lambda table, **options: drawn.append((table, options)))
    ready(app)
    ((table, options),) = drawn
    assert len(table) > 10, "more than st.dataframe shows by itself"
    assert options["height"] == "content"


def test_a_new_case_forgets_the_results(app: AppTest) -> None:
    ready(app)
    before = futures(app)
    app.button[0].click()
    check(app.run())
    assert futures(app) is not before
    assert WAITING in text(app)
    wait(app)


def test_a_probe_that_fails_is_named_and_the_other_shown(app: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: Model, *rest: object) -> Stability:
        if model.id == "toy":
            raise ModelError("broken")
        return original(model, *rest)

    original = stability.probe
    monkeypatch.setattr(stability, "probe", fail)
    ready(app)
    shown = text(app)
    assert "Toy toy could not be asked again" in shown
    assert "Toy toy2 calls" in shown
