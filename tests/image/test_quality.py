from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter1d
from scipy.stats import spearmanr
from skimage.measure import blur_effect

from dermlens.image import quality
from dermlens.image.quality import (
    MAX_GLARE,
    MIN_SHORT_SIDE,
    MIN_TICKS,
    MOST_MARKS,
    WITHIN,
    Quality,
    check,
    evenly_spaced,
    sharpness,
)
from dermlens.image.synthetic import draw_lesion

HEIGHT, WIDTH = 450, 600


def skin(seed: int = 3, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A drawing with grain, as the skin of a photograph has."""
    rng = np.random.default_rng(seed)
    drawing = draw_lesion(rng, height, width)
    return np.clip(drawing + rng.normal(0, 7, (height, width, 1)), 0, 255).astype(np.uint8)


def fired(pixels: np.ndarray) -> set[str]:
    return {finding.name for finding in check(pixels).findings}


def blurred(pixels: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(pixels, (0, 0), 8)


def with_glare(pixels: np.ndarray) -> np.ndarray:
    pixels = pixels.copy()
    for x in range(100, 500, 80):
        cv2.circle(pixels, (x, 120), 20, (255, 255, 255), -1)
    return pixels


def with_hairs(pixels: np.ndarray) -> np.ndarray:
    pixels = pixels.copy()
    rng = np.random.default_rng(1)
    for _ in range(45):
        x, y = rng.integers(0, WIDTH), rng.integers(0, HEIGHT)
        cv2.line(pixels, (int(x), int(y)), (int(x) + 90, int(y) + 140), (40, 28, 24), 3, cv2.LINE_AA)
    return pixels


def with_ruler(pixels: np.ndarray) -> np.ndarray:
    pixels = pixels.copy()
    for i in range(14):
        cv2.line(pixels, (30 + 40 * i, 400), (30 + 40 * i, 435), (20, 20, 20), 3)
    return pixels


def with_ink(pixels: np.ndarray) -> np.ndarray:
    pixels = pixels.copy()
    cv2.ellipse(pixels, (300, 225), (230, 180), 0, 0, 300, (78, 52, 170), 14)
    return pixels


def with_green_ink(pixels: np.ndarray) -> np.ndarray:
    pixels = pixels.copy()
    cv2.line(pixels, (40, 40), (560, 60), (40, 140, 70), 14)
    return pixels


def with_vignette(pixels: np.ndarray) -> np.ndarray:
    inside = cv2.circle(np.zeros((HEIGHT, WIDTH), np.uint8), (300, 225), 235, 255, -1)
    return np.where(cv2.GaussianBlur(inside, (0, 0), 4)[..., None] > 128, pixels, 8).astype(np.uint8)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "blurred": blurred,
    "too dark": lambda pixels: pixels // 4,
    "too bright": lambda pixels: np.clip(pixels.astype(int) + 120, 0, 255).astype(np.uint8),
    "too small": lambda pixels: cv2.resize(pixels, (160, 120), interpolation=cv2.INTER_AREA),
    "glare": with_glare,
    "hair": with_hairs,
    "ruler": with_ruler,
    "ink": with_ink,
    "dark corners": with_vignette,
}


@pytest.mark.parametrize("seed", range(6))
def test_a_plain_drawing_has_no_finding(seed: int) -> None:
    assert fired(skin(seed)) == set()


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("seed", [3, 4])
def test_every_check_fires_on_what_it_is_for(name: str, seed: int) -> None:
    assert name in fired(CHANGES[name](skin(seed)))


def test_green_ink_counts_as_well() -> None:
    assert "ink" in fired(with_green_ink(skin()))


def test_a_dark_blue_lesion_is_no_ink() -> None:
    pixels = skin()
    cv2.circle(pixels, (300, 225), 150, (52, 58, 84), -1)
    assert "ink" not in fired(pixels)


def test_what_lies_over_the_skin_does_not_make_an_image_poor() -> None:
    for name in ("hair", "ruler", "ink", "dark corners"):
        quality = check(CHANGES[name](skin()))
        assert not quality.poor, name
    assert check(blurred(skin())).poor


def test_a_lesion_that_fills_the_image_is_not_too_dark() -> None:
    pixels = skin()
    cv2.circle(pixels, (300, 225), 225, (60, 40, 36), -1)
    assert "too dark" not in fired(pixels)


@pytest.mark.parametrize("name", [n for n in CHANGES if n != "too small"])
def test_a_larger_picture_of_the_same_is_judged_alike(name: str) -> None:
    pixels = CHANGES[name](skin())
    large = cv2.resize(pixels, (3 * WIDTH, 3 * HEIGHT), interpolation=cv2.INTER_CUBIC)
    assert fired(large) == fired(pixels)


def test_sharpness_is_one_less_the_blur_effect_of_crete_et_al() -> None:
    luma = cv2.cvtColor(skin(5, 224, 298), cv2.COLOR_RGB2GRAY).astype(float)
    kept = []
    for axis in (0, 1):
        sharp = np.abs(np.diff(luma, axis=axis))
        blurred = np.abs(np.diff(uniform_filter1d(luma, 11, axis=axis, mode="reflect"), axis=axis))
        kept.append(np.maximum(0, sharp - blurred).sum() / sharp.sum())
    assert sharpness(luma.astype(np.uint8), np.zeros(luma.shape, bool)) == pytest.approx(min(kept), rel=1e-4)


def test_sharpness_ranks_images_as_scikit_image_does() -> None:
    lumas = [cv2.cvtColor(skin(seed, 224, 298), cv2.COLOR_RGB2GRAY) for seed in (1, 2)]
    blurred = [cv2.GaussianBlur(luma, (0, 0), sigma) for sigma in (0.5, 1, 2, 4) for luma in lumas]
    own = [sharpness(luma, np.zeros(luma.shape, bool)) for luma in blurred]
    assert spearmanr(own, [-blur_effect(luma) for luma in blurred]).statistic > 0.95


def test_sharpness_falls_with_blur_and_does_not_depend_on_contrast() -> None:
    pixels = skin()
    found = [check(cv2.GaussianBlur(pixels, (0, 0), s)).sharpness for s in (1, 2, 4, 8)]
    assert found == sorted(found, reverse=True)
    pale = (128 + (pixels.astype(int) - 128) // 2).astype(np.uint8)
    assert check(pale).sharpness == pytest.approx(check(pixels).sharpness, abs=0.05)


def test_measured_shares_are_those_that_were_drawn() -> None:
    pixels = skin()
    pixels[:90] = 255
    assert check(pixels).glare == pytest.approx(0.2, abs=0.01)
    framed = skin()
    framed[:, :150] = 0
    quality = check(framed)
    assert quality.vignette == pytest.approx(0.25, abs=0.02)
    assert quality.short_side == HEIGHT


def test_a_black_image_is_measured_too() -> None:
    quality = check(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    assert quality.vignette == 1
    assert quality.brightness == 0
    assert {"blurred", "too dark", "dark corners"} <= {f.name for f in quality.findings}


def test_evenly_spaced_positions_are_counted() -> None:
    assert evenly_spaced(np.arange(0, 90, 10.0)) == 9
    assert evenly_spaced(np.array([0.0, 10, 20, 30, 70, 75, 77])) == 4
    assert evenly_spaced(np.array([0.0, 5, 30, 100])) == 0
    assert evenly_spaced(np.array([4.0])) == 0


def test_a_strip_is_judged_by_its_middle() -> None:
    middle = skin()
    strip = np.tile(middle, (1, 9, 1))
    at = (strip.shape[1] - 4 * HEIGHT) // 2
    assert check(strip) == check(strip[:, at : at + 4 * HEIGHT])
    assert check(strip.swapaxes(0, 1)).short_side == HEIGHT
    assert check(middle) == check(np.ascontiguousarray(middle))


def test_a_picture_of_nothing_but_marks_is_looked_through_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []

    def counted(row: np.ndarray) -> int:
        rows.append(len(row))
        return evenly_spaced(row)

    monkeypatch.setattr(quality, "evenly_spaced", counted)
    bars = np.full((32, 60_000, 3), 200, np.uint8)
    bars[10:20, ::3] = 20
    found = check(bars)
    assert (found.short_side, found.ticks >= MIN_TICKS) == (32, True)
    many = np.full((224, 896, 3), 200, np.uint8)
    for y in range(4, 220, 8):
        many[y : y + 6, ::3] = 20
    check(many)
    assert max(len(rows), *rows) <= 2 * MOST_MARKS, "of two pictures"


def test_every_finding_has_a_sentence_and_advice() -> None:
    worst = Quality(0.0, 0.0, 1.0, 10, 1.0, 20, 1.0, 1.0)
    found = worst.findings
    assert len(found) == 8
    assert all(f.text.endswith(".") and f.advice.endswith(".") for f in found)
    flags = [f.poor for f in found]
    assert flags == sorted(flags, reverse=True), "what makes an image poor comes first"
    assert "10 pixels" in next(f.text for f in found if f.name == "too small")
    some = {f.name: f.text for f in Quality(1.0, 180.0, 0.034, MIN_SHORT_SIDE, 0.0, 0, 0.2, 0.0).findings}
    assert some["glare"] == "3 % of the image is burnt out to white."
    assert some["dark corners"].endswith("take up 20 % of the image.")
    kinds = {"blurred": "sharpness", "too dark": "light", "too bright": "light", "too small": "size"}
    assert all(kinds.get(f.name, f.name) in WITHIN for f in found), "what is said without findings names every check"
    fine = Quality(1.0, 180.0, MAX_GLARE, MIN_SHORT_SIDE, 0.0, 0, 0.0, 0.0)
    assert fine.findings == ()


@settings(deadline=None, max_examples=25)
@given(height=st.integers(32, 80), width=st.integers(32, 80), seed=st.integers(0, 99), flat=st.booleans())
def test_anything_that_is_an_image_is_measured_within_range(height: int, width: int, seed: int, flat: bool) -> None:
    rng = np.random.default_rng(seed)
    size = (1, 1, 3) if flat else (height, width, 3)
    q = check(np.broadcast_to(rng.integers(0, 256, size, np.uint8), (height, width, 3)).copy())
    for share in (q.sharpness, q.glare, q.ink, q.vignette, q.hair):
        assert 0 <= share <= 1
    assert 0 <= q.brightness <= 255
    assert q.ticks >= 0
