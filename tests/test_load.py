import os
import time
from pathlib import Path

import numpy as np
import pytest
import requests

from tests import load, load_programs
from tests.browser.app import serve
from tests.visitor import Visitor


def test_sessions_at_once_get_the_answers_of_one_alone_and_see_nothing_of_each_other(pair: Path) -> None:
    together, programs, leaving, log = load.run(full=False, models=pair)
    assert together["survived"] == together["tried"] == load.SMALL.sessions * load.SMALL.uploads
    assert "WRONG" not in together["note"]
    assert together["refused"] == 0
    assert programs["survived"] == programs["tried"] >= 2
    assert "WRONG" not in programs["note"]
    assert together["worst_memory_mb"] > 0
    assert leaving["lost"] == log["lost"] == 0, (leaving, log)


def test_programs_that_are_only_told_that_the_server_is_busy_count_and_are_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answer(status: int) -> requests.Response:
        found = requests.Response()
        found.status_code, found.headers["retry-after"], found._content = status, "0", b'{"models": []}'
        return found

    replies = iter([200, *[429] * 1000])
    monkeypatch.setattr(load_programs, "_ask", lambda address, image: answer(next(replies, 429)))
    with load_programs.asking("", [b"one"]) as asked:
        pass
    assert asked.refused >= load_programs.AT_ONCE
    row = load._row_of_programs(asked, [])
    assert row["refused"] == asked.refused
    assert row["tried"] == row["survived"] + row["lost"] == asked.refused + load_programs.AT_ONCE
    assert row["lost"] == load_programs.AT_ONCE
    assert "program 0 got no answer" in row["note"]


def test_a_browser_that_names_a_taken_file_once_more_breaks_nothing(pair: Path, tmp_path: Path) -> None:
    (name, data), (second, more) = load._files(0, load.SMALL)
    with serve(tmp_path / "log", {"DERMLENS_MODELS": str(pair)}) as address, Visitor(address, "predict") as visitor:
        taken = visitor.hand_over({name: data})
        visitor.run(**taken)
        assert any(kind == "plotly_chart" for kind, _ in visitor.answer())
        visitor.begin(also=[taken], id=visitor.find("button", label="New case").id, trigger_value=True)
        visitor.finish()
        shown = visitor.answer()
        assert "exception" not in {kind for kind, _ in shown}
        assert not any(kind == "plotly_chart" for kind, _ in shown), "the new case was not begun"
        visitor.upload({second: more})
        assert any(kind == "plotly_chart" for kind, _ in visitor.answer())
        assert name not in visitor.text()
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_mix_up_would_be_found() -> None:
    names = [name.encode() for name, _ in load._files(3, load.SMALL)]
    assert all(load._NAME.search(name).group(1) == b"3" for name in names)
    pictures = {data for number in range(3) for _, data in load._files(number, load.SMALL)}
    assert len(pictures) == 3 * load.SMALL.images
    assert load._KEY.findall(b"?image=0123456789ab&view=Overlay") == [b"0123456789ab"]


def test_the_processors_time_is_shared_out() -> None:
    from tests.load_hostile import _processors, _shares

    assert _shares(np.array([50.0, 10.0, 20.0, 100.0])) == (
        "the server had 50 %, the attackers had 10 %, the honest had 20 %; 20 % went elsewhere or to nobody"
    )
    before = _processors(os.getpid(), os.getpid())
    start = time.process_time()
    while time.process_time() - start < 0.3:
        pass
    server, attacker, own, whole = _processors(os.getpid(), os.getpid()) - before
    assert own >= 0.2
    assert server >= own - 0.01
    assert attacker == pytest.approx(own, abs=0.1)
    assert whole >= own - 0.01
