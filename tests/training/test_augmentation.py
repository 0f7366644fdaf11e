import keras
import numpy as np
import pytest

from dermlens.image.preprocess import Geometry, fit
from dermlens.image.synthetic import draw_lesion
from training.augmentation import RGB_TO_YIQ, RandomAffine, RandomColour, augmenter, mixup, reseed
from training.config import Augment
from training.dataset import canvas

NONE = Augment(
    flip=False, rotation_degrees=0, zoom=0, translation=0, brightness=0, contrast=0, saturation=0, hue=0, erasing=0
)
SIZE = 48
N = 64


def ellipse(long: float = 14, short: float = 7, height: int = SIZE, width: int = SIZE * 4 // 3) -> np.ndarray:
    """A bright ellipse along the rows' direction on black, smooth at its edge, (height, width, 3) float32."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    radius = np.hypot(x / long, y / short)
    return np.repeat((255 / (1 + np.exp((radius - 1) * 12)))[..., None], 3, 2)


def batch(image: np.ndarray, n: int = N) -> np.ndarray:
    return np.repeat(image[None].astype(np.float32), n, 0)


def run(layer: keras.Layer, images: np.ndarray, training: bool = True, seed: int = 5) -> np.ndarray:
    reseed(layer, seed)
    return keras.ops.convert_to_numpy(layer(images, training=training))


def affine(**settings: float) -> RandomAffine:
    return RandomAffine(SIZE, **{"flip": False, "rotation_degrees": 0.0, "zoom": 0.0, "translation": 0.0, **settings})


def shape(image: np.ndarray) -> tuple[np.ndarray, float, float, float]:
    """Return centre (x, y) from the middle, long and short axis and the angle of the long one in degrees."""
    weight = image[..., 0] / image[..., 0].sum()
    y, x = np.mgrid[0 : image.shape[0], 0 : image.shape[1]] - (image.shape[0] - 1) / 2
    centre = np.array([(weight * x).sum(), (weight * y).sum()])
    x, y = x - centre[0], y - centre[1]
    xy = (weight * x * y).sum()
    values, vectors = np.linalg.eigh([[(weight * x * x).sum(), xy], [xy, (weight * y * y).sum()]])
    short, long = 2 * np.sqrt(values)
    return centre, long, short, np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])) % 180


def spread(values: np.ndarray, low: float, high: float, slack: float) -> None:
    """Values lie in a range and use most of it, on both sides of its middle."""
    assert values.min() >= low - slack
    assert values.max() <= high + slack
    assert values.min() <= low + 0.15 * (high - low)
    assert values.max() >= high - 0.15 * (high - low)


def test_without_training_nothing_changes() -> None:
    image = draw_lesion(np.random.default_rng(1), SIZE, SIZE * 4 // 3)
    wild = Augment(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.5, erasing=1.0)
    out = run(augmenter(wild, SIZE), batch(image, 4), training=False)
    np.testing.assert_array_equal(out, batch(image[:, 8:-8], 4))


@pytest.mark.parametrize(("height", "width"), [(450, 600), (120, 160), (224, 298), (400, 400), (410, 500)])
def test_without_training_it_shows_what_serving_shows(height: int, width: int) -> None:
    image = draw_lesion(np.random.default_rng(2), height, width)
    out = run(augmenter(Augment(), 64), canvas(image, 64)[None].astype(np.float32), training=False)[0]
    served = fit(image, Geometry(64)).astype(np.float32)
    assert np.abs(out - served).mean() < 2.5  # half a pixel and another rounding of the scale at most
    assert np.corrcoef(out.ravel(), served.ravel())[0, 1] > 0.99


def test_all_at_zero_changes_nothing_in_training_either() -> None:
    image = draw_lesion(np.random.default_rng(1), SIZE, SIZE * 4 // 3)
    np.testing.assert_allclose(run(augmenter(NONE, SIZE), batch(image, 2)), batch(image[:, 8:-8], 2), atol=1e-3)
    np.testing.assert_allclose(run(RandomColour(0, 0, 0, 0), batch(image, 2)), batch(image, 2), atol=1e-2)


def test_flips_are_exact_and_all_four_occur() -> None:
    image = draw_lesion(np.random.default_rng(1), SIZE, SIZE * 4 // 3)
    square = image[:, 8:-8].astype(np.float32)
    flips = [square, square[::-1], square[:, ::-1], square[::-1, ::-1]]
    met = [[np.allclose(out, flip, atol=1e-2) for flip in flips] for out in run(affine(flip=True), batch(image))]
    assert np.sum(met, 1).tolist() == [1] * N
    assert np.sum(met, 0).min() >= N / 8


@pytest.mark.parametrize("limit", [20, 180])
def test_turns_stay_within_the_limit_and_keep_shapes(limit: float) -> None:
    found = [shape(out) for out in run(affine(rotation_degrees=limit), batch(ellipse()))]
    _, long, short, _ = shape(ellipse()[:, 8:-8])
    for centre, a, b, _ in found:
        assert np.abs(centre).max() < 0.1
        assert (a, b) == pytest.approx((long, short), rel=0.02)
    angles = np.array([angle for *_, angle in found])
    if limit < 90:
        spread((angles + 90) % 180 - 90, -limit, limit, 0.5)
    else:
        spread(angles, 0, 180, 0)


def test_a_turn_goes_by_the_drawn_angle(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = affine(rotation_degrees=30)
    monkeypatch.setattr(layer, "_uniform", lambda n, limit: keras.ops.full((n,), limit))
    *_, angle = shape(run(layer, batch(ellipse(), 1))[0])
    assert min(angle, 180 - angle) == pytest.approx(30, abs=0.3)


def test_zoom_is_the_same_on_both_axes_and_within_the_limit() -> None:
    _, long, short, _ = shape(ellipse()[:, 8:-8])
    found = [shape(out) for out in run(affine(zoom=0.3), batch(ellipse()))]
    extent = np.array([[long / a, short / b] for _, a, b, _ in found])
    np.testing.assert_allclose(extent[:, 0], extent[:, 1], rtol=0.04)
    spread(extent.mean(1), 0.7, 1.3, 0.03)


def test_shift_is_within_the_limit_on_each_axis_by_itself() -> None:
    centres = np.array([shape(out)[0] for out in run(affine(translation=0.1), batch(ellipse(7, 7)))])
    for axis in (0, 1):
        spread(centres[:, axis], -0.1 * SIZE, 0.1 * SIZE, 0.1)
    assert abs(np.corrcoef(centres.T)[0, 1]) < 0.4


def test_all_changes_together_keep_a_circle_a_circle() -> None:
    everything = affine(flip=True, rotation_degrees=180, zoom=0.15, translation=0.05)
    for out in run(everything, batch(ellipse(5, 5))):  # small: the mirror image of a large one may show in a corner
        _, a, b, _ = shape(out)
        assert a / b == pytest.approx(1, abs=0.02)


def test_beyond_the_edge_the_image_is_mirrored_without_a_seam() -> None:
    everything = affine(flip=True, rotation_degrees=180, zoom=0.3, translation=0.2)
    np.testing.assert_allclose(run(everything, batch(np.full((SIZE, SIZE * 4 // 3, 3), 77))), 77, atol=1e-3)
    y, x = np.mgrid[0:SIZE, 0 : SIZE * 4 // 3]
    slope = np.repeat((x + 2.0 * y)[..., None], 3, 2)  # steps of at most hypot(1, 2) a pixel, mirrored or not
    out = run(everything, batch(slope))
    steps = [np.abs(np.diff(out, axis=axis)).max() for axis in (1, 2)]
    assert max(steps) <= 1.3 * np.hypot(1, 2) + 0.05


def colour(images: np.ndarray, **settings: float) -> np.ndarray:
    return run(RandomColour(**{"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, **settings}), images)


def skin() -> np.ndarray:
    rng = np.random.default_rng(3)
    return (np.array([150, 110, 100]) + rng.uniform(-25, 25, (8, 8, 3))).astype(np.float32)


def test_brightness_adds_the_same_everywhere() -> None:
    change = colour(batch(skin()), brightness=0.2) - skin()
    assert np.ptp(change, axis=(1, 2, 3)).max() < 0.05
    spread(change.mean((1, 2, 3)), -51, 51, 0.01)


def test_contrast_scales_about_the_mean_colour() -> None:
    out = colour(batch(skin()), contrast=0.3)
    np.testing.assert_allclose(out.mean((1, 2)), batch(skin()).mean((1, 2)), atol=0.05)
    gain = out.std((1, 2)) / skin().std((0, 1))
    np.testing.assert_allclose(gain, gain[:, :1].repeat(3, 1), rtol=1e-3)
    spread(gain[:, 0], 0.7, 1.3, 1e-3)


def yiq(images: np.ndarray) -> np.ndarray:
    return images @ RGB_TO_YIQ.T


def test_saturation_scales_the_distance_from_grey_and_keeps_luma() -> None:
    out, before = yiq(colour(batch(skin()), saturation=0.4)), yiq(batch(skin()))
    np.testing.assert_allclose(out[..., 0], before[..., 0], atol=0.05)
    gain = np.hypot(out[..., 1], out[..., 2]) / np.hypot(before[..., 1], before[..., 2])
    assert np.ptp(gain, axis=(1, 2)).max() < 0.01
    spread(gain.mean((1, 2)), 0.6, 1.4, 1e-3)


def test_hue_turns_all_colours_alike_and_keeps_luma() -> None:
    out, before = yiq(colour(batch(skin()), hue=0.05)), yiq(batch(skin()))
    np.testing.assert_allclose(out[..., 0], before[..., 0], atol=0.05)
    turned = (out[..., 1] + 1j * out[..., 2]) / (before[..., 1] + 1j * before[..., 2])
    np.testing.assert_allclose(np.abs(turned), 1, atol=5e-3)
    angles = np.angle(turned) / (2 * np.pi)
    assert np.ptp(angles, axis=(1, 2)).max() < 2e-3
    spread(angles.mean((1, 2)), -0.05, 0.05, 1e-3)


def test_grey_stays_grey_and_values_stay_in_range() -> None:
    grey = np.repeat(np.random.default_rng(0).uniform(0, 255, (8, 8, 1)), 3, 2)
    out = colour(batch(grey), brightness=0.3, contrast=0.5, saturation=0.9, hue=0.5)
    assert np.ptp(out, axis=3).max() < 0.1
    assert out.min() == 0
    assert out.max() == 255


def test_contrast_leaves_the_mean_of_the_changed_colours() -> None:
    low, high = (colour(batch(skin()), saturation=0.4, hue=0.05, contrast=c) for c in (1e-6, 0.5))
    np.testing.assert_allclose(low.mean((1, 2)), high.mean((1, 2)), atol=0.1)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_erasing_blackens_one_rectangle_in_that_share_of_images(share: float) -> None:
    from dataclasses import replace

    image = np.full((SIZE, SIZE * 4 // 3, 3), 200.0)
    out = run(augmenter(replace(NONE, erasing=share), SIZE), batch(image, 400))
    erased = (out == 0).all(-1)
    np.testing.assert_array_equal(out[~erased], 200)
    hit = erased.any((1, 2))
    assert hit.mean() == pytest.approx(share, abs=0.08)
    for one in erased[hit]:
        assert np.array_equal(one, np.outer(one.any(1), one.any(0)))
        assert 0.01 <= one.mean() <= 0.36


def test_mixup_blends_labels_as_it_blends_pixels() -> None:
    labels = np.eye(7, dtype=np.float32)[np.arange(64) % 7]
    images = 255 * np.repeat(np.repeat(labels[:, None, None], 4, 1), 4, 2)  # a pixel's channels are its label
    layer = mixup(0.4)
    assert layer is not None
    reseed(layer, 3)
    mixed = layer({"images": images, "labels": labels}, training=True)
    out = keras.ops.convert_to_numpy(mixed["images"])
    blended = keras.ops.convert_to_numpy(mixed["labels"])
    np.testing.assert_allclose(out / 255, blended[:, None, None].repeat(4, 1).repeat(4, 2), atol=1e-5)
    np.testing.assert_allclose(blended.sum(1), 1, atol=1e-6)
    assert ((blended > 0.01).sum(1) == 2).mean() > 0.3
    assert mixup(0.0) is None


def test_images_of_a_batch_are_drawn_apart_and_a_seed_repeats_them() -> None:
    layer = augmenter(Augment(erasing=0.5), SIZE)
    images = batch(draw_lesion(np.random.default_rng(1), SIZE, SIZE * 4 // 3), 8)
    first, again, other = (run(layer, images, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 5
    assert min(np.abs(a - b).mean() for i, a in enumerate(first) for b in first[:i]) > 1
    assert first.shape == (8, SIZE, SIZE, 3)
    assert first.dtype == np.float32


def test_mixup_can_be_repeated_by_its_seed() -> None:
    layer = mixup(0.4)
    assert layer is not None
    data = {"images": np.random.default_rng(0).uniform(0, 255, (8, 4, 4, 3)).astype(np.float32), "labels": np.eye(8)}
    outs = []
    for seed in (1, 1, 2):
        reseed(layer, seed)
        outs.append(keras.ops.convert_to_numpy(layer(data, training=True)["images"]))
    np.testing.assert_array_equal(outs[0], outs[1])
    assert not np.array_equal(outs[0], outs[2])


def test_images_are_changed_in_float32_whatever_the_network_computes_in() -> None:
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        layer = augmenter(Augment(erasing=0.5), SIZE)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    plain = augmenter(Augment(erasing=0.5), SIZE)
    images = batch(draw_lesion(np.random.default_rng(1), SIZE, SIZE * 4 // 3), 4)
    np.testing.assert_allclose(run(layer, images), run(plain, images), atol=1e-3)
