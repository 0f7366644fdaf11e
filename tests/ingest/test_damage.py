import pytest

from tests.damage import TOLD, UNNOTICED, encodings, found

CERTAIN = ("PNG", "WebP", "HEIC", "HEIC, no parallel rows", "HEIC, tiles", "AVIF", "TIFF, deflate", "DICOM, JPEG-LS")
"""Encodings in which damage anywhere shows: by a check sum, or because the data do not end with the picture."""
FILES = 15


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return encodings()


@pytest.mark.parametrize("name", CERTAIN)
def test_no_random_damage_is_shown(name: str, files: dict[str, bytes]) -> None:
    outcomes = found(files[name], FILES)
    assert (outcomes[TOLD], outcomes[UNNOTICED]) == (0, 0)


@pytest.mark.parametrize("name", ["JPEG", "JPEG, restart markers", "DICOM, lossless JPEG", "DICOM, RLE", "TIFF, JPEG"])
def test_most_random_damage_is_found(name: str, files: dict[str, bytes]) -> None:
    outcomes = found(files[name], FILES)
    assert outcomes[TOLD] + outcomes[UNNOTICED] <= FILES // 3
