"""Charts of prediction sets and operating points draw the estimates they are given."""

import numpy as np
import pytest

from dermlens.charts import decisions
from dermlens.estimate import Estimate
from dermlens.labels import CLASSES, INDEX, SHOWN
from dermlens.trust.conformal import Measured as Sets
from dermlens.trust.conformal import OfClass
from dermlens.trust.thresholds import Measured, Point, decision_curve


def of_class(coverage: float, size: float) -> OfClass:
    return OfClass(
        Estimate(coverage, coverage - 0.1, coverage + 0.05, 40, 30), Estimate(size, size - 0.5, size + 0.25, 40, 30)
    )


def row(coverage: float = 0.9, size: float = 1.5, absent: str = "") -> Sets:
    nothing = Estimate(np.nan, np.nan, np.nan, 0, 0)
    per_class = {code: of_class(0.8 + i / 100, 1 + i / 10) for i, code in enumerate(CLASSES)}
    if absent:
        per_class[absent] = OfClass(nothing, nothing)
    overall = of_class(coverage, size)
    return Sets(overall.coverage, overall.size, nothing, nothing, per_class)


def test_sets_by_class_are_in_their_units_and_a_class_without_guarantee_is_hollow() -> None:
    own = np.array([code != "df" for code in CLASSES])
    figure = decisions.by_class(row(), "coverage", 0.9, own, "A, test")
    (coverage,), (size,) = figure.data, decisions.by_class(row(), "size", 0.9, own, "A, test").data
    assert list(coverage.x) == pytest.approx([90, *(80 + i for i in SHOWN)])
    assert list(size.x) == pytest.approx([1.5, *(1 + i / 10 for i in SHOWN)])
    assert size.error_x.array == pytest.approx([0.25] * 8)
    assert size.error_x.arrayminus == pytest.approx([0.5] * 8)
    assert coverage.error_x.arrayminus == pytest.approx([10] * 8)
    hollow = [i for i, shape in enumerate(coverage.marker.symbol) if shape.endswith("-open")]
    assert hollow == [1 + SHOWN.index(INDEX["df"])]
    assert any(shape.x0 == 90 for shape in figure.layout.shapes)


def test_a_class_without_images_is_left_out() -> None:
    figure = decisions.by_class(row(absent="vasc"), "coverage", 0.9, np.ones(7, bool), "A, test")
    assert 1 + SHOWN.index(INDEX["vasc"]) not in figure.data[0].y
    assert len(figure.data[0].x) == 7


def test_every_level_is_drawn_and_the_chosen_one_is_larger() -> None:
    levels = (0.5, 0.8, 0.9)
    rows = [row(x + 0.01, 10 * x) for x in levels]
    coverage, size = (
        next(t for t in decisions.by_level(levels, rows, m, 0.8, "A, test").data if t.mode == "lines+markers")
        for m in decisions.MEASURES
    )
    assert list(coverage.x) == [50, 80, 90]
    assert list(coverage.y) == pytest.approx([51, 81, 91])
    assert list(size.y) == pytest.approx([5, 8, 9])
    assert np.argmax(coverage.marker.size) == 1


def test_accuracy_against_coverage_has_its_band_and_says_of_which_model_and_split() -> None:
    curve = np.array([0.25, 0.5, 1.0]), np.array([1.0, 1.0, 0.75])
    intervals = {0.5: Estimate(1.0, 0.34, 1.0, 2, 2), 1.0: Estimate(0.75, 0.3, 0.95, 4, 4)}
    figure = decisions.coverage(curve, intervals, 0.6, "A, test")
    high, low, line = figure.data
    assert (list(high.x), list(high.y), list(low.y)) == ([50, 100], [100, 95], [34, 30])
    assert (list(line.x), list(line.y)) == ([25, 50, 100], [100, 100, 75])
    assert figure.layout.title.subtitle.text == "A, test; band: 95 %"
    assert figure.layout.xaxis.ticksuffix == figure.layout.yaxis.ticksuffix == " %"
    assert "%" not in figure.layout.xaxis.title.text + figure.layout.yaxis.title.text
    assert [s.x0 for s in figure.layout.shapes] == [60]


def test_operating_points_are_filled_where_they_are_chosen() -> None:
    measured = {"test": Measured(Estimate(0.92, 0.88, 0.96, 10, 9), Estimate(0.7, 0.6, 0.8, 30, 25))}
    points = [Point(0.9, 0.2, measured), Point(0.95, 0.1, measured)]
    sensitivity, specificity = decisions.operating_points(points, "test", 0.95, "Melanoma", "A").data
    assert list(sensitivity.x) == [92, 92]
    assert list(specificity.x) == [70, 70]
    assert list(sensitivity.marker.symbol) == ["circle-open", "circle"]
    assert sensitivity.marker.symbol[1] != specificity.marker.symbol[1], "told apart by shape too"


def test_a_decision_curve_has_its_band_and_both_defaults() -> None:
    rng = np.random.default_rng(0)
    score = rng.random(200)
    positive = rng.random(200) < score
    risk = np.array([0.1, 0.3, 0.5])
    curve = decision_curve(positive, score, np.arange(200), 0.2, risk)
    figure = decisions.decision_curve(curve, np.array([0.1, 0.05, 0.0]), 0.95, "Decision curve", "A")
    named = {t.name: t for t in figure.data if t.name}
    assert list(named["Refer at that risk or above"].y) == pytest.approx(1000 * curve.model)
    assert list(named["Refer all"].y) == pytest.approx(1000 * curve.refer_all)
    assert list(named["Refer none"].y) == [0, 0, 0]
    assert list(named["Refer at the 95 % threshold or above"].y) == pytest.approx([100, 50, 0])
    high, low = (t for t in figure.data if not t.name)
    assert (np.array(high.y) >= np.array(low.y)).all()
    assert len({t.line.dash for t in named.values()}) == 4, "lines are told apart by their dashes too"
