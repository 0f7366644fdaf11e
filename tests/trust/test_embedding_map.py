from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from dermlens.errors import DataError
from dermlens.trust.embedding_map import FILE, place, read_map, share_on_axes
from dermlens.trust.reference_set import make_reference_set


def test_places_and_share_are_those_of_an_independent_pca() -> None:
    rng = np.random.default_rng(0)
    trained = rng.normal(0, 1, (400, 12)) * np.linspace(4, 1, 12)
    others = rng.normal(0, 1, (30, 12))
    ids = np.array([f"i{i}" for i in range(400)])
    reference = make_reference_set(ids, (trained, np.arange(400) % 7), 6, (np.zeros((12, 7)), np.zeros(7)))
    pca = PCA(2).fit(trained)
    theirs, ours = pca.transform(others), place(reference, others)
    for axis in range(2):  # the sign of an axis means nothing
        assert abs(np.corrcoef(theirs[:, axis], ours[:, axis])[0, 1]) > 0.9999
    assert share_on_axes(reference) == pytest.approx(pca.explained_variance_ratio_.sum(), rel=0.01)


@pytest.mark.parametrize(
    ("rows", "why"),
    [("A,1,2\nA,2,3\n", "second time"), ("A,x,2\n", "finite number"), ("A,1\n", "2 cells"), ("", "no rows")],
)
def test_a_damaged_map_is_refused(tmp_path: Path, rows: str, why: str) -> None:
    (tmp_path / FILE).write_text("image_id,first,second\n" + rows)
    with pytest.raises(DataError, match=why):
        read_map(tmp_path, None)


def test_a_map_that_was_changed_after_publishing_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("image_id,first,second\nA,1,2\n")
    assert read_map(tmp_path, None).loc["A"].tolist() == [1, 2]
    with pytest.raises(DataError, match="changed after"):
        read_map(tmp_path, {"files": {FILE: "0" * 64}})
