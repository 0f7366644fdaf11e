"""Hostile, damaged and unusual files, each with the answer that the door must give. All are made by code."""

from collections.abc import Iterator

from tests.corpus import (
    bmps,
    colours,
    damage,
    dicom_bits,
    dicom_jpegs,
    dicoms,
    encodings,
    hostile,
    pictures,
    strips,
    tiffs,
    unread,
)
from tests.corpus.case import Case
from tests.image_files import picture, samples


def corpus() -> list[Case]:
    """Return every case; their names are unique."""
    modules = (
        hostile,
        pictures,
        encodings,
        bmps,
        tiffs,
        strips,
        colours,
        dicoms,
        dicom_jpegs,
        dicom_bits,
        damage,
        unread,
    )
    return [case for module in modules for case in module.cases()]


def truncations() -> Iterator[tuple[str, bytes, list[bytes]]]:
    """Yield the format, the whole and the beginnings, cut off at every kilobyte, of files of every kind."""
    for kind, files in samples(picture(120, 160)).items():
        for whole in files:
            yield kind, whole, [whole[:length] for length in range(min(200, len(whole) // 2), len(whole), 1024)]
