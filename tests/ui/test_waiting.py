from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dermlens.case.image import CaseImage
from dermlens.errors import ImageError
from dermlens.server.limiter import Limiter
from dermlens.server.shares import VISITS, Shares, Who
from tests.conftest import encode
from tests.dashboard import check, open_page, text
from ui import state, waiting


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Limiter:
    line = Limiter(at_once=1, waiting=0)
    monkeypatch.setattr("ui.state.IMAGES", line)
    return line


@pytest.fixture
def app(pair: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("DERMLENS_MODELS", str(pair))
    return open_page("predict")


def upload(app: AppTest, *pictures: np.ndarray) -> AppTest:
    app.file_uploader[0].set_value([(f"{i}.png", encode(p), "image/png") for i, p in enumerate(pictures)])
    return check(app.run())


def warnings(app: AppTest) -> str:
    return "\n".join(str(warning.value) for warning in app.warning)


def press(app: AppTest, label: str) -> AppTest:
    next(b for b in app.button if b.label == label).click()
    return check(app.run())


def test_where_the_line_is_full_the_upload_is_kept_and_can_be_tried_again(
    app: AppTest, line: Limiter, lesion: np.ndarray
) -> None:
    with line.turn():
        upload(app, lesion, np.ascontiguousarray(lesion[::-1]))
        assert "The server is busy" in warnings(app)
        press(app, "Try again")
        assert "The server is busy" in warnings(app)
        assert "in this case" not in text(app)
    press(app, "Try again")
    assert "The server is busy" not in warnings(app)
    assert "2 images in this case" in text(app)
    assert line.length() == (0, 0)


def test_every_image_takes_a_turn_of_its_own_and_a_bad_one_gives_it_back(
    app: AppTest, line: Limiter, lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths, real = [], state.examine

    def examine(data: bytes, name: str, *args: object, **options: object) -> CaseImage:
        lengths.append(line.length())
        if name == "1.png":
            raise ImageError("Not an image.")
        return real(data, name, *args, **options)

    monkeypatch.setattr("ui.state.examine", examine)
    upload(app, lesion, lesion, np.ascontiguousarray(lesion[::-1]))
    assert lengths == [(1, 0)] * 3
    assert line.length() == (0, 0)
    assert "Not an image" in app.error[0].value
    assert "2 images in this case" in text(app)


def test_a_run_that_is_stopped_half_way_leaves_the_image_to_the_next_one(
    app: AppTest, lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamlit.runtime.scriptrunner_utils.exceptions import StopException

    real = state.select
    stops = [StopException()]

    def select(key: str) -> None:
        if stops:
            raise stops.pop()
        real(key)

    monkeypatch.setattr("ui.state.select", select)
    upload(app, lesion)
    assert "in this case" not in text(app)
    check(app.run())
    assert "One image in this case" in text(app)


@pytest.fixture
def visit(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The session of every AppTest, as a server would know it."""
    session = "test session id"
    VISITS.begin(Who(session))
    yield session
    VISITS.end(session)


def shares(monkeypatch: pytest.MonkeyPatch, kind: str, total: int, session: int) -> Shares:
    found = Shares(total, session, session, session)
    monkeypatch.setattr(VISITS, kind, found)
    return found


def test_a_session_cannot_hand_in_more_than_its_share(
    app: AppTest, visit: str, lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = shares(monkeypatch, "files", 10**9, len(encode(lesion)) + 10)
    upload(app, lesion, lesion)
    assert "uploaded at once" in app.error[0].value
    assert "One image in this case" in text(app)
    assert files.held() == 0, "what was examined is not held any more"


def test_all_sessions_together_hand_in_no_more_than_the_server_may(
    app: AppTest, visit: str, line: Limiter, lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = shares(monkeypatch, "files", 10**6, 10**6)
    assert files.take(Who("other"), 400_000) is None
    assert files.take(Who("another"), 300_000) is None
    large = np.random.default_rng(0).integers(0, 256, (250, 250, 3), np.uint8)
    upload(app, large)
    assert "The server cannot hold any more files" in app.error[0].value
    files.end("other")
    with line.turn():
        upload(app, large)
        assert files.held(visit) == len(encode(large)), "it waits, and its file is kept"
    press(app, "Try again")
    assert "One image in this case" in text(app)
    assert files.held(visit) == 0


def test_all_sessions_together_keep_no_more_than_the_server_may_and_a_new_case_gives_back(
    app: AppTest, visit: str, lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = state.KEPT_AT_MOST
    kept = shares(monkeypatch, "kept", 3 * most, 2 * most)
    assert kept.take(Who("other"), most + most // 2) is None
    upload(app, lesion)
    assert "cannot hold any more images" in warnings(app)
    kept.end("other")
    press(app, "Try again")
    assert "One image in this case" in text(app)
    assert kept.held(visit) == lesion.nbytes
    assert VISITS.who(visit).answered
    upload(app, lesion)
    assert kept.held(visit) == lesion.nbytes, "the same image once more"
    press(app, "New case")
    assert kept.held(visit) == 0


def test_a_case_is_full_when_a_session_keeps_its_share(
    app: AppTest, visit: str, lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares(monkeypatch, "kept", 10**9, state.KEPT_AT_MOST + lesion.nbytes // 2)
    upload(app, lesion, np.ascontiguousarray(lesion[::-1]))
    assert "The case is full" in app.error[0].value
    assert "One image in this case" in text(app)


def test_the_bar_says_how_many_are_before() -> None:
    told: list[tuple[float, str]] = []

    class Bar:
        def progress(self, share: float, sentence: str) -> None:
            told.append((share, sentence))
            first.close()  # who was before leaves, once this one has been told

    line = Limiter(1, 1)
    first = ExitStack()
    first.enter_context(line.turn())
    with waiting.turn(line, Bar(), 0.25):
        assert line.length() == (1, 0)
    assert told == [(0.25, "Waiting: one other is ahead of you")]
    assert waiting.sentence(3) == "Waiting: 3 others are ahead of you"
