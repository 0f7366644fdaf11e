import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermlens.case.predict import predict, softmax
from dermlens.explain.localisation import (
    STEPS,
    Finding,
    area_under,
    centred,
    energy_share,
    map_seen,
    mask_seen,
    peak,
    points_inside,
    removal_curves,
    removal_order,
    where_it_sits,
)
from dermlens.image.preprocess import Geometry, fit, placement
from dermlens.models.model import Model

WHOLE = (slice(None), slice(None))
SHAPES = [(300, 400), (400, 300), (200, 600), (90, 90)]


def test_energy_share_by_hand() -> None:
    heat = np.array([[4.0, 1.0], [0.0, 3.0]])
    assert energy_share(heat, np.array([[True, False], [True, False]])) == 0.5
    assert energy_share(heat, np.array([[True, True], [False, True]])) == 1
    assert np.isnan(energy_share(0 * heat, np.ones((2, 2), bool)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10))
def test_an_even_map_has_the_lesions_share_of_the_area_and_scale_does_not_matter(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    lesion, heat = rng.random((12, 9)) < rng.random(), rng.random((12, 9))
    assert energy_share(np.full(lesion.shape, scale), lesion) == pytest.approx(lesion.mean())
    assert energy_share(scale * heat, lesion) == pytest.approx(energy_share(heat, lesion))
    assert energy_share(heat, lesion) + energy_share(heat, ~lesion) == pytest.approx(1)
    assert energy_share(heat * ~lesion, lesion) == pytest.approx(0) or not (heat * ~lesion).any()


def test_a_lesion_moved_away_from_the_map_gets_nothing() -> None:
    heat, lesion = np.zeros((20, 20)), np.zeros((20, 20), bool)
    heat[4:8, 4:8], lesion[3:9, 3:9] = 1.0, True
    assert (energy_share(heat, lesion), points_inside(heat, lesion)) == (1, True)
    away = np.roll(lesion, 8, (0, 1))
    assert (energy_share(heat, away), points_inside(heat, away)) == (0, False)


def test_the_highest_point_of_a_plateau_is_in_its_middle() -> None:
    heat = np.zeros((11, 11))
    heat[2:7, 4:9] = 1
    assert peak(heat) == (4, 6)
    heat[9, 0] = 2
    assert peak(heat) == (9, 0)
    assert points_inside(np.zeros((3, 3)), np.ones((3, 3), bool)) is None


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_mask_goes_where_its_image_goes(shape: tuple[int, int], scale: float) -> None:
    geometry = Geometry(64)
    height, width = shape
    mask = np.zeros(shape, np.uint8)
    centre, radius = (int(0.45 * width), int(0.6 * height)), height // 4
    cv2.circle(mask, centre, radius, 1, -1)
    square = fit(np.repeat(255 * mask[..., None], 3, -1), geometry)
    place = placement(height, width, geometry)
    expected = square[place.top : place.top + place.height, place.left : place.left + place.width, 0] > 127
    stored = cv2.resize(mask, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA) > 0
    found = mask_seen(stored, height, width, geometry)
    assert found.shape == (place.height, place.width)
    assert (found != expected).mean() < (0.005 if scale == 1 else 0.02)


def test_a_mask_of_another_aspect_covers_the_same_part() -> None:
    mask = np.zeros((60, 80), bool)
    mask[15:45, 20:60] = True
    squeezed = cv2.resize(mask.astype(np.uint8), (60, 60), interpolation=cv2.INTER_AREA) > 0
    one, two = (mask_seen(m, 450, 600, Geometry(64)) for m in (mask, squeezed))
    assert (one != two).mean() < 0.02


@pytest.mark.parametrize("shape", SHAPES)
def test_the_map_over_the_image_leaves_out_what_is_padded(shape: tuple[int, int]) -> None:
    geometry = Geometry(64)
    place = placement(*shape, geometry)
    square = np.zeros((64, 64), np.float32)
    square[place.top : place.top + place.height, place.left : place.left + place.width] = 1
    seen = map_seen(square, *shape, geometry)
    assert seen.shape == (place.height, place.width) == mask_seen(np.ones(shape, bool), *shape, geometry).shape
    assert (seen == 1).all()


def test_the_order_is_from_hot_to_cold_and_equal_pixels_are_spread() -> None:
    heat = np.array([[0.1, 0.9], [0.5, 0.7]])
    assert removal_order(heat).tolist() == [1, 3, 2, 0]
    flat = removal_order(np.zeros((20, 20)))
    assert sorted(flat.tolist()) == list(range(400))
    assert np.array_equal(flat, removal_order(np.zeros((20, 20))))
    assert 0.3 < (flat[:200] < 200).mean() < 0.7, "not row by row"


def test_area_under_a_curve_by_hand() -> None:
    assert area_under(np.array([1.0, 0.5, 0.0])) == 0.5
    assert area_under(np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])).tolist() == [0.25, 1.0]


def mean_of_red(squares: np.ndarray) -> np.ndarray:
    """A network whose probability of class 0 is the mean of the red channel, of 255."""
    shares = np.zeros((len(squares), 7))
    shares[:, 0] = squares[..., 0].mean((1, 2)) / 255
    return shares


