"""The one door: the only place where untrusted bytes become pixels.

A file is known by its first bytes, never by its name. It is decoded in a process of its own (`pool`), so that
a decoder's bug, a bomb or an endless loop costs one file its answer and nothing else.
"""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dermlens.errors import DecoderError, ImageError
from dermlens.files.documents import read_at_most
from dermlens.image.preprocess import STORED_ASPECTS, true_aspect
from dermlens.ingest import pool
from dermlens.ingest.formats import LIMITS, LISTED, NO_HEIC, READ, Limits, format_of, other_kind

_NOT_REGULAR = "The file cannot be read: it is no regular file."


@dataclass(frozen=True)
class Ingested:
    """An image that was read safely."""

    pixels: np.ndarray
    """(height, width, 3) uint8 sRGB, upright, at its true aspect"""
    format: str
    """as found in the bytes, one of formats.ACCEPTED"""
    notices: tuple[str, ...]
    """what a person should know of how it was read, one sentence each"""
    stretched: bool = False
    """whether it was stretched to the aspect that was named"""


def read_image(data: bytes, *, stored_aspect: str = "as-is", limits: Limits = LIMITS) -> Ingested:
    """Read an image of any name from its bytes; the content decides what it is.

    Args:
        data: the whole file.
        stored_aspect: "as-is", or the width:height that the picture had before it was squeezed to a square ("4:3");
            one that is no square is left as it is, with a notice.
        limits: on the file and on what decoding it may cost.

    Raises:
        ImageError: the bytes are no such image, damaged, or over a limit.
        BusyError: too many others are having files read.
    """
    if not data:
        raise ImageError("The file is empty (0 bytes). Save or export the image again.")
    if len(data) > limits.bytes:
        raise ImageError(
            f"The file is larger than {limits.bytes / 2**20:.0f} MiB, the most that is read. "
            "Save it smaller, for example as a JPEG."
        )
    kind = format_of(data)
    if kind is None:
        raise ImageError(f"The file cannot be read: {other_kind(data)}. {LISTED} are read; save it as one of these.")
    if kind not in READ:
        raise ImageError(NO_HEIC)
    pixels, notices = pool.decode(data, kind, limits)
    height, width = pixels.shape[:2]
    if height != width and STORED_ASPECTS.get(stored_aspect):
        told = f"The image is no square ({width} x {height} pixels), so it was not stretched to {stored_aspect}."
        return Ingested(pixels, kind, (*notices, told))
    _check_stretched(pixels, stored_aspect, limits)
    shown = true_aspect(pixels, stored_aspect)
    return Ingested(shown, kind, notices, stretched=shown.shape != pixels.shape)


def dicom_identity(data: bytes, limits: Limits = LIMITS) -> dict[str, str]:
    """Return which object a DICOM file is, and whose: the one place where a name leaves a file, for who sends it back.

    Args:
        data: the whole file, read as an image before.

    Returns:
        tag -> value, of decoders.dicom.IDENTITY; empty for a file of another kind, and for one that tells nothing.

    Raises:
        BusyError: too many others are having files read.
        DecoderError: the decoder was stopped, which says nothing of the file.
    """
    if format_of(data) != "DICOM":
        return {}
    try:
        return pool.identity(data, limits)
    except DecoderError:
        raise
    except ImageError:
        return {}


def read_file(path: Path, *, stored_aspect: str = "as-is") -> Ingested:
    """Read an image file as `read_image` does, without taking more than the limit of bytes into memory.

    Raises:
        ImageError: as `read_image`, or the file cannot be read at all, or is none: a pipe, a device.
    """
    try:
        return read_image(file_bytes(path), stored_aspect=stored_aspect)
    except OSError as e:
        raise ImageError(f"The file cannot be read: {e.strerror}.") from e


def file_bytes(path: Path, most: int = LIMITS.bytes + 1) -> bytes:
    """Return at most so many first bytes of a file; the default is one more than an image may have.

    Raises:
        ImageError: it is no regular file (a pipe, a socket, a device), or its path holds a NUL character.
        OSError: it cannot be opened or read.
    """
    if "\0" in str(path):
        raise ImageError("The file cannot be read: its path holds a NUL character.")
    try:
        opened = open(path, "rb", opener=_open_at_once)  # noqa: SIM115
    except OSError as e:
        if _is_special(path):
            raise ImageError(_NOT_REGULAR) from e
        raise
    with opened as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ImageError(_NOT_REGULAR)
        return read_at_most(file, most)


def is_missing(error: OSError, was_there: bool) -> bool:
    """Return whether a file cannot be read because of its path, and not because a disk or network fails.

    Args:
        error: of `file_bytes`. was_there: whether the file was found when it was listed; what has gone since may be a
            whole disk.
    """
    if isinstance(error, IsADirectoryError):
        return True
    no_file = isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError)
    return not was_there and (no_file or error.errno in (errno.ELOOP, errno.ENAMETOOLONG))


def reason(error: OSError) -> str:
    """Return what the system says of an error, to follow a colon."""
    return (error.strerror or str(error)).lower()


def _is_special(path: Path) -> bool:
    """Return whether there is something that is neither a file nor a folder: a socket cannot even be opened."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _open_at_once(path: str, flags: int) -> int:
    """Open a file; to open a pipe that nobody writes to would else take for ever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_stretched(pixels: np.ndarray, stored_aspect: str, limits: Limits) -> None:
    height, width = pixels.shape[:2]
    aspect = STORED_ASPECTS.get(stored_aspect)
    stretched = round(height * aspect) if aspect else width
    if height * stretched > limits.pixels:
        raise ImageError(
            f"Stretched to {stored_aspect}, the image would have {stretched} x {height} pixels; "
            f"at most {limits.pixels / 1e6:.0f} million are read. Save it smaller."
        )
