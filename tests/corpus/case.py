"""One file of the corpus, and the answer it must get. Drawn here, by code."""

from dataclasses import dataclass, field

import numpy as np

from dermlens.ingest.formats import LIMITS, Limits

DAMAGED = "is damaged or cut off"
ROUGH_CMYK = "CMYK without a colour profile"


NAMES = (
    "../../../etc/passwd",
    "..\\..\\windows\\system32\\config.png",
    "nul\0byte.png",
    "<img src=x onerror=alert(1)>.png",
    "[click](javascript:alert(1)).png",
    "$\\LaTeX$ :red[text] `code` **bold**.png",
    "line\nbreak\r\t.png",
    "invoice\u202egnp.exe",
    "half\ud800surrogate.png",
    "a" * 10_000 + ".png",
    "=cmd|'/c calc'!A1.png",
    "",
)
"""Names of files that may not become markup, paths, formulas or anything else but text."""


@dataclass(frozen=True, eq=False)
class Case:
    """One file and the answer it must get."""

    name: str
    data: bytes
    says: str = ""
    """part of the refusal, or of a notice if the file is accepted; "" if there is nothing to say"""
    pixels: np.ndarray | None = None
    """(height, width, 3) uint8 that it must show; None if it must be refused"""
    within: float = 0
    """largest mean difference from them, for lossy formats"""
    limits: Limits = field(default=LIMITS)
