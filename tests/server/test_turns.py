"""Few have a turn at once, and each has it as soon as it is fair."""

import asyncio

from dermlens.server.turns import Turns
from tests.conftest import finish


def test_one_address_that_opens_many_pages_does_not_keep_another_one_waiting() -> None:
    async def run() -> list[str]:
        turns, served = Turns(1), list[str]()

        async def open_page(address: str) -> None:
            await turns.begin(address)
            served.append(address)
            await asyncio.sleep(0)
            turns.end()

        await asyncio.gather(*(open_page("many") for _ in range(50)), *(open_page(f"one {i}") for i in range(3)))
        return served

    served = finish(run())
    assert len(served) == 53
    assert max(served.index(f"one {i}") for i in range(3)) <= 4


def test_where_all_come_from_one_address_the_first_is_served_first_and_who_leaves_makes_room() -> None:
    async def run() -> list[int]:
        turns, served = Turns(2), list[int]()

        async def open_page(number: int) -> None:
            await turns.begin("proxy")
            served.append(number)
            await asyncio.sleep(0)
            turns.end()

        pages = [asyncio.ensure_future(open_page(i)) for i in range(6)]
        await asyncio.sleep(0)
        pages[3].cancel()
        await asyncio.gather(*pages, return_exceptions=True)
        assert turns._running == 0
        return served

    assert finish(run()) == [0, 1, 2, 4, 5]
