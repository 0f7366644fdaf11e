"""What was signed out stays out until it would have expired, also after a restart."""

import logging
from pathlib import Path

import pytest

from ui.access.sign_outs import SignOuts


def test_an_ended_sign_in_stays_ended_until_it_would_have_expired_and_after_a_restart(tmp_path: Path) -> None:
    now, file = [1000.0], tmp_path / "state" / "signed-out.json"
    one = SignOuts(file, lambda: now[0])
    one.add(b"Ada", 1100.0)
    again = SignOuts(file, lambda: now[0])
    for ended in (one, again):
        assert b"Ada" in ended
        assert b"Bob" not in ended
    now[0] = 1100.0
    assert b"Ada" not in one
    one.add(b"Bob", 1200.0)
    assert "Ada" not in file.read_text()
    assert len(one._until) == 1, "what has expired is not kept"


def test_the_file_tells_nothing_of_the_person(tmp_path: Path) -> None:
    file = tmp_path / "signed-out.json"
    SignOuts(file, lambda: 0.0).add(b'{"email": "ada@example.org"}', 1.0)
    assert "ada" not in file.read_text()


@pytest.mark.parametrize("content", [b"[1]", b"{", b'{"a": "b"}', b"\xff"])
def test_a_damaged_file_stops_nothing_and_is_told(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "signed-out.json"
    file.write_bytes(content)
    with caplog.at_level(logging.ERROR):
        ended = SignOuts(file, lambda: 0.0)
    assert "cannot be read" in caplog.text
    ended.add(b"Ada", 1.0)
    assert b"Ada" in SignOuts(file, lambda: 0.0)


def test_where_nothing_can_be_written_it_counts_until_the_server_stops(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file, no folder")
    ended = SignOuts(tmp_path / "state" / "signed-out.json", lambda: 0.0)
    ended.add(b"Ada", 1.0)
    assert b"Ada" in ended
    assert "only until the server stops" in caplog.text
