"""Few pages are opened at once, fairly; one page is heard at its pace. The clock is the test's own."""

import asyncio

from tests.ui.access.test_middleware import finish
from ui.access.pages import LIMITS, Openings, Pace


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
