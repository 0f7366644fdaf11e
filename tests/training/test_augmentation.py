from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from dermlens.image.preprocess import Geometry, fit
from dermlens.image.synthetic import draw_lesion
from training.augmentation import (
    JPEG_QUALITY,
    RGB_TO_YIQ,
    augment,
    augmented_batches,
    centre,
    mixup,
    recolour,
    warp,
)
from training.config import Augment
from training.dataset import canvas

NONE = Augment.none()
SIZE = 48
N = 64


def ellipse(long: float = 14, short: float = 7, height: int = SIZE, width: int = SIZE * 4 // 3) -> np.ndarray:
    """A bright ellipse along the rows' direction on black, smooth at its edge, (height, width, 3) uint8."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    radius = np.hypot(x / long, y / short)
    return np.repeat((255 / (1 + np.exp((radius - 1) * 12)))[..., None], 3, 2).round().astype(np.uint8)


def many(change: Callable, image: np.ndarray, *options: object, n: int = N, **settings: object) -> np.ndarray:
    """Return n independent changes of an image with some settings, (n, h, w, 3) float32."""
    wanted = replace(NONE, **settings)
    return np.stack([change(image, *options, wanted, np.random.default_rng([5, i])) for i in range(n)]).astype(float)


def shape(image: np.ndarray) -> tuple[np.ndarray, float, float, float]:
    """Return centre (x, y) from the middle, long and short axis and the angle of the long one in degrees."""
    weight = image[..., 0] / image[..., 0].sum()
    y, x = np.mgrid[0 : image.shape[0], 0 : image.shape[1]] - (image.shape[0] - 1) / 2
    middle = np.array([(weight * x).sum(), (weight * y).sum()])
    x, y = x - middle[0], y - middle[1]
    xy = (weight * x * y).sum()
    values, vectors = np.linalg.eigh([[(weight * x * x).sum(), xy], [xy, (weight * y * y).sum()]])
    short, long = 2 * np.sqrt(values)
    return middle, long, short, np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])) % 180


def spread(values: np.ndarray, low: float, high: float, slack: float) -> None:
    """Values lie in a range and use most of it, on both sides of its middle."""
    assert values.min() >= low - slack
    assert values.max() <= high + slack
    assert values.min() <= low + 0.15 * (high - low)
    assert values.max() >= high - 0.15 * (high - low)


@pytest.mark.parametrize(("height", "width"), [(450, 600), (120, 160), (224, 298), (400, 400), (410, 500)])
def test_the_centre_is_what_serving_shows(height: int, width: int) -> None:
    image = draw_lesion(np.random.default_rng(2), height, width)
    out, served = centre(canvas(image, 64), 64), fit(image, Geometry(64)).astype(np.float32)
    assert np.abs(out - served).mean() < 2.5  # half a pixel and another rounding of the scale at most
    assert np.corrcoef(out.ravel(), served.ravel())[0, 1] > 0.99


def test_all_at_zero_changes_nothing() -> None:
    image = draw_lesion(np.random.default_rng(1), SIZE, SIZE * 4 // 3)
    np.testing.assert_allclose(many(augment, image, SIZE, n=2), np.stack([image[:, 8:-8]] * 2), atol=1e-3)


def test_flips_are_exact_and_all_four_occur() -> None:
    image = draw_lesion(np.random.default_rng(1), SIZE, SIZE * 4 // 3)
    square = image[:, 8:-8].astype(np.float32)
    flips = [square, square[::-1], square[:, ::-1], square[::-1, ::-1]]
    met = [[np.allclose(out, flip, atol=1) for flip in flips] for out in many(warp, image, SIZE, flip=True)]
    assert np.sum(met, 1).tolist() == [1] * N
    assert np.sum(met, 0).min() >= N / 8


@pytest.mark.parametrize("limit", [20.0, 180.0])
def test_turns_stay_within_the_limit_and_keep_shapes(limit: float) -> None:
    found = [shape(out) for out in many(warp, ellipse(), SIZE, rotation_degrees=limit)]
    _, long, short, _ = shape(ellipse()[:, 8:-8])
    for middle, a, b, _ in found:
        assert np.abs(middle).max() < 0.1
        assert (a, b) == pytest.approx((long, short), rel=0.02)
    angles = np.array([angle for *_, angle in found])
    if limit < 90:
        spread((angles + 90) % 180 - 90, -limit, limit, 0.5)
    else:
        spread(angles, 0, 180, 0)


def test_zoom_is_the_same_on_both_axes_and_within_the_limit() -> None:
    _, long, short, _ = shape(ellipse()[:, 8:-8])
    found = [shape(out) for out in many(warp, ellipse(), SIZE, zoom=0.3)]
    extent = np.array([[long / a, short / b] for _, a, b, _ in found])
    np.testing.assert_allclose(extent[:, 0], extent[:, 1], rtol=0.04)
    spread(extent.mean(1), 0.7, 1.3, 0.03)


def test_shift_is_within_the_limit_on_each_axis_by_itself() -> None:
    centres = np.array([shape(out)[0] for out in many(warp, ellipse(7, 7), SIZE, translation=0.1)])
    for axis in (0, 1):
        spread(centres[:, axis], -0.1 * SIZE, 0.1 * SIZE, 0.1)
    assert abs(np.corrcoef(centres.T)[0, 1]) < 0.4


def test_all_changes_together_keep_a_circle_a_circle_at_any_resolution() -> None:
    everything = {"flip": True, "rotation_degrees": 180.0, "zoom": 0.15, "translation": 0.05}
    for height in (24, SIZE, 90):  # small: the mirror image of a large circle may show in a corner
        radius = 5 * height / SIZE
        drawn = ellipse(radius, radius, height, round(height * 4 / 3))
        for out in many(warp, drawn, SIZE, **everything):
            _, a, b, _ = shape(out)
            assert a / b == pytest.approx(1, abs=0.03)
            assert a == pytest.approx(shape(centre(ellipse(5, 5), SIZE))[1], rel=0.25)


def test_beyond_the_edge_the_image_is_mirrored_without_a_seam() -> None:
    everything = {"flip": True, "rotation_degrees": 180.0, "zoom": 0.3, "translation": 0.2}
    even = np.full((SIZE, SIZE * 4 // 3, 3), 77, np.uint8)
    np.testing.assert_array_equal(many(warp, even, SIZE, **everything), 77)
    y, x = np.mgrid[0:SIZE, 0 : SIZE * 4 // 3]
    slope = np.repeat((x + 2 * y)[..., None], 3, 2).astype(np.uint8)  # steps of at most hypot(1, 2) a pixel
    out = many(warp, slope, SIZE, **everything)
    steps = [np.abs(np.diff(out, axis=axis)).max() for axis in (1, 2)]
    assert max(steps) <= 1.3 * np.hypot(1, 2) + 1


def skin() -> np.ndarray:
    rng = np.random.default_rng(3)
    return (np.array([150, 110, 100]) + rng.uniform(-25, 25, (8, 8, 3))).round().astype(np.uint8)


def yiq(images: np.ndarray) -> np.ndarray:
    return images @ RGB_TO_YIQ.T


def test_gain_scales_each_channel_by_its_own_factor() -> None:
    out = many(recolour, skin(), gain=0.2) / skin()
    gains = out.mean((1, 2))
    assert np.ptp(out, axis=(1, 2)).max() < 1e-3
    for channel in range(3):
        spread(gains[:, channel], 0.8, 1.2, 1e-3)
    assert np.abs(np.corrcoef(gains.T)[np.triu_indices(3, 1)]).max() < 0.4


def test_gamma_is_a_power_that_keeps_black_and_white() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
    out = many(recolour, ramp, gamma=0.25)[:, 0, :, 0] / 255
    power = np.log(out[:, 128]) / np.log(128 / 255)
    np.testing.assert_allclose(out, (np.arange(256) / 255) ** power[:, None], atol=1e-4)
    spread(np.log(power), -np.log(1.25), np.log(1.25), 1e-3)


def test_brightness_adds_the_same_everywhere() -> None:
    change = many(recolour, skin(), brightness=0.2) - skin()
    assert np.ptp(change, axis=(1, 2, 3)).max() < 0.05
    spread(change.mean((1, 2, 3)), -51, 51, 0.01)


def test_contrast_scales_about_the_mean_colour() -> None:
    out = many(recolour, skin(), contrast=0.3)
    np.testing.assert_allclose(out.mean((1, 2)), np.stack([skin().mean((0, 1))] * N), atol=0.05)
    gain = out.std((1, 2)) / skin().std((0, 1))
    np.testing.assert_allclose(gain, gain[:, :1].repeat(3, 1), rtol=1e-3)
    spread(gain[:, 0], 0.7, 1.3, 1e-3)


def test_saturation_scales_the_distance_from_grey_and_keeps_luma() -> None:
    out, before = yiq(many(recolour, skin(), saturation=0.4)), yiq(skin())
    np.testing.assert_allclose(out[..., 0], np.stack([before[..., 0]] * N), atol=0.05)
    gain = np.hypot(out[..., 1], out[..., 2]) / np.hypot(before[..., 1], before[..., 2])
    assert np.ptp(gain, axis=(1, 2)).max() < 0.01
    spread(gain.mean((1, 2)), 0.6, 1.4, 1e-3)


def test_hue_turns_all_colours_alike_and_keeps_luma() -> None:
    out, before = yiq(many(recolour, skin(), hue=0.05)), yiq(skin())
    np.testing.assert_allclose(out[..., 0], np.stack([before[..., 0]] * N), atol=0.05)
    turned = (out[..., 1] + 1j * out[..., 2]) / (before[..., 1] + 1j * before[..., 2])
    np.testing.assert_allclose(np.abs(turned), 1, atol=5e-3)
    angles = np.angle(turned) / (2 * np.pi)
    assert np.ptp(angles, axis=(1, 2)).max() < 2e-3
    spread(angles.mean((1, 2)), -0.05, 0.05, 1e-3)


def test_grey_stays_grey_and_values_stay_in_range() -> None:
    grey = np.repeat(np.random.default_rng(0).integers(0, 256, (8, 8, 1), np.uint8), 3, 2)
    out = many(recolour, grey, brightness=0.3, contrast=0.5, saturation=0.9, hue=0.5)
    assert np.ptp(out, axis=3).max() < 0.1
    assert out.min() == 0
    assert out.max() == 255


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_erasing_paints_one_rectangle_in_that_share_of_images(share: float) -> None:
    image = np.full((SIZE, SIZE * 4 // 3, 3), 200, np.uint8)
    image[0, 8] = 0  # so that the mean colour is none of the image's own
    out = many(augment, image, SIZE, n=400, erasing=share)
    erased: np.ndarray = np.all((out > 199) & (out < 200), axis=-1)
    hit = erased.any((1, 2))
    assert hit.mean() == pytest.approx(share, abs=0.08)
    for one in erased[hit]:
        assert np.array_equal(one, np.outer(one.any(1), one.any(0)))
        assert 0.015 <= one.mean() <= 0.22


def test_blur_jpeg_and_low_resolution_are_drawn_as_often_as_asked_and_take_detail_away() -> None:
    fine = np.random.default_rng(0).integers(0, 256, (128, 170, 3), np.uint8)
    before = centre(fine, 128).std()
    for name in ("blur", "jpeg", "low_resolution"):
        out = many(augment, fine, 128, n=200, **{name: 0.5})
        changed = np.abs(out - centre(fine, 128)).max((1, 2, 3)) > 0
        assert changed.mean() == pytest.approx(0.5, abs=0.12), name
        assert out[changed].std((1, 2, 3)).mean() < before, name


def test_jpeg_is_what_an_encoder_of_that_quality_gives() -> None:
    image = draw_lesion(np.random.default_rng(1), SIZE, SIZE * 4 // 3)
    square = image[:, 8:-8]
    rng = np.random.default_rng(0)
    wanted = []
    for quality in range(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1):
        data = cv2.imencode(".jpg", square[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        wanted.append(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1])
    for _ in range(5):
        out = augment(image, SIZE, replace(NONE, jpeg=1.0), rng)
        assert any(np.array_equal(out, one) for one in wanted)


def test_mixup_blends_labels_as_it_blends_pixels() -> None:
    labels = np.eye(7, dtype=np.float32)[np.arange(64) % 7]
    images = 255 * np.repeat(np.repeat(labels[:, None, None], 4, 1), 4, 2)  # a pixel's channels are its label
    out, blended = mixup(images, labels, 0.4, np.random.default_rng(3))
    np.testing.assert_allclose(out / 255, blended[:, None, None].repeat(4, 1).repeat(4, 2), atol=1e-5)
    np.testing.assert_allclose(blended.sum(1), 1, atol=1e-6)
    assert ((blended > 0.01).sum(1) == 2).mean() > 0.3
    assert mixup(images, labels, 0.0, np.random.default_rng(3)) == (images, labels)


def test_an_epoch_is_repeated_by_its_seed_whatever_the_threads_do() -> None:
    settings = Augment(erasing=0.5, jpeg=0.5, mixup_alpha=0.2)
    images = [draw_lesion(np.random.default_rng(i), h, h * 4 // 3) for i, h in enumerate((SIZE, 30, 90, SIZE))]
    labels, order = np.eye(7, dtype=np.float32)[:4], np.array([3, 1, 0, 2, 2, 1, 0])

    def epoch(seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return list(augmented_batches(images, labels, order, 3, SIZE, settings, seed))

    first, again, other = epoch(1), epoch(1), epoch(2)
    assert [x.shape for x, _ in first] == [(3, SIZE, SIZE, 3)] * 2, "an incomplete last batch is left out"
    assert first[0][0].dtype == np.float32
    for (x, y), (x2, y2), (x3, _) in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)
        assert np.abs(x - x3).mean() > 5


def test_images_of_a_batch_are_drawn_apart() -> None:
    out = many(augment, draw_lesion(np.random.default_rng(1), SIZE, SIZE * 4 // 3), SIZE, n=8, rotation_degrees=180.0)
    assert min(np.abs(a - b).mean() for i, a in enumerate(out) for b in out[:i]) > 1
