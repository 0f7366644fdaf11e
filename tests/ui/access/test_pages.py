"""Few pages are opened at once, fairly; one page is heard at its pace. The clock is the test's own."""

import asyncio
from collections.abc import Callable

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState

from tests.ui.access.test_middleware import finish
from ui.access import pages
from ui.access.pages import LIMITS, Openings, Pace
from ui.access.visitors import Visitor


def test_one_address_that_opens_many_pages_does_not_keep_another_one_waiting() -> None:
    async def run() -> list[str]:
        openings, served = Openings(1), list[str]()

        async def open_page(address: str) -> None:
            await openings.begin(address)
            served.append(address)
            await asyncio.sleep(0)
            openings.end()

        await asyncio.gather(*(open_page("many") for _ in range(50)), *(open_page(f"one {i}") for i in range(3)))
        return served

    served = finish(run())
    assert len(served) == 53
    assert max(served.index(f"one {i}") for i in range(3)) <= 4


def test_where_all_come_from_one_address_the_first_is_served_first_and_who_leaves_makes_room() -> None:
    async def run() -> list[int]:
        openings, served = Openings(2), list[int]()

        async def open_page(number: int) -> None:
            await openings.begin("proxy")
            served.append(number)
            await asyncio.sleep(0)
            openings.end()

        pages = [asyncio.ensure_future(open_page(i)) for i in range(6)]
        await asyncio.sleep(0)
        pages[3].cancel()
        await asyncio.gather(*pages, return_exceptions=True)
        assert openings._running == 0
        return served

    assert finish(run()) == [0, 1, 2, 4, 5]


def test_a_page_is_heard_at_once_until_it_asks_too_often() -> None:
    pace = Pace()
    assert {pace.wait(100.0) for _ in range(LIMITS.asks_burst)} == {0.0}
    assert pace.wait(100.0) == 1 / LIMITS.asks_rate
    assert pace.wait(100.0) == 2 / LIMITS.asks_rate
    assert pace.wait(200.0) == 0.0


def test_a_page_that_asks_for_no_run_takes_no_place_from_one_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    openings = Openings(1)
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
