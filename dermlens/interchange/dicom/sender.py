"""The thread that empties the outbox: at once what is new, later what failed."""

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from pydicom.dataset import Dataset

from dermlens.errors import DermlensError
from dermlens.interchange.dicom.outbox import Outbox, Waiting

PAUSE = 15.0
"""Seconds between two looks at what is due."""
logger = logging.getLogger(__name__)


class Sender(threading.Thread):
    """Sends what is due, one entry after the other, until `stop`."""

    def __init__(
        self,
        outbox: Outbox,
        send: Callable[[Sequence[Dataset]], None],
        pause: float = PAUSE,
        done: Callable[[Waiting], None] = lambda entry: None,
    ) -> None:
        super().__init__(name="pacs", daemon=True)
        self.outbox, self._send, self._pause, self._done = outbox, send, pause, done
        self._woken, self._ended = threading.Event(), False

    def wake(self) -> None:
        """Look at once."""
        self._woken.set()

    def stop(self) -> None:
        """End after the entry that is being sent."""
        self._ended = True
        self._woken.set()
        self.join()

    def run(self) -> None:
        """Send until stopped; whatever goes wrong with one entry, the others are sent."""
        while not self._ended:
            self._woken.clear()
            try:
                for entry in self.outbox.due(datetime.now(UTC)):
                    if not self._ended:
                        self._one(entry)
            except (OSError, DermlensError):
                logger.warning("the outbox cannot be read")
            self._woken.wait(self._pause)

    def _one(self, entry: str) -> None:
        try:
            if not self.outbox.attempt(entry, self._send, done=self._done):
                logger.warning("an entry of the outbox was not sent, and will be tried again")
        except Exception as e:  # noqa: BLE001 - the values of an object may stand in the message
            logger.warning("an entry of the outbox broke off: %s", type(e).__name__)