def test_removal_curves_by_hand() -> None:
    # 10 x 10 pixels, 10 of them 255 and the others 0: the mean colour is 25.5, so the probability stays 0.1 all along
    # when pixels of both kinds go, and is 0.01 once the ten bright ones are the mean colour.
    square = np.zeros((10, 10, 3), np.uint8)
    square[0] = 255
    heat = np.zeros((10, 10))
    heat[0] = 1
    best, worst = removal_order(heat), removal_order(1 - heat)
    curves = removal_curves(mean_of_red, square, WHOLE, [best, worst], 0)
    assert curves.shape == (2, 2, STEPS + 1)
    assert curves[0, 0] == pytest.approx([0.1, *(0.01 + 0.01 * k for k in range(10))])
    assert curves[1, 0] == pytest.approx([0.1 + 0.01 * k for k in range(10)] + [0.1])
    # Insertion starts from the blur, whose mean is kept but for the border, and ends with the image.
    assert curves[:, 1, -1] == pytest.approx([0.1, 0.1])
    assert curves[0, 1, 0] == curves[1, 1, 0]
    assert curves[0, 1, 1] > curves[1, 1, 1]


def test_only_the_seen_part_is_changed_and_the_network_is_asked_in_batches() -> None:
    square = np.full((12, 12, 3), 7, np.uint8)
    seen = slice(2, 10), slice(0, 12)
    square[seen] = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    sizes, outside = [], set()

    def ask(squares: np.ndarray) -> np.ndarray:
        sizes.append(len(squares))
        outside.update(np.unique(squares[:, :2]).tolist() + np.unique(squares[:, 10:]).tolist())
        assert squares.dtype == np.float32
        return mean_of_red(squares)

    curves = removal_curves(ask, square, seen, [removal_order(square[seen][..., 0])], 0, batch=4)
    assert outside == {7}
    assert max(sizes) <= 4
    assert sum(sizes) == 3 + 2 * (STEPS - 1)
    assert curves[0, 0, 0] == curves[0, 1, -1] == pytest.approx(square[..., 0].mean() / 255)


def test_a_map_that_ranks_pixels_right_beats_chance_for_the_bright_spot_detector(spot: Model) -> None:
    image = np.zeros((80, 80, 3), np.uint8)
    cv2.circle(image, (50, 24), 12, (255, 255, 255), -1)
    answer = predict(spot, image)
    seen = map_seen(answer.maps[0], 80, 80, spot.geometry)
    chance = map_seen(np.random.default_rng(1).random(answer.maps.shape[1:]), 80, 80, spot.geometry)

    def ask(squares: np.ndarray) -> np.ndarray:
        return softmax(spot.engine.run(squares).logits)

    orders = [removal_order(m) for m in (seen, chance, seen.max() - seen)]
    curves = removal_curves(ask, fit(image, spot.geometry), WHOLE, orders, 0)
    (best, chance_area, worst) = area_under(curves)
    assert best[0] < chance_area[0] < worst[0]
    assert best[1] > chance_area[1] > worst[1]
    assert curves[0, 0, 0] == pytest.approx(softmax(spot.engine.run(fit(image, spot.geometry)[None]).logits)[0, 0])


@pytest.mark.parametrize("cells", [5, 7])
@pytest.mark.parametrize(
    ("cell", "kind", "place"),
    [
        ((0, 0), "corner", "top left"),
        ((-1, 0), "corner", "bottom left"),
        ((0, -1), "corner", "top right"),
        ((-1, 2), "border", "bottom"),
        ((2, -1), "border", "right"),
        ((0, 2), "border", "top"),
        ((2, 2), None, None),
        ((1, 2), None, None),
    ],
)
def test_heat_in_one_cell_is_found_where_it_is(cells: int, cell: tuple[int, int], kind: str, place: str) -> None:
    heat = np.zeros((cells, cells), np.float32)
    heat[cell] = 3.0
    found = where_it_sits(map_seen(heat, 450, 600, Geometry(160)))
    if kind is None:
        assert found is None
    else:
        assert (found.kind, found.place) == (kind, place)
        assert 0.4 < found.share <= 1


def test_a_ring_is_on_all_sides_and_an_even_or_empty_map_is_no_finding() -> None:
    ring = np.ones((100, 100))
    assert where_it_sits(ring) is None
    assert where_it_sits(0 * ring) is None
    ring[10:-10, 10:-10] = 0
    assert where_it_sits(ring) == Finding("border", "all sides", pytest.approx(1))
    assert where_it_sits(np.ones((1, 32))) is None, "a sliver has no corners"


def test_a_blob_has_the_values_of_a_map_and_its_heat_in_the_middle() -> None:
    heat = np.zeros((4, 6), np.float32)
    heat[0, 0], heat[0, 5], heat[3, 5] = 5, 3, 1
    blob = centred(heat)
    assert sorted(blob.ravel()) == sorted(heat.ravel())
    middle = np.zeros_like(heat, bool)
    middle[1:3, 2:4] = True
    assert energy_share(blob, middle) == 1
    assert blob.max() == blob[1, 2], "of equally near pixels the first"
    whole = np.random.default_rng(0).random((31, 31))
    falling = centred(whole)[15, 15:]
    assert (np.diff(falling) <= 0).all()
