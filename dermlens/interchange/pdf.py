"""The case report as a PDF that screen readers can follow (PDF/UA-1), made by WeasyPrint in a process of its own.

The process gets the finished HTML, fetches nothing but the fonts that come with Dermlens, and is bounded in memory and
time. WeasyPrint is an extra: it needs Pango from the system.
"""

import ctypes.util
import socket
import threading
import time
from functools import cache
from importlib.util import find_spec
from typing import Literal

from dermlens.child_process import Process, left, receive
from dermlens.errors import BusyError, DermlensError

Paper = Literal["A4", "Letter"]
PAPERS: tuple[Paper, ...] = ("A4", "Letter")
SECONDS = 60.0
"""That making one PDF may take, starting the process included."""
MEMORY = 1 << 30
"""Bytes of address space of the process."""
AT_ONCE = 2
"""PDFs that one server makes at the same time."""
MOST_HTML = 16 << 20
MOST_PDF = 32 << 20
"""Bytes of what goes in and comes out."""
LENGTH = 4
"""Bytes that give the length of what follows, big-endian; a length of 0 is a PDF that could not be made."""
MISSING = (
    "A PDF takes WeasyPrint and Pango, which are not installed on this server: run `make pdf` there. The report as "
    "HTML prints as well."
)
_LIBRARIES = ("pango-1.0", "pangoft2-1.0", "harfbuzz-subset")
_FAILED = "The PDF could not be made. Save the report as HTML and print that."
_turns = threading.BoundedSemaphore(AT_ONCE)


def available() -> bool:
    """Return whether PDFs can be made here: WeasyPrint is installed, and the libraries that it opens."""
    return find_spec("weasyprint") is not None and libraries()


@cache
def libraries() -> bool:
    """Return whether the system has the libraries that WeasyPrint opens."""
    return all(map(ctypes.util.find_library, _LIBRARIES))


def make_pdf(html: str, paper: Paper = "A4", *, seconds: float = SECONDS, memory: int = MEMORY) -> bytes:
    """Return a document as PDF.

    Args:
        html: as `report.case_report` makes it.
        paper: size of its pages.
        seconds, memory: limits of the process.

    Raises:
        BusyError: too many others are being made.
        DermlensError: it cannot be made here, or not within the limits.
    """
    if not available():
        raise DermlensError(MISSING)
    data = html.encode()
    if len(data) > MOST_HTML:
        raise DermlensError(_FAILED)
    deadline = time.monotonic() + seconds
    if not _turns.acquire(timeout=seconds):
        raise BusyError("The server is busy making other PDFs. Try again in a moment.")
    try:
        process = Process("dermlens.interchange.pdf_worker", paper, str(memory), str(max(1, round(seconds))))
        try:
            return _converse(process.control, data, deadline)
        finally:
            process.close()
    except (OSError, EOFError) as e:
        raise DermlensError(_FAILED) from e
    finally:
        _turns.release()


def _converse(control: socket.socket, data: bytes, deadline: float) -> bytes:
    control.settimeout(left(deadline))
    control.sendall(len(data).to_bytes(LENGTH, "big") + data)
    return receive_sized(control, MOST_PDF, deadline)


def receive_sized(source: socket.socket, most: int, deadline: float | None = None) -> bytes:
    """Return what follows its length; EOFError if that is 0 or over `most`, and else as child_process.receive."""
    prefix = bytearray(LENGTH)
    receive(source, prefix, deadline)
    length = int.from_bytes(prefix, "big")
    if not 0 < length <= most:
        raise EOFError("nothing of a length that is taken")
    data = bytearray(length)
    receive(source, data, deadline)
    return bytes(data)
