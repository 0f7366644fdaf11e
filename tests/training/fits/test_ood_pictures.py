import numpy as np
import pytest

from dermlens.image.synthetic import draw_lesion
from training.fits import ood_pictures
from training.fits.ood_pictures import BREAKS, DRAWINGS, OodPicture, broken, first_half, pictures


@pytest.fixture(scope="module")
def all_of_them() -> list[OodPicture]:
    return list(pictures())


def test_every_kind_has_many_pictures_of_many_sources(all_of_them: list[OodPicture]) -> None:
    kinds = {n.kind for n in all_of_them}
    assert kinds == {"photograph", "other medical picture", *DRAWINGS}
    for kind in kinds:
        own = [n for n in all_of_them if n.kind == kind]
        assert len(own) >= 12, kind
        assert len({n.source for n in own}) >= 3, kind
    photographs = {n.source for n in all_of_them if n.kind == "photograph"}
    assert {"skimage chelsea.png", "sklearn china.jpg"} <= photographs
    assert len(photographs) >= 12


def test_pictures_are_images_and_differ(all_of_them: list[OodPicture]) -> None:
    for n in all_of_them:
        assert n.pixels.dtype == np.uint8
        assert n.pixels.ndim == 3
        assert n.pixels.shape[2] == 3
        assert min(n.pixels.shape[:2]) >= 32
        assert max(n.pixels.shape) <= ood_pictures.LARGEST
    assert len({n.pixels.tobytes() for n in all_of_them}) > 0.95 * len(all_of_them)


def test_the_same_pictures_come_every_time(all_of_them: list[OodPicture]) -> None:
    for first, again in zip(all_of_them, pictures(), strict=True):
        assert (first.kind, first.source) == (again.kind, again.source)
        np.testing.assert_array_equal(first.pixels, again.pixels)


def test_an_image_is_broken_in_every_way_and_not_changed_itself() -> None:
    pixels = draw_lesion(np.random.default_rng(0), 90, 120)
    before = pixels.copy()
    found = list(broken(pixels, "HAM_1"))
    assert [n.kind for n in found] == [f"dermoscopic, {name}" for name in BREAKS]
    np.testing.assert_array_equal(pixels, before)
    for n in found:
        assert n.source == "HAM_1"
        assert n.pixels.dtype == np.uint8
        assert np.abs(n.pixels.mean((0, 1)) - pixels.mean((0, 1))).max() > 5 or n.pixels.std() != pixels.std()
    shuffled = next(n.pixels for n in found if n.kind == "dermoscopic, tiles shuffled")
    assert np.sort(shuffled, axis=None).tolist() == np.sort(pixels, axis=None).tolist()
    assert (shuffled != pixels).any()


def test_no_source_is_in_both_halves_and_they_are_about_equal() -> None:
    kinds = np.array(["photograph"] * 9 + ["noise"] * 4 + ["dermoscopic, blurred"] * 5 + ["dermoscopic, inverted"] * 5)
    sources = np.array([f"p{i // 3}" for i in range(9)] + list("abcd") + [f"HAM_{i}" for i in range(5)] * 2)
    half = first_half(kinds, sources)
    assert (
        half.tolist()
        == [True] * 3 + [False] * 3 + [True] * 3 + [True, False] * 2 + [True, False, True, False, True] * 2
    )
    order = np.random.default_rng(1).permutation(len(kinds))
    np.testing.assert_array_equal(first_half(kinds[order], sources[order]), half[order])
