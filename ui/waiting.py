"""What a person sees while others are served first."""

from contextlib import AbstractContextManager

from streamlit.delta_generator import DeltaGenerator

from dermlens.server.limiter import Limiter


def turn(line: Limiter, bar: DeltaGenerator, share: float = 0.0) -> AbstractContextManager[None]:
    """Return a turn in a line, as a context; while it is waited for, the bar says how many are before.

    Streamlit ends a script whose session was closed or rerun when it next draws: the bar is that too.

    Raises:
        BusyError: on entering, if the line is full.
    """

    def tell(before: int) -> None:
        bar.progress(share, sentence(before))

    return line.turn(tell)


def sentence(before: int) -> str:
    """Say how many are served before this one."""
    return "Waiting: one other is before you" if before == 1 else f"Waiting: {before} others are before you"
