"""Pictures leave the networks' memory soon after the last answer: an interpreter keeps its input until the next."""

import asyncio
import logging
from concurrent.futures import Executor

from dermlens.errors import ModelError
from dermlens.models.engine import forget_images
from dermlens.server.limiter import Limiter
from dermlens.server.memory import give_back

SECONDS = 1.0
"""From an answer until it is overwritten, if no other image is being answered: overwriting takes as long as answering,
and who asks for one image after the other need not wait for it."""
logger = logging.getLogger(__name__)


class Forgetting:
    """Overwrites what the networks still hold once nobody is being answered."""

    def __init__(self, line: Limiter, pool: Executor) -> None:
        """Args: line: in which images take their turn. pool: does the work."""
        self._line, self._pool = line, pool
        self._due: asyncio.TimerHandle | None = None

    def soon(self) -> None:
        """Note that an image was answered; to be called in the server's event loop."""
        if self._due is not None:
            self._due.cancel()
        self._due = asyncio.get_running_loop().call_later(SECONDS, self._if_empty)

    def _if_empty(self) -> None:
        if any(self._line.length()):
            self.soon()
        else:
            self._pool.submit(_forget)


def _forget() -> None:
    try:
        forget_images()
    except ModelError:
        logger.exception("a network still holds the last image")
    give_back(now=True)
