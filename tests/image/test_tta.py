import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermlens.errors import ConfigError
from dermlens.image.tta import expand, restore

SQUARE = np.arange(4).reshape(2, 2, 1)  # 0 1 / 2 3


def test_the_four_views_are_the_identity_both_flips_and_the_half_turn() -> None:
    found = expand(SQUARE, 4)[..., 0].tolist()
    assert found[0] == [[0, 1], [2, 3]]
    assert sorted(found[1:]) == sorted([[[1, 0], [3, 2]], [[2, 3], [0, 1]], [[3, 2], [1, 0]]])


def test_the_eight_views_are_the_eight_symmetries_of_the_square() -> None:
    assert len({view.tobytes() for view in expand(SQUARE, 8)}) == 8


@given(views=st.sampled_from([1, 4, 8]), size=st.integers(1, 6), seed=st.integers(0, 99))
def test_restore_undoes_expand(views: int, size: int, seed: int) -> None:
    square = np.random.default_rng(seed).normal(size=(size, size, 3))
    shown = expand(square, views)
    assert shown.shape == (views, size, size, 3)
    assert np.array_equal(restore(shown, views), np.broadcast_to(square, shown.shape))


def test_other_numbers_of_views_are_refused() -> None:
    with pytest.raises(ConfigError, match="got 3"):
        expand(SQUARE, 3)
    with pytest.raises(ConfigError, match="got 4"):
        restore(np.zeros((4, 2, 2)), 8)
