"""An upload whose sender has used up its part waits unread, not for ever, and is not called slow. The clock is the
test's own.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
from starlette.types import Message, Receive, Scope, Send

from dermlens.server.limits import LIMITS
from dermlens.server.shares import VISITS, Payer
from tests.conftest import finish
from ui.access import uploads
from ui.access.visitors import Visitor


class Line:
    """Says how often each upload must ask before it may go on, and what it was charged; asking takes ten seconds."""

    def __init__(self, times: float) -> None:
        self.times, self.now = times, 0.0
        self.asked, self.charges = 0, list[float]()

    def is_behind(self, visitor: Payer) -> bool:
        self.asked += 1
        behind = self.asked % (self.times + 1) != 0
        self.now += 10.0 * behind
        return behind

    def charge(self, visitor: Payer, seconds: float) -> None:
        self.charges.append(seconds)


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[Line, int, str]]]:
    """Returns what sends a body in pieces while its sender must ask so often; gives the line, status and sentence."""

    def sent(times: float, pieces: int, size: int, seconds: float = 0.0) -> tuple[Line, int, str]:
        line = Line(times)
        monkeypatch.setattr(uploads, "COMPUTING", line)
        monkeypatch.setattr(uploads, "time", SimpleNamespace(monotonic=lambda: line.now))
        monkeypatch.setattr(uploads, "LIMITS", replace(LIMITS, body_seconds=60.0, body_waits=45.0, body_pause=10.0))
        monkeypatch.setattr(uploads, "RETRY", 0.0)
        monkeypatch.setattr(uploads, "REFUSED_SECONDS", 0.0)
        left, said = pieces, list[Message]()

        async def receive() -> Message:
            nonlocal left
            left -= 1
            line.now += seconds
            return {"type": "http.request", "body": bytes(size), "more_body": left > 0}

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            while (await receive()).get("more_body"):
                pass
            await uploads.say(send, 204, "")

        async def note(message: Message) -> None:
            said.append(message)

        upload = uploads._Upload(Visitor(None, None, None, "192.0.2.1"), "sender", "file", receive)
        finish(upload.run(app, {"type": "http"}, note))
        return line, said[0]["status"], said[1]["body"].decode()

    yield sent
    VISITS.files.end("sender")


def test_who_has_used_up_its_part_waits_and_is_not_called_slow(send: Callable[..., tuple[Line, int, str]]) -> None:
    line, status, _ = send(4, 20, 2**19)
    assert status == 204
    assert line.now == 20 * 40.0, "far more than the sixty seconds that a body may take"


def test_it_does_not_wait_for_ever(send: Callable[..., tuple[Line, int, str]]) -> None:
    line, status, sentence = send(float("inf"), 20, 2**19)
    assert (status, sentence) == (503, "The server is busy. Try again in a minute.")
    assert line.now == 50.0
    assert line.charges == [], "nothing of it was read"
    assert VISITS.files.held("sender") == 0


def test_who_is_slow_is_told_so(send: Callable[..., tuple[Line, int, str]]) -> None:
    _, status, sentence = send(0, 100, 1000, seconds=1.0)
    assert (status, sentence) == (408, "The file came too slowly and was given up. Try again over a faster connection.")


@pytest.mark.parametrize(("pieces", "size", "seconds"), [(1000, 1, 0.1), (160, 2**16, 0.03), (1, 10, 1e-4)])
def test_each_piece_is_charged_and_many_small_ones_together(
    send: Callable[..., tuple[Line, int, str]], pieces: int, size: int, seconds: float
) -> None:
    line, status, _ = send(0, pieces, size)
    assert status == 204
    assert sum(line.charges) == pytest.approx(seconds)
    assert line.asked == len(line.charges) <= pieces / 5 + 1
