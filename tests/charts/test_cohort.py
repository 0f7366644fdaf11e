import numpy as np

from dermlens.charts import cohort
from dermlens.evaluation.drift import Drift
from dermlens.labels import CLASSES, SHOWN


def test_calls_are_drawn_in_the_order_of_the_other_figures_with_those_without_one_last() -> None:
    figure = cohort.calls([10, 20, 30, 40, 50, 60, 0], none=5)
    (bars,) = figure.data
    assert list(bars.x) == [[10, 20, 30, 40, 50, 60, 0][i] for i in SHOWN] + [5]
    assert bars.y[-1] == "No diagnosis"
    assert bars.text[list(SHOWN).index(CLASSES.index("vasc"))] == "none"
    assert "(27.9 %)" in bars.text[list(SHOWN).index(CLASSES.index("nv"))]


def test_every_suspect_probability_is_in_one_bar_and_a_single_image_is_seen() -> None:
    figure = cohort.suspect(np.array([0.0, 0.04, 0.5, 1.0]))
    (bars,) = figure.data
    assert bars.y[0] == 2
    assert bars.y[-1] == 1
    assert sum(bars.y) == 4
    assert figure.layout.yaxis.range[0] < 0, "one image is higher than the bottom of a logarithmic axis"


def test_drift_shows_index_and_chance_of_every_quantity() -> None:
    found = [("Hair", Drift(0.3, 0.02, 0.1, 0.5, 99, 99)), ("Ink", Drift(0.01, 0.02, 0.1, 0.5, 99, 99))]
    index, chance = cohort.drift(found).data
    assert list(index.x) == [0.3, 0.01]
    assert list(chance.x) == [0.02, 0.02]
    assert list(index.y) == ["Hair", "Ink"]
