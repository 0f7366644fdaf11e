import numpy as np
import pytest

from dermlens.evaluation.other_lights import UNCHANGED, measure
from dermlens.evaluation.predictions import make_predictions
from dermlens.image.other_light import Change

CHANGES = (Change("a", gamma=0.8), Change("b", jpeg=40))


def test_what_is_lost_is_worked_out_by_hand_and_paired() -> None:
    y = np.repeat([4, 5], 20)
    p = make_predictions([f"i{i}" for i in range(40)], [f"l{i // 2}" for i in range(40)], "validation", y, np.eye(7)[y])
    half = y.copy()
    half[:10] = 5  # half of the melanomas are called nevus
    found = measure(p, {UNCHANGED: y, "a": half, "b": y}, CHANGES, views=4)
    a, b = found.changes
    assert (found.unchanged.value, a.balanced_accuracy.value, b.balanced_accuracy.value) == (1, 0.75, 1)
    assert (a.lost.value, b.lost.value, found.lost.value) == (0.25, 0, 0.125)
    assert (b.lost.low, b.lost.high) == (0, 0), "the same lesions are drawn with and without the change"
    assert a.lost.low < 0.25 < a.lost.high
    assert found.lost.high == pytest.approx(a.lost.high / 2)
    assert (found.lost.n_images, found.lost.n_lesions) == (40, 20)
