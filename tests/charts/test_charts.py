"""Figures are drawn from finished results: what stands in them is checked, not how they look."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from dermlens.charts import calibration as calibration_chart
from dermlens.charts import case, compare, curves, data, metrics, slices, style
from dermlens.estimate import Estimate
from dermlens.evaluation.bins import equal_width
from dermlens.evaluation.calibration_error import diagram
from dermlens.evaluation.compare import compare as compare_models
from dermlens.evaluation.intervals import curve_bands, summarise
from dermlens.evaluation.metrics import sweep
from dermlens.evaluation.predictions import Predictions, make_predictions
from dermlens.evaluation.slices import Slice
from dermlens.evaluation.slices import slices as measure_slices
from dermlens.explain.grad_cam import COLORMAPS
from dermlens.image.preprocess import Box
from dermlens.labels import CLASSES, INDEX, N_CLASSES, SHOWN
from dermlens.models.runs import read_history
from dermlens.wording import percent_with_interval
from tests.dashboard import add_run
from tests.ui.test_theme import CONFIG, contrast, rgb


def predictions(seed: int = 0, n: int = 140) -> Predictions:
    y = np.arange(n) % N_CLASSES
    logits = np.random.default_rng(seed).normal(0, 1, (n, N_CLASSES))
    logits[np.arange(n), y] += 1
    return make_predictions([f"i{i}" for i in range(n)], [f"l{i // 2}" for i in range(n)], "validation", y, logits)


def texts(figure: go.Figure) -> str:
    drawn = figure.to_plotly_json()
    drawn["layout"].pop("template", None)
    return str(drawn)


def test_colours_can_be_seen_in_both_themes() -> None:
    for theme in ("light", "dark"):
        ground = rgb(CONFIG["theme"][theme]["backgroundColor"])
        for colour in (*style.COLOURS, style.NEUTRAL):
            assert contrast(rgb(colour), ground) >= 3, (theme, colour)


def test_every_diagnosis_has_a_colour_and_a_symbol_of_its_own_on_the_map() -> None:
    n = N_CLASSES
    details = [(f"i{i}", "") for i in range(n)]
    figure = data.embedding_map(np.eye(n, 2), np.arange(n), list(CLASSES), details, "Title", "#0f1517")
    marks = [t.marker for t in figure.data]
    assert len({m.color for m in marks}) == len({m.symbol for m in marks}) == 7
    assert {(m.opacity, m.line.color) for m in marks} == {(1, "#0f1517")}, "paler marks have less than 3:1"
    for theme in ("light", "dark"):
        ground = rgb(CONFIG["theme"][theme]["backgroundColor"])
        assert min(contrast(rgb(m.color), ground) for m in marks) >= 3


@pytest.mark.parametrize("scale", [style.SEQUENTIAL, style.DIVERGING])
def test_text_in_cells_is_readable_on_every_colour_of_the_scale(scale: np.ndarray) -> None:
    ramp = np.linspace(0, 1, 200)
    colours = np.stack([np.interp(ramp, np.linspace(0, 1, len(scale)), scale[:, i]) for i in range(3)], -1)
    for colour, text in zip(colours, style.readable_on(colours), strict=True):
        assert contrast(rgb(text), list(colour / 255)) >= 4.5


def test_streamlit_does_not_take_a_colour_for_one_of_its_placeholders() -> None:
    used = texts(metrics.confusion_matrix(np.eye(7, dtype=int), "A")) + texts(
        case.picture(np.zeros((4, 4, 3), np.uint8), "A", heat=True)
    )
    assert not [f"#0000{i:02}" for i in range(41) if f"#0000{i:02}" in used]


def test_no_figure_has_panels_beside_each_other() -> None:
    """A phone has room for one; `widgets.side_by_side` puts two figures where there is room for two."""
    assert [f.name for f in Path(style.__file__).parent.glob("*.py") if "cols=" in f.read_text()] == []


def test_percent_stands_at_the_ticks_of_every_axis_and_in_no_title_of_one() -> None:
    titled = re.compile(r"update_[xy]axes\([^\n]*title(_text)?=f?\"[^\"\n]*%")
    assert [f.name for f in Path(style.__file__).parent.glob("*.py") if titled.search(f.read_text())] == []


def test_no_rainbow_map_is_offered() -> None:
    assert not {"jet", "turbo", "hsv", "rainbow"} & set(COLORMAPS)


def test_probabilities_are_a_row_a_diagnosis_and_a_mark_a_model() -> None:
    one, two = np.full(7, 1 / 7), np.array([0.7, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05])
    figure = case.probabilities({"A": one, "B": two}, "Title", "score", refused=["A"], lead="B")
    axis = figure.layout.yaxis
    rows = dict(zip(axis.tickvals, axis.ticktext, strict=True))
    assert [t for t in rows.values() if t.startswith("<b>")] == [
        f"<b>{g}</b>" for g in ("Malignant", "Pre-malignant", "Benign")
    ]
    drawn = {(t.name, rows[round(y)]): x for t in figure.data for y, x in zip(t.y, t.x, strict=True)}
    assert len(drawn) == 14
    assert drawn["B", style.ROWS["akiec"]] == pytest.approx(70)
    assert len({t.marker.symbol for t in figure.data}) == 2, "not by colour alone"
    assert figure.data[0].name == "A (calls nothing)"
    assert figure.data[0].marker.color == style.NEUTRAL
    written = {rows[a.y]: a.text for a in figure.layout.annotations}
    assert written[style.ROWS["akiec"]] == "70 %"
    assert len(written) == 7


def test_a_difference_is_first_minus_second() -> None:
    a, b = np.full(7, 1 / 7), np.full(7, 1 / 7)
    a[INDEX["mel"]] += 0.2
    figure = case.difference("A", a, "B", b)
    drawn = dict(zip(figure.data[0].y, figure.data[0].x, strict=True))
    assert drawn[style.SHORT["mel"]] == pytest.approx(20)
    assert drawn[style.SHORT["nv"]] == pytest.approx(0)
    assert set(figure.data[0].text) == {"+20", "0"}
    assert set(case.difference("B", b, "A", a).data[0].text) == {"−20", "0"}


def test_a_picture_dims_what_is_not_seen() -> None:
    pixels = np.zeros((60, 80, 3), np.uint8)
    figure = case.picture(pixels, "Image", seen=Box(0, 10, 60, 60))
    dimmed = [s for s in figure.layout.shapes if s.line.width == 0]
    assert [(s.x0, s.x1) for s in dimmed] == [(0, 10), (70, 80)]
    assert not case.picture(pixels, "Image", seen=Box(0, 0, 60, 80)).layout.shapes
    assert figure.layout.images[0].source.startswith("data:image/jpeg;base64,")


def test_shares_of_rows_and_columns() -> None:
    confusion = np.zeros((7, 7), int)
    confusion[0, 0], confusion[0, 1], confusion[2, 1] = 1, 3, 1
    rows, columns = metrics.normalised(confusion, "row"), metrics.normalised(confusion, "column")
    assert rows[0, :2].tolist() == [0.25, 0.75]
    assert np.isnan(rows[1]).all()
    assert columns[[0, 2], 1].tolist() == [0.75, 0.25]
    assert metrics.normalised(confusion, "count")[0, 1] == 3


def marks(figure: go.Figure) -> dict[tuple[str, str], str]:
    """Return what every clickable mark stands for: (true, called) -> hover text, checked against its place."""
    heat = figure.data[0]
    clickable = figure.data[-1]
    found = {}
    for x, y, (true, called, hover) in zip(clickable.x, clickable.y, clickable.customdata, strict=True):
        assert style.TILTED[called] == x
        assert style.SHORT[true] == y
        assert x in heat.x
        assert y in heat.y
        found[true, called] = hover
    return found


@pytest.mark.parametrize("mode", metrics.MODES)
@pytest.mark.parametrize("log", [False, True])
def test_a_confusion_matrix_has_a_mark_on_every_cell(mode: str, log: bool) -> None:
    confusion = np.arange(49).reshape(7, 7)
    figure = metrics.confusion_matrix(confusion, "A", mode, log)
    found = marks(figure)
    assert set(found) == {(t, c) for t in CLASSES for c in CLASSES}
    t, c = INDEX["mel"], INDEX["nv"]
    assert f"{confusion[t, c]} of {confusion[t].sum()} that are melanoma" in found["mel", "nv"]


def test_errors_alone_leave_the_diagonal_empty_and_the_choice_is_framed() -> None:
    confusion = np.full((7, 7), 3)
    figure = metrics.confusion_matrix(confusion, "A", "count", off_diagonal=True, chosen=("mel", "nv"))
    z = np.array(figure.data[0].z, float)
    assert np.isnan(np.diag(z)).all()
    assert np.isnan(z).sum() == 7
    box = next(s for s in figure.layout.shapes if s.type == "rect")
    assert (box.y0 + 0.5, box.x0 + 0.5) == tuple(SHOWN.index(INDEX[c]) for c in ("mel", "nv"))


def test_an_empty_matrix_can_be_drawn() -> None:
    assert len(marks(metrics.confusion_matrix(np.zeros((7, 7), int), "A"))) == 49


def test_a_matrix_of_differences_has_marks_too() -> None:
    first, second = np.zeros((7, 7), int), np.zeros((7, 7), int)
    first[INDEX["mel"], INDEX["mel"]], second[INDEX["mel"], INDEX["nv"]] = 5, 5
    figure = metrics.confusion_difference(first, second, ("A", "B"))
    assert "A: 5 of 5 that are melanoma<br>B: 0" in marks(figure)["mel", "mel"]
    assert "+5" in figure.data[1].text
    assert "-5" in figure.data[1].text


AUC = Estimate(0.912, 0.88, 0.94, 100, 80)


def test_several_curves_share_one_pair_of_axes_and_the_legend_gives_each_auc() -> None:
    p = predictions()
    positive, scores = p.y_true == INDEX["nv"], p.probabilities[:, INDEX["nv"]]
    bands = curve_bands(positive, scores, p.lesion, replicates=50)
    lines = {"A": metrics.Curve(sweep(positive, scores), AUC, bands), "B": metrics.Curve(sweep(~positive, scores), AUC)}
    roc, precision = metrics.roc(lines, None, "Nevus"), metrics.precision_recall(lines, None, "Nevus")
    named = [t.name for t in roc.data if t.showlegend]
    assert [n.split(":")[0] for n in named] == ["A", "B"]
    assert all("AUC 91.2 %" in n and "88.0" in n and "94.0" in n for n in named)
    assert [t.name for t in precision.data if t.showlegend] == ["A", "B"], "the AUC is of the ROC curve"
    for figure in (roc, precision):
        assert sum(t.fill == "toself" for t in figure.data) == 1, "a band of A alone"
        assert not [t for t in figure.data if t.mode == "markers"], "no operating point"
        assert figure.layout.title.subtitle.text == "Nevus<br>dotted: by chance; bands: 95 %"
    assert roc.layout.yaxis.title.text == precision.layout.xaxis.title.text == "Found (sensitivity, recall)"
    assert "bands" not in metrics.roc({"B": lines["B"]}, 0.5, "Title").layout.title.subtitle.text


def test_calibration_of_two_models_is_drawn_on_one_pair_of_axes() -> None:
    p, q = predictions(), predictions(1)
    bins = {
        name: diagram(x.probabilities.max(1), x.y_pred == x.y_true, x.lesion, equal_width)
        for name, x in (("A", p), ("B", q))
    }
    figure = calibration_chart.overlaid(bins, "Title", "Subtitle")
    drawn = {t.name: t for t in figure.data if t.name}
    assert list(drawn) == ["A", "B"]
    assert list(drawn["B"].y) == pytest.approx([100 * b.right.value for b in bins["B"]])
    assert drawn["A"].marker.symbol != drawn["B"].marker.symbol


def test_the_operating_point_is_the_last_score_that_still_counts() -> None:
    counts = sweep(np.array([True, False, True]), np.array([0.9, 0.5, 0.2]))
    assert metrics.operating_index(counts, 0.95) == 0
    assert metrics.operating_index(counts, 0.9) == 1
    assert metrics.operating_index(counts, 0.3) == 2
    assert metrics.operating_index(counts, 0.0) == 3
    for draw, at in ((metrics.roc, (100, 50)), (metrics.precision_recall, (50, 50))):
        figure = draw({"A": metrics.Curve(counts, AUC)}, 0.3, "melanoma")
        assert [(t.x[0], t.y[0]) for t in figure.data if t.mode == "markers"] == [at]


def test_long_curves_are_thinned_but_keep_their_ends() -> None:
    rng = np.random.default_rng(0)
    counts = sweep(rng.random(5000) > 0.5, rng.random(5000))
    line = metrics.roc({"A": metrics.Curve(counts, AUC)}, 0.5, "melanoma").data[0]
    assert len(line.x) <= metrics.MAX_POINTS
    assert (line.x[0], line.y[0], line.x[-1], line.y[-1]) == (0, 0, 100, 100)


def test_figures_of_a_split_can_be_drawn() -> None:
    p = predictions()
    summary = summarise(p, replicates=20)
    figure = metrics.per_class(summary.per_class, "recall")
    assert list(figure.data[0].x) == pytest.approx([100 * summary.per_class[CLASSES[c]]["recall"].value for c in SHOWN])
    of_melanoma = summary.per_class["mel"]["recall"]
    assert f"Melanoma<br>{percent_with_interval(of_melanoma)}" in figure.layout.yaxis.ticktext
    drawn = compare.headline({"A": summary.overall, "B": summary.overall}, "Title")
    assert drawn.data[0].x[0] == pytest.approx(100 * summary.overall["accuracy"].value)
    result = compare_models(p, predictions(1), replicates=20)
    points = compare.differences(result, ("A", "B")).data[0]
    assert points.x[0] == pytest.approx(100 * result.overall["accuracy"].difference)


def test_slices_mark_what_is_small_and_what_has_no_figure() -> None:
    p = predictions()
    cases = pd.DataFrame(
        {"age": 50.0, "sex": np.where(p.y_true == 0, "male", "female"), "localization": "", "dx_type": ""}
    )
    found = measure_slices(p, cases, "sex", replicates=20)
    assert [s.name for s in found] == ["female", "male"]
    for figure, without in (
        (slices.balanced_accuracy(found, "by sex"), "one class only"),
        (slices.melanoma_recall(found, "by sex"), "no melanoma"),
    ):
        assert [a.text for a in figure.layout.annotations] == [without]
        assert len(figure.data[0].x) == 1
    mix = slices.class_mix(found)
    assert np.array(mix.data[0].z, float).sum(1) == pytest.approx([1, 1])
    recall = np.array(slices.recall(found).data[0].z, float)
    assert np.isnan(recall).sum() == 7, "every class is in one of the two slices alone"


def test_a_melanoma_recall_of_few_melanomas_is_hollow_in_a_large_slice_and_says_on_how_many_it_rests() -> None:
    def a_slice(name: str, melanomas: int) -> Slice:
        recall = Estimate(0.8, 0.3, 0.9, melanomas + 2, melanomas)
        overall = Estimate(0.9, 0.8, 0.95, 600, 500)
        return Slice(name, np.arange(600), 600, 500, np.zeros(7), {"mel": recall}, overall, overall, small=False)

    found = (a_slice("under 30", 5), a_slice("60 to 74", 50), a_slice("unknown", 1))
    figure = slices.melanoma_recall(found, "by age")
    assert [s.endswith("-open") for s in figure.data[0].marker.symbol] == [True, False, True]
    assert [label.split("<br>")[1] for label in figure.layout.yaxis.ticktext] == [
        "5 melanomas",
        "50 melanomas",
        "1 melanoma",
    ]
    overall = slices.balanced_accuracy(found, "by age")
    assert not [s for s in overall.data[0].marker.symbol if s.endswith("-open")]


def test_curves_draw_runs_and_seeds(tmp_path) -> None:  # type: ignore[no-untyped-def]
    histories = [read_history(add_run(tmp_path, f"r{s}", s) / "history.csv") for s in (1, 2)]
    panel = next(p for p in curves.PANELS if p.key == "balanced_accuracy")
    single = curves.draw(panel, [curves.Line("r1", (histories[0],))], "epoch", 0.0, True)
    assert [t.name for t in single.data if t.mode == "lines"] == ["r1", "r1 (training)"]
    assert (single.layout.yaxis.ticksuffix, single.layout.yaxis.title.text) == (" %", None)
    assert single.data[0].y[0] == pytest.approx(100 * histories[0]["val_balanced_accuracy"].iloc[0])
    assert [s.x0 for s in single.layout.shapes] == [5], "the second phase begins"
    together = curves.draw(panel, [curves.Line("toy", tuple(histories))], "epoch", 0.5, False)
    assert [t.name for t in together.data if t.mode == "lines"] == ["toy (2 seeds)"]


def test_the_words_about_the_curves_say_what_is_drawn(tmp_path) -> None:  # type: ignore[no-untyped-def]
    histories = [read_history(add_run(tmp_path, f"r{s}", s) / "history.csv") for s in (1, 2, 3)]
    panel = next(p for p in curves.PANELS if p.key == "balanced_accuracy")
    alone = [curves.Line("r1", (histories[0],))]
    several = [curves.Line(f"r{i}", (history,)) for i, history in enumerate(histories)]
    seeds = [curves.Line("toy", tuple(histories))]
    for lines in (alone, several, seeds, several + seeds):
        for with_train in (False, True):
            words, figure = curves.reading(lines, with_train), curves.draw(panel, lines, "epoch", 0.0, with_train)
            stars = [t for t in figure.data if t.mode == "markers" and t.marker.symbol == "star"]
            assert ("star" in words) == bool(stars)
            assert ("phase" in words) == bool(figure.layout.shapes)
            assert ("training thin" in words) == with_train
            assert ("seeds" in words) == (seeds[0] in lines)
    (phase,) = curves.draw(panel, alone, "epoch", 0.0, False).layout.shapes
    assert phase.line.dash is None, "told from the lines of runs, which are dashed and dotted"


def test_seeds_together_go_by_epoch_and_the_axis_says_so(tmp_path) -> None:  # type: ignore[no-untyped-def]
    histories = [read_history(add_run(tmp_path, f"r{s}", s) / "history.csv") for s in (1, 2, 3)]
    panel = next(p for p in curves.PANELS if p.key == "balanced_accuracy")
    alone, seeds = curves.Line("r1", (histories[0],)), curves.Line("toy", tuple(histories[1:]))
    for lines in ([seeds], [alone, seeds]):
        figure = curves.draw(panel, lines, "hours", 0.5, True)
        assert figure.layout.xaxis.title.text == "Epoch"
        assert {max(t.x) for t in figure.data if t.mode == "lines"} == {12}
    figure = curves.draw(panel, [alone], "hours", 0.0, False)
    assert figure.layout.xaxis.title.text == "Hours of training"
    assert max(figure.data[0].x) == pytest.approx(histories[0]["hours"].iloc[-1])


def test_class_balance_counts_every_image() -> None:
    table = pd.DataFrame({"dx": ["mel", "mel", "nv"], "split": ["train", "test", "train"]})
    counts = data.class_counts(table)
    assert counts.loc["mel"].tolist() == [1, 0, 1]
    assert counts.to_numpy().sum() == 3
    assert sum(sum(bar.x) for bar in data.class_balance(table).data) == 3


def test_leakage_says_none_where_there_is_none() -> None:
    figure = data.leakage({"Lesions": {"this split": 0.0, "a split by image": 0.387}})
    assert [bar.text[0] for bar in figure.data] == ["none", "38.7 %"]


def test_a_calibration_diagram_shows_every_bin_with_its_interval_and_its_images() -> None:
    confidence = np.array([0.1, 0.12, 0.5, 0.9, 0.95])
    bins = diagram(confidence, np.array([False, True, True, True, True]), np.arange(5))
    drawn = calibration_chart.diagrams({"Before": bins, "After": bins[:1]}, "subtitle")
    assert list(drawn) == ["Before", "After"]
    marks = {h: t for h, f in drawn.items() for t in f.data if t.type == "scatter" and t.mode == "markers"}
    assert [len(t.x) for t in marks.values()] == [len(bins), 1]
    assert marks["Before"].x[0] == pytest.approx(11)
    assert marks["Before"].y[0] == pytest.approx(50)
    assert len({t.marker.symbol for t in marks.values()}) == 2
    bars = next(t for t in drawn["Before"].data if t.type == "bar")
    assert sum(bars.y) == 5
    heights = [figure.layout.yaxis2.range for figure in drawn.values()]
    assert heights[0][1] >= max(bars.y), "no bar is cut off"
    assert heights[0] == heights[1], "bars of both figures can be compared"
