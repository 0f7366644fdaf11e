"""What the safety of the door costs: a file read in a process of its own, against plain decoding and a pause."""

import io
import threading
import time
from collections.abc import Iterable

import numpy as np
from PIL import Image

from dermlens import sandbox
from dermlens.ingest.read import read_image
from tests.bench.case import Case
from tests.image_files import picture, saved

MOST = 0.015
"""Seconds that the door may add to decoding an ordinary image; large ones cost more to hand over."""
SANDBOX = 0.001
"""Seconds that shutting itself in may take a decoder, once a file."""


def cases() -> Iterable[Case]:
    """Yield the cases."""
    for height, width, limit in ((450, 600, 1.0), (1500, 2000, 2.0)):
        data = saved(picture(height, width), "JPEG", quality=95)

        def plain(data: bytes = data) -> None:
            np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
            time.sleep(MOST)

        def door(data: bytes = data) -> None:
            read_image(data)

        yield Case(f"door: {width} x {height} JPEG, decoding + {MOST * 1000:.0f} ms", door, plain, limit)
    if not sandbox.trouble():
        yield Case(f"sandbox: entered, {SANDBOX * 1000:.0f} ms", sandbox.trouble, _pause, 1.0, repeats=200)


def _pause() -> None:
    thread = threading.Thread(target=time.sleep, args=(SANDBOX,))
    thread.start()
    thread.join()
