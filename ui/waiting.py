"""What a person sees while others are served first."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from dermlens.server.computing import COMPUTING
from dermlens.server.limiter import Limiter
from dermlens.server.shares import Who


class Bar(Protocol):
    """What st.progress draws."""

    def progress(self, share: float, sentence: str, /) -> object:
        """Show how much is done, from 0 to 1, and what is being done."""


@contextmanager
def turn(line: Limiter, bar: Bar, share: float = 0.0, who: Who | None = None) -> Iterator[None]:
    """Hold a turn in a line while the block runs; while it is waited for, the bar says how many are ahead.

    Streamlit ends a script whose session was closed or rerun when it next draws: the bar is that too.

    Raises:
        BusyError: on entering, if the line is full, or holds enough of this visitor already.
    """

    def tell(before: int) -> None:
        bar.progress(share, sentence(before))

    with COMPUTING.free(), line.turn(tell, who=who):
        yield


def sentence(before: int) -> str:
    """Say how many will be served before this one."""
    return "Waiting: one other is ahead of you" if before == 1 else f"Waiting: {before} others are ahead of you"
