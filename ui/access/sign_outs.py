"""Sign-ins that were ended, kept until they would have expired: whoever has a copy of the cookie does not come in."""

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from dermlens.errors import DataError
from dermlens.files.documents import read_object, write_object
from dermlens.server.state import state_dir

logger = logging.getLogger(__name__)


def state_file() -> Path:
    """Return where they are kept."""
    return state_dir() / "signed-out.json"


class SignOuts:
    """A set of sign-ins by their SHA-256, in memory and in a file that outlives the server."""

    def __init__(self, file: Path | None, clock: Callable[[], float] = time.time) -> None:
        self._file, self._clock = file, clock
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}
        if file is not None and file.exists():
            try:
                self._until = {str(key): float(until) for key, until in read_object(file).items()}
            except (DataError, TypeError, ValueError) as e:
                logger.error("the list of ended sign-ins cannot be read, they count again: %s", e)

    def add(self, sign_in: bytes, until: float) -> None:
        """End a sign-in, given what its cookie says; `until` is when it would have expired, in seconds of the epoch."""
        with self._lock:
            now = self._clock()
            self._until = {key: end for key, end in self._until.items() if end > now}
            self._until[_digest(sign_in)] = until
            if self._file is None:
                return
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                write_object(self._file, self._until)
            except (DataError, OSError) as e:
                logger.error("an ended sign-in is remembered only until the server stops: %s", e)

    def __contains__(self, sign_in: bytes) -> bool:
        with self._lock:
            return self._until.get(_digest(sign_in), 0.0) > self._clock()


def _digest(sign_in: bytes) -> str:
    return hashlib.sha256(sign_in).hexdigest()
