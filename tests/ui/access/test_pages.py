"""One page is heard at its pace. The clock is the test's own."""

import asyncio
from collections.abc import Callable

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from dermlens.server.computing import Computing
from dermlens.server.limits import LIMITS
from dermlens.server.paces import Pace
from dermlens.server.shares import STRANGER, VISITS, Payer, Who
from dermlens.server.turns import Turns
from tests.conftest import finish
from ui.access import pages
from ui.access.visitors import Visitor


def test_a_page_is_heard_at_once_until_it_asks_too_often() -> None:
    pace = Pace(LIMITS.asks_burst, LIMITS.asks_rate, 0.0)
    assert {pace.wait(100.0) for _ in range(LIMITS.asks_burst)} == {0.0}
    assert pace.wait(100.0) == 1 / LIMITS.asks_rate
    assert pace.wait(100.0) == 2 / LIMITS.asks_rate
    assert pace.wait(200.0) == 0.0


def test_many_names_of_files_count_as_many_messages() -> None:
    def names(count: int) -> dict:
        asks = BackMsg()
        asks.file_urls_request.file_names.extend(["x"] * count)
        return {"type": "websocket.receive", "bytes": asks.SerializeToString()}

    waited: list[float] = []

    class Noting(Pace):
        def wait(self, now: float, many: float = 1.0, most: float = float("inf")) -> float:
            waited.append(many)
            return 0.0

    heard: list[dict] = []
    said: list[dict] = []
    frames = [names(LIMITS.file_names), names(LIMITS.file_names + 1), {"type": "websocket.disconnect"}]

    async def app(scope: object, receive: Callable, send: object) -> None:
        while not heard or heard[-1]["type"] != "websocket.disconnect":
            heard.append(await receive())

    async def receive() -> dict:
        return frames.pop(0)

    async def send(message: dict) -> None:
        said.append(message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "Pace", Noting)
        finish(pages.serve(app, Visitor(None, None, None, ""), {}, receive, send))  # type: ignore[arg-type]
    assert waited == [1 + LIMITS.file_names / 100, 1 + (LIMITS.file_names + 1) / 100]
    assert [m["type"] for m in heard] == ["websocket.receive", "websocket.disconnect"], "one too many asks in vain"
    (answer,) = said
    told = ForwardMsg.FromString(answer["bytes"]).file_urls_response.error_msg
    assert told == "2,001 files at once; at most 2,000 are taken. Upload them in parts."


def test_a_download_waits_as_a_page_does_while_its_visitor_has_computed_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    computing = Computing(clock=lambda: now[0])
    monkeypatch.setattr(pages, "COMPUTING", computing)
    monkeypatch.setattr(pages, "PAUSE", 0.0)
    visitor = Visitor(("192.0.2.1", 1), None, None, "")
    computing.charge(pages.computes(visitor), LIMITS.computing_burst + 1)
    asks = BackMsg()
    asks.backend_operation_request.request_id = "1"
    heard: list[dict] = []

    async def app(scope: object, receive: Callable, send: object) -> None:
        heard.append(await receive())

    async def receive() -> dict:
        return {"type": "websocket.receive", "bytes": asks.SerializeToString()}

    async def run() -> None:
        pages.CONNECTIONS.enter(visitor.peer, lambda: None)
        page = asyncio.ensure_future(pages.serve(app, visitor, {}, receive, receive))  # type: ignore[arg-type]
        with computing.of(Payer("other")):
            for _ in range(20):
                await asyncio.sleep(0)
            assert not heard
        now[0] += 60.0
        await asyncio.wait_for(page, 10)
        pages.CONNECTIONS.leave(visitor.peer)

    finish(run())
    assert len(heard) == 1


def test_strangers_of_one_address_are_one_and_who_is_known_is_another() -> None:
    def name(session: str, **more: str) -> Payer:
        return pages.computes(Visitor(("192.0.2.1", 1), None, None, more.get("address", ""), session))

    VISITS.begin(Who("answered"))
    VISITS.answered("answered")
    try:
        assert name("a") == name("b") == Payer("stranger 192.0.2.1", counts=STRANGER)
        assert name("answered") == Payer("answered", "192.0.2.1")
        assert name("a", address="198.51.100.1") == Payer("stranger 198.51.100.1", counts=STRANGER)
        assert name("answered", address="198.51.100.1") == Payer("address 198.51.100.1")
    finally:
        VISITS.end("answered")


def test_a_page_that_asks_for_no_run_takes_no_place_from_one_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    openings = Turns(1)
    monkeypatch.setattr(pages, "OPENINGS", openings)

    async def run() -> list[str]:
        reached: list[str] = []

        async def page(name: str, said: BackMsg) -> None:
            frames = [{"type": "websocket.receive", "bytes": said.SerializeToString()}]
            stays = asyncio.Event()

            async def receive() -> dict:
                if not frames:
                    await stays.wait()
                return frames.pop()

            async def app(scope: object, receive: Callable, send: object) -> None:
                await receive()
                reached.append(name)
                await stays.wait()

            async def send(message: object) -> None:
                pass

            peer = (name, 1)
            pages.CONNECTIONS.enter(peer, lambda: None)
            try:
                await pages.serve(app, Visitor(peer, None, None, ""), {}, receive, send)  # type: ignore[arg-type]
            finally:
                pages.CONNECTIONS.leave(peer)

        idle = asyncio.ensure_future(page("idle", BackMsg(app_heartbeat=True)))
        while not reached:
            await asyncio.sleep(0)
        asks = asyncio.ensure_future(page("asks", BackMsg(rerun_script=ClientState())))
        while len(reached) < 2:
            await asyncio.sleep(0)
        assert openings._running == 1
        for task in (idle, asks):
            task.cancel()
        await asyncio.gather(idle, asks, return_exceptions=True)
        return reached

    assert finish(asyncio.wait_for(run(), 10)) == ["idle", "asks"]
    assert openings._running == 0
