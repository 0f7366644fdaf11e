"""Damage inside an AVIF picture. Runs inside the decoding process, on hostile bytes.

Pillow decodes AVIF by dav1d, which follows damaged data as if they were sound. libaom, inside OpenCV, also checks that
they end where the picture does (AV1 specification, 8.2.4), so it decodes them once more.
"""

import cv2
import numpy as np

from dermlens.ingest.decoders import damage

UNCHECKED = "Whether the AVIF data are whole could not be checked; look whether the picture is."
_DAMAGE = (b"Corrupt frame", b"Truncated packet", b"Bitstream error", b"Failed to decode")

cv2.setNumThreads(1)


def check(data: bytes, notices: list[str]) -> None:
    """Raise DamagedError if libaom finds the data damaged."""
    with damage.complaints() as said:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None and any(sign in said for sign in _DAMAGE):
        raise damage.DamagedError("the decoder refused")
    if picture is None:
        notices.append(UNCHECKED)
