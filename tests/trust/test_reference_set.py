import io

import numpy as np
import pytest
from sklearn.covariance import EmpiricalCovariance
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from dermlens.errors import DataError, ModelError
from dermlens.trust.reference_set import (
    NEIGHBOUR,
    ReferenceSet,
    decode,
    encode,
    energy,
    mahalanobis,
    make_reference_set,
    nearest,
    unit,
)

N = 140
C = 24


def data(seed: int = 0, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of seven classes whose spread falls from one channel to the next."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 7
    return 3 + np.eye(C)[y] * 2 + rng.normal(0, 1, (n, C)) * 0.9 ** np.arange(C), y


def reference(axes: int = C) -> ReferenceSet:
    embeddings, y = data()
    rng = np.random.default_rng(5)
    return make_reference_set(
        np.array([f"ISIC_{i}" for i in range(N)]), (embeddings, y), axes, (rng.normal(0, 1, (C, 7)), np.ones(7))
    )


def test_mahalanobis_is_the_distance_to_the_nearest_class_mean_under_one_covariance() -> None:
    embeddings, y = data()
    means = np.stack([embeddings[y == i].mean(0) for i in range(7)])
    shared = EmpiricalCovariance(assume_centered=True).fit(embeddings - means[y])
    others = data(1, 20)[0]
    expected = np.min([shared.mahalanobis(others - mean) for mean in means], axis=0) * (N - 7) / N
    np.testing.assert_allclose(mahalanobis(reference(), others.astype(np.float32)), expected, rtol=0.01)


def test_what_lies_off_the_axes_counts_by_its_variance_there() -> None:
    found, (embeddings, _) = reference(4), data()
    pca = PCA(4, svd_solver="full").fit(embeddings)
    _, _, off_axes = np.linalg.svd(found.own.axes.astype(float).T)
    off = off_axes[-1]
    assert np.abs(pca.components_ @ off).max() < 1e-2
    rest = ((embeddings - embeddings.mean(0)) ** 2).sum(1) - (pca.transform(embeddings) ** 2).sum(1)
    assert found.own.rest_variance == pytest.approx(rest.mean() / (C - 4), rel=0.01)
    at, far = (found.own.centre + step * off for step in (0.0, 30.0))
    here, there = mahalanobis(found, np.stack([at, far]).astype(np.float32))
    assert there - here == pytest.approx(900 / found.own.rest_variance, rel=0.01)


def test_nearest_is_the_distance_of_the_tenth_neighbour_at_length_one() -> None:
    embeddings, others = data()[0], data(1, 20)[0]
    search = NearestNeighbors(n_neighbors=NEIGHBOUR).fit(unit(embeddings))
    expected = search.kneighbors(unit(others))[0][:, -1]
    np.testing.assert_allclose(nearest(reference(), others.astype(np.float32)), expected, atol=3e-3)


def test_energy_is_the_negative_logarithm_of_the_summed_exponentials_of_the_logits() -> None:
    found = reference()
    zero = energy(found, np.zeros((1, C), np.float32))
    assert zero[0] == pytest.approx(-1 - np.log(7))
    claimed = np.linalg.lstsq(found.head_kernel.T, 50 * np.eye(7)[2], rcond=None)[0].astype(np.float32)
    assert energy(found, claimed[None])[0] == pytest.approx(-51, abs=1e-3)


def test_other_pictures_score_higher_than_those_of_the_same_make() -> None:
    same, other = data(2, 60)[0], np.random.default_rng(3).normal(-6, 3, (60, C))
    for axes in (6, C):
        found = reference(axes)
        for score in (mahalanobis, nearest):
            assert score(found, other.astype(np.float32)).min() > score(found, same.astype(np.float32)).max()


def with_two_groups() -> ReferenceSet:
    """The reference set of 8 axes, with images that look alike and with a group far away."""
    (embeddings, y), (more, of_more), (far, of_far) = data(), data(3, 40), data(4, 60)
    head = np.ones((C, 7)), np.zeros(7)
    return make_reference_set(np.arange(N).astype(str), (embeddings, y), 8, head, (more, of_more), [(far + 40, of_far)])


def test_of_several_gaussians_the_nearest_counts() -> None:
    (embeddings, y), (more, of_more), (far, of_far) = data(), data(3, 40), data(4, 60)
    head, ids = (np.ones((C, 7)), np.zeros(7)), np.arange(N + 40).astype(str)
    joined = make_reference_set(ids, (np.concatenate([embeddings, more]), np.concatenate([y, of_more])), 8, head)
    alone = make_reference_set(np.arange(60).astype(str), (far + 40, of_far), 8, head)
    found, others = with_two_groups(), np.concatenate([data(5, 30)[0], data(6, 30)[0] + 40]).astype(np.float32)
    assert len(found.points) == N, "only the images themselves are kept"
    np.testing.assert_array_equal(found.points, joined.points[:N])
    near, away = mahalanobis(joined, others), mahalanobis(alone, others)
    assert (near[:30] < away[:30]).all()
    assert (near[30:] > away[30:]).all()
    np.testing.assert_array_equal(mahalanobis(found, others), np.r_[near[:30], away[30:]])


@pytest.mark.parametrize("found", [reference(8), with_two_groups()], ids=["one Gaussian", "two"])
def test_a_reference_set_is_read_as_it_was_written(found: ReferenceSet) -> None:
    again = decode(encode(found))
    others = data(1, 20)[0].astype(np.float32)
    for name in ("image_id", "points", "head_kernel", "head_bias"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    np.testing.assert_array_equal(mahalanobis(again, others), mahalanobis(found, others))
    assert len(again.gaussians) == len(found.gaussians)
    assert again.points.dtype == np.float16
    assert encode(found) == encode(again)


def stored(found: ReferenceSet) -> dict[str, np.ndarray]:
    """The arrays of embeddings.npz."""
    with np.load(io.BytesIO(encode(found))) as file:
        return dict(file)


def written(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def test_a_file_of_one_gaussian_as_earlier_versions_wrote_it_is_read() -> None:
    found, others = reference(8), data(1, 20)[0].astype(np.float32)
    of_one = {"centre", "axes", "means", "precision", "rest_variance"}
    earlier = {name: value[0] if name in of_one else value for name, value in stored(found).items()}
    np.testing.assert_array_equal(mahalanobis(decode(written(earlier)), others), mahalanobis(found, others))


def test_all_axes_leave_no_rest_and_an_absent_class_has_no_mean() -> None:
    embeddings, y = data()
    kept = y != 3
    ids = np.array([str(i) for i in range(kept.sum())])
    found = make_reference_set(ids, (embeddings[kept], y[kept]), 100, (np.zeros((C, 7)), np.zeros(7)))
    assert found.own.axes.shape == (C, C)
    assert found.own.rest_variance == float("inf")
    assert np.isnan(found.own.means).all(1).tolist() == [False] * 3 + [True] + [False] * 3
    assert np.isfinite(mahalanobis(found, embeddings.astype(np.float32))).all()


def test_a_unit_that_is_always_zero_does_no_harm() -> None:
    embeddings, y = data()
    embeddings[:, 5] = 0
    ids = np.array([str(i) for i in range(N)])
    found = make_reference_set(ids, (embeddings, y), C, (np.zeros((C, 7)), np.zeros(7)))
    assert np.isfinite(mahalanobis(found, embeddings.astype(np.float32))).all()


def test_too_few_images_make_no_reference_set() -> None:
    embeddings, y = data(n=20)
    with pytest.raises(DataError, match="16 axes need more than 23 training images, got 20"):
        make_reference_set(np.arange(20).astype(str), (embeddings, y), 16, (np.zeros((C, 7)), np.zeros(7)))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("points", np.zeros((N, 7), np.float16), "must have the shape"),
        ("points", np.zeros((N, 8), np.int64), "wrong type"),
        ("centre", np.full((1, C), np.nan, np.float32), "not finite"),
        ("centre", np.zeros((2, C), np.float32), "must have the shape"),
        ("means", np.full((1, 7, 8), np.inf, np.float32), "not a number"),
        ("rest_variance", np.zeros(1), "not a number"),
        ("image_id", np.arange(N), "wrong type"),
        ("precision", None, "cannot be read"),
        ("head_bias", np.zeros(6, np.float32), "must have the shape"),
        ("axes", np.array([{}], object), "cannot be read"),
    ],
)
def test_a_damaged_reference_set_is_refused(name: str, value: np.ndarray | None, sentence: str) -> None:
    arrays = stored(reference(8)) | {name: value}
    with pytest.raises(ModelError, match=sentence):
        decode(written({k: v for k, v in arrays.items() if v is not None}))


def test_what_is_no_archive_is_refused() -> None:
    whole = encode(reference(8))
    for content in (b"", b"PK\x03\x04", b"text", whole[: len(whole) // 2]):
        with pytest.raises(ModelError, match="cannot be read"):
            decode(content)
