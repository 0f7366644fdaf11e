"""One session makes one download at a time, few are made at once, and nobody has to wait for all of another's."""

import asyncio
from dataclasses import replace

from dermlens.server.limits import Limits
from tests.conftest import finish
from ui.access.downloads import Downloads


async def _moments() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_downloads_of_one_session_are_made_one_after_the_other_and_too_many_are_refused_with_a_sentence() -> None:
    async def run() -> tuple[list[int], list[str]]:
        downloads = Downloads(lambda session: session, replace(Limits(), downloads=4, downloads_session=3))
        made, told, running, go_on = list[int](), list[str](), list[int](), asyncio.Event()

        async def click(number: int) -> None:
            async with downloads.turn("one") as refusal:
                if refusal:
                    told.append(refusal)
                    return
                running.append(number)
                assert running == [number], "two at once"
                await go_on.wait()
                made.append(running.pop())

        clicks = [asyncio.ensure_future(click(i)) for i in range(10)]
        await _moments()
        assert running == [0]
        go_on.set()
        await asyncio.gather(*clicks)
        await click(10)
        return made, told

    made, told = finish(run())
    assert made == [0, 1, 2, 10], "those that may wait are made, and none is lost"
    assert set(told) == {"3 downloads of this page are being made. Try again once they are there."}
    assert len(told) == 7


def test_who_has_many_sessions_keeps_nobody_waiting_for_all_of_them() -> None:
    async def run() -> list[str]:
        downloads = Downloads(lambda session: session[0], replace(Limits(), downloads=1))
        made: list[str] = []

        async def click(session: str) -> None:
            async with downloads.turn(session):
                await _moments()
                made.append(session)

        await asyncio.gather(*(click(session) for session in ("a1", "a2", "a3", "a4", "b1")))
        return made

    assert finish(run()).index("b1") <= 2


def test_one_that_is_given_up_makes_room() -> None:
    async def run() -> list[str]:
        downloads = Downloads(lambda session: session, replace(Limits(), downloads=1))
        made: list[str] = []

        async def click(session: str, is_endless: bool) -> None:
            async with downloads.turn(session):
                if is_endless:
                    await asyncio.Event().wait()
                made.append(session)

        clicks = [asyncio.ensure_future(click(session, session != "b")) for session in ("a", "a", "c", "b")]
        for endless in clicks[:3]:
            await _moments()
            endless.cancel()
        await asyncio.gather(*clicks, return_exceptions=True)
        return made

    assert finish(asyncio.wait_for(run(), 10)) == ["b"]
