import keras
import numpy as np

from tests.training.loop.toys import small
from training.loop import averaging

array = keras.ops.convert_to_numpy


def test_averaged_weights_follow_the_weights_with_the_statistics_of_norms() -> None:
    model = small()
    average = averaging.start_average(model)
    start, name = [array(v).copy() for v in average], [v.path for v in model.weights]
    assert "norm/moving_mean" in name
    for v in model.weights:
        v.assign(v + 1)
    averaging.follow(average, model.weights, 0.9, step=1000)
    for mean, before in zip(average, start, strict=True):
        np.testing.assert_allclose(array(mean), before + 0.1, atol=1e-6)
    averaging.follow(average, model.weights, 0.9, step=1)  # early: min(0.9, 2 / 11) of the old value
    for mean, before in zip(average, start, strict=True):
        np.testing.assert_allclose(array(mean), before + 1 - 0.9 * 2 / 11, atol=1e-5)


def test_averaged_weights_are_lent_to_the_model_and_taken_back_bit_by_bit() -> None:
    model = small()
    own, average = [w.copy() for w in model.get_weights()], averaging.start_average(model)
    for mean in average:
        mean.assign(mean * 3 + 1e-3)
    with averaging.averaged(model, average):
        for w, mean in zip(model.get_weights(), average, strict=True):
            np.testing.assert_array_equal(w, array(mean))
    for a, b in zip(model.get_weights(), own, strict=True):
        np.testing.assert_array_equal(a, b)
    with averaging.averaged(model, []):
        for a, b in zip(model.get_weights(), own, strict=True):
            np.testing.assert_array_equal(a, b)
