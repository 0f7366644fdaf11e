"""Which files of a folder, and of the folders below it, are images to be read."""

import errno
import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal

from dermlens.errors import DataError
from dermlens.ingest.formats import IMAGE_SUFFIXES, format_of
from dermlens.wording import counted

HEAD = 4096
"""Bytes of a file without the suffix of an image that tell what it is."""
_NOWHERE = (errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR)
"""Why a link leads to nothing, for good."""
_ANNOTATION = re.compile(r"ISIC_\d+_(segmentation|superpixels|attribute_\w+)", re.ASCII)
"""What the ISIC challenges deliver beside an image: the mask of its lesion, superpixels, masks of attributes."""


@dataclass
class Found:
    """The images of a folder and how many other things were passed over."""

    images: list[str] = field(default_factory=list)
    """paths from the folder, in their order"""
    others: int = 0
    """files that are no image, and hidden ones"""
    annotations: int = 0
    """masks and superpixels of the ISIC Archive"""
    repeated: int = 0
    """links to folders that were read already"""

    @property
    def passed_over(self) -> str:
        """What was passed over, as a person reads it."""
        parts = [counted(self.others, "other file")]
        if self.annotations:
            parts.append(f"{counted(self.annotations, 'ISIC mask')} or superpixels")
        if self.repeated:
            parts.append(f"{counted(self.repeated, 'link')} to folders read already")
        return ", ".join(parts)


def kind_by_name(name: str) -> Literal["image", "annotation", "unknown"]:
    """Return what a file is by its name; "unknown" leaves it to `is_image`, but for hidden files."""
    path = PurePath(name)
    if path.name.startswith(".") or path.suffix.lower() not in IMAGE_SUFFIXES:
        return "unknown"
    return "annotation" if _ANNOTATION.fullmatch(path.stem) else "image"


def is_image(name: str, head: bytes) -> bool:
    """Return whether a file without the suffix of an image is one: DICOM, or any accepted format without a suffix.

    DICOM files often have no suffix, or a number as their name, the end of which looks like a suffix.

    Args:
        name: of the file. head: its first HEAD bytes.
    """
    found = None if PurePath(name).name.startswith(".") else format_of(head)
    return found == "DICOM" or (found is not None and not PurePath(name).suffix)


def find_images(folder: Path) -> Found:
    """Find the images in a folder and all folders below it.

    Links to folders are followed. A folder that several ways lead to is read once, by the way without links if there
    is one.

    Raises:
        DataError: the folder is missing, a folder cannot be listed, or there is no image.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Give --input a folder of images.")
    found, seen = Found(), set()
    ahead, links = [""], list[str]()
    while ahead or links:
        below = ahead.pop() if ahead else links.pop(0)
        try:
            here = os.stat(folder / below)
            if (here.st_dev, here.st_ino) in seen:
                found.repeated += 1
                continue
            seen.add((here.st_dev, here.st_ino))
            with os.scandir(folder / below) as entries:
                for entry in sorted(entries, key=lambda e: e.name):
                    if _is_folder(entry):
                        (links if entry.is_symlink() else ahead).append(os.path.join(below, entry.name))
                    else:
                        _sort_in(entry, below, found)
        except OSError as e:
            raise DataError(f"{folder / below} cannot be listed: {e.strerror}.") from e
    if not found.images:
        raise DataError(f"{folder} holds no image; passed over: {found.passed_over}.")
    found.images.sort()
    return found


def _is_folder(entry: os.DirEntry) -> bool:
    """Return whether an entry is a folder or a link to one; a link that leads nowhere, or to itself, is none.

    Raises:
        OSError: it is not known, and by its name it is no image.
    """
    try:
        return entry.is_dir()
    except OSError as e:
        if not entry.is_symlink() or (e.errno not in _NOWHERE and kind_by_name(entry.name) == "unknown"):
            raise
        return False


def _is_file(entry: os.DirEntry) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _sort_in(entry: os.DirEntry, below: str, found: Found) -> None:
    kind = kind_by_name(entry.name)
    if kind == "image" or (kind == "unknown" and _is_file(entry) and is_image(entry.name, _head(entry.path))):
        found.images.append(os.path.join(below, entry.name))
    elif kind == "annotation":
        found.annotations += 1
    else:
        found.others += 1


def _head(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""
