"""Copies of drawn images are found, whatever was done to them, and strangers are not."""

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.duplicates import (
    AGREEING_LIMIT,
    HASH_LIMIT,
    agreeing,
    alike,
    describe,
    distances,
    hashes,
    join_lesions,
    search,
    sharing,
)
from dermlens.image.synthetic import draw_lesion


def lesion(seed: int, height: int = 224, width: int = 299) -> np.ndarray:
    return draw_lesion(np.random.default_rng(seed), height, width)


def moved(image: np.ndarray, degrees: float = 0, zoom: float = 1, right: float = 0, down: float = 0) -> np.ndarray:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, zoom)
    matrix = matrix + np.array([[0, 0, right], [0, 0, down]])
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


def recompressed(image: np.ndarray) -> np.ndarray:
    decoded = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 70])[1], cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded


def recoloured(image: np.ndarray) -> np.ndarray:
    return np.clip(image * np.array([0.9, 1.0, 1.1]) + 12, 0, 255).astype(np.uint8)


SYMMETRIES = {
    "mirrored": lambda x: x[:, ::-1],
    "upside down": lambda x: x[::-1],
    "half turn": lambda x: x[::-1, ::-1],
    "quarter turn": lambda x: np.rot90(x),
    "three quarters": lambda x: np.rot90(x, 3),
    "transposed": lambda x: x.transpose(1, 0, 2),
    "other diagonal": lambda x: np.rot90(x[:, ::-1]),
}
COPIES = {
    **SYMMETRIES,
    "recompressed": recompressed,
    "recoloured": recoloured,
    "at twice the size": lambda x: cv2.resize(x, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC),
    "mirrored and recompressed": lambda x: recompressed(np.ascontiguousarray(x[:, ::-1])),
}
SHOTS = {
    "shifted": lambda x: moved(x, right=24, down=-15),
    "turned": lambda x: moved(x, degrees=30),
    "zoomed": lambda x: moved(x, zoom=1.3),
    "all of it": lambda x: recoloured(moved(x, degrees=-12, zoom=1.15, right=15)),
}


@pytest.mark.parametrize("change", COPIES)
def test_the_hash_finds_a_copy(change: str) -> None:
    image = lesion(1)
    one, other = describe(image), describe(np.ascontiguousarray(COPIES[change](image)))
    assert distances(one.hashes[:1], other.hashes[None])[0] <= HASH_LIMIT
    assert one.digest != other.digest


@pytest.mark.parametrize("change", SHOTS)
def test_the_features_find_another_shot_that_the_hash_misses(change: str) -> None:
    image = lesion(1)
    one, other = describe(image), describe(SHOTS[change](image))
    assert agreeing(one, other) >= AGREEING_LIMIT
    assert distances(one.hashes[:1], other.hashes[None])[0] > HASH_LIMIT


def test_strangers_are_not_taken_for_duplicates() -> None:
    images = [describe(lesion(seed)) for seed in range(12)]
    for a, one in enumerate(images):
        for other in images[:a]:
            assert agreeing(one, other) < AGREEING_LIMIT
            assert distances(one.hashes[:1], other.hashes[None])[0] > HASH_LIMIT


def test_pixels_make_the_digest_and_their_shape_does_too() -> None:
    image = lesion(1)
    assert describe(image).digest == describe(image.copy()).digest
    one_off = image.copy()
    one_off[0, 0, 0] ^= 1
    assert describe(image).digest != describe(one_off).digest
    flat = np.zeros((30, 40, 3), np.uint8)
    assert describe(flat).digest != describe(flat.reshape(40, 30, 3)).digest


def test_an_image_without_features_agrees_with_nothing() -> None:
    blank = describe(np.full((50, 60, 3), 200, np.uint8))
    assert blank.descriptors.shape == (0, 32)
    assert agreeing(blank, blank) == 0
    assert len(search([blank, describe(lesion(1))])) == 0


def test_the_distance_is_the_number_of_differing_bits_in_the_nearest_symmetry() -> None:
    one = np.array([[0, 0, 0, 0b1011]], np.uint64)
    other = np.full((1, 8, 4), 2**64 - 1, np.uint64)
    other[0, 5] = [1, 1, 0, 0b0001]
    assert distances(one, other).tolist() == [4]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 40), st.integers(90, 128))
def test_the_block_search_finds_what_comparing_every_pair_finds(seed: int, n: int, limit: int) -> None:
    table = np.random.default_rng(seed).integers(0, 2**64, (n, 8, 4), np.uint64)
    expected = [
        [i, j] for i in range(n) for j in range(i + 1, n) if distances(table[i, :1], table[j][None])[0] <= limit
    ]
    assert sorted(alike(table, limit, block=7).tolist()) == expected


def test_sharing_counts_keys() -> None:
    rng = np.random.default_rng(0)
    pool = rng.integers(0, 256, (6, 32)).astype(np.uint8)
    # A whole descriptor in common is 30 keys of three bytes; bytes 0..7 in common are 6 keys; bytes 0..6 are 5.
    six, five = pool[1:2].copy(), pool[2:3].copy()
    six[0, :8] = pool[0, :8]
    five[0, :7] = pool[0, :7]
    five[0, 7] = pool[0, 7] ^ 1
    descriptors = [pool[:1], np.concatenate([pool[3:4], six]), five, pool[4:5], np.concatenate([pool[:1], pool[5:]])]
    assert sharing(descriptors, minimum=6).tolist() == [[0, 1], [0, 4], [1, 4]]
    assert [0, 2] in sharing(descriptors, minimum=5).tolist()
    assert sharing(descriptors, minimum=30).tolist() == [[0, 4]]


def test_what_many_images_share_is_no_sign() -> None:
    ruler = np.random.default_rng(0).integers(0, 256, (1, 32)).astype(np.uint8)
    assert len(sharing([ruler] * 8)) == 28
    assert len(sharing([ruler] * 9)) == 0


def test_search_reports_copies_and_other_shots_with_their_positions() -> None:
    first, second, third = lesion(1), lesion(2), lesion(3)
    images = [first, second, moved(first, right=20, degrees=10), third, second[:, ::-1], third]
    found = search([describe(np.ascontiguousarray(x)) for x in images])
    duplicates = found[found["duplicate"]]
    assert duplicates[["i", "j"]].to_numpy().tolist() == [[0, 2], [1, 4], [3, 5]]
    assert duplicates["exact"].tolist() == [False, False, True]
    assert duplicates["distance"].tolist()[2] == 0


def test_hashes_are_256_bits_in_eight_forms() -> None:
    table = hashes(cv2.cvtColor(lesion(1), cv2.COLOR_RGB2GRAY))
    assert table.shape == (8, 4)
    assert table.dtype == np.uint64
    assert len({row.tobytes() for row in table}) == 8
    assert np.bitwise_count(table).sum(1).tolist() == [127] * 8, "the median halves the 255 bits"


def test_lesions_are_joined_through_chains() -> None:
    same = pd.DataFrame({"lesion_a": ["d", "c", "f"], "lesion_b": ["c", "b", "g"]})
    lesions = pd.Series(["a", "b", "c", "d", "e", "g"], index=[9, 8, 7, 6, 5, 4])
    joined = join_lesions(lesions, same)
    assert joined.tolist() == ["a", "b", "b", "b", "e", "f"]
    assert joined.index.tolist() == lesions.index.tolist()
    pd.testing.assert_series_equal(join_lesions(lesions, same.iloc[:0]), lesions)
