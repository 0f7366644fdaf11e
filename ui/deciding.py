"""What can be decided with a model: its prediction sets and operating points, on a split and on a case."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from dermlens.case import CaseImage
from dermlens.charts import decisions as charts
from dermlens.charts.style import NAMES, SHOWN, interval, percent
from dermlens.conformal import CASE_LEVEL, NO_GUARANTEE, PredictionSets
from dermlens.errors import DermlensError
from dermlens.intervals import Figure
from dermlens.labels import CLASSES, INDEX
from dermlens.operating import (
    CASE_SENSITIVITY,
    SENSITIVITIES,
    TARGETS,
    Outcome,
    Point,
    Thresholds,
    decision_curve,
    net_benefit,
    per_thousand,
)
from dermlens.predict import Prediction
from dermlens.registry import AnyModel, Entry
from dermlens.summary import called, share_called
from ui import cache, widgets

RISKS = np.arange(1, 61) / 100
"""Threshold probabilities of the decision curve."""
SETS = (
    "A prediction set names every diagnosis that is not ruled out. Thresholds were fitted on validation so that, of "
    "new lesions of a diagnosis, at least the wanted share has it in the set; one image a lesion counted. That is a "
    "promise about lesions like those of HAM10000 on average, not about the one at hand."
)
POINTS = (
    "A threshold is the highest probability at which the wanted share of the validation images of the target was "
    "found. The figures below are measured: on validation with thresholds chosen on other lesions, on test with the "
    "thresholds as they are."
)
CURVE = (
    "Net benefit weighs needless referrals against cancers found (Vickers & Elkin 2006). Whoever refers from a risk of "
    "10 % on accepts nine needless referrals for one cancer found. A model is worth asking where its line is above "
    "both referring all and referring none. The probabilities are brought to the prevalence above first; sensitivity "
    "and specificity are taken to stay as they are."
)


def sets_tab(entry: Entry, split: str) -> None:
    """Show coverage and size of the prediction sets on a split; part of the Metrics page."""
    found = cache.fitted(entry).prediction_sets
    if found is None:
        _missing(entry, "prediction sets, so it cannot say which diagnoses are ruled out", "conformal")
    elif split not in found.measured:
        widgets.nothing_here(f"The prediction sets were not measured on {split}.", _command(entry, "conformal"))
    else:
        _sets(entry, split, found)


@st.fragment
def _sets(entry: Entry, split: str, found: PredictionSets) -> None:
    level = st.select_slider(
        "Wanted coverage",
        found.levels,
        value=CASE_LEVEL,
        format_func=_level,
        key="coverage",
        bind="query-params",
        help=f"Cases are shown with {_level(CASE_LEVEL)}.",
    )
    row = found.row(level)
    figures, own = found.measured[split][row], found.own[row]
    names = {"coverage": "True diagnosis in the set", "size": "Diagnoses in the set, mean"}
    names |= {"single": "Sets of one diagnosis", "empty": "Empty sets"}
    cells = st.grid(4, min_column_width=190)
    for name, label in names.items():
        with cells.cell(), st.container(border=True, gap=None, height="stretch"):
            st.metric(label, _value(name, figures[name]))
            st.caption(f"95 %: {_interval(name, figures[name])}")
    st.caption(f"{_whole(split, figures['coverage'])} {_fitted_on(found.fitted_on)}")
    st.markdown(SETS)
    if found.caveat(level):
        st.markdown(f":material/info: {found.caveat(level)} A hollow mark below says the same.")
    where = f"{entry.name}, {split}"
    worst = min((figures["per_class"][c]["coverage"].value, NAMES[c]) for c in CLASSES if _known(figures, c))
    alt = (
        f"Coverage and size of {_level(level)} prediction sets by true diagnosis. Overall "
        f"{percent(figures['coverage'].value, 1)}; lowest {worst[1]} with {percent(worst[0])}."
    )
    widgets.chart(charts.by_class(figures, level, own, where), alt, lambda: _sets_data(found, split), "prediction-sets")
    st.dataframe(_sets_table(figures, own), hide_index=True, alt="Coverage and mean size by diagnosis, with intervals")
    widgets.chart(
        charts.by_level(found.levels, found.measured[split], level, where),
        "Coverage and mean size of the prediction sets at every level",
        lambda: _sets_data(found, split),
        "prediction-set-levels",
    )


def _known(figures: dict, code: str) -> bool:
    return bool(figures["per_class"][code]["coverage"].n_images)


def _sets_table(figures: dict, own: np.ndarray) -> pd.DataFrame:
    rows = [{"Diagnosis": "All", "Guarantee": "of the average", **_set_cells(figures)}]
    for i in SHOWN:
        row = {"Diagnosis": NAMES[CLASSES[i]], "Guarantee": "of its own" if own[i] else NO_GUARANTEE}
        rows.append({**row, **_set_cells(figures["per_class"][CLASSES[i]])})
    return pd.DataFrame(rows)


def _set_cells(figures: dict) -> dict[str, object]:
    cells: dict[str, object] = {"Images": figures["coverage"].n_images}
    for name, label in (("coverage", "True diagnosis in the set"), ("size", "Diagnoses in the set")):
        cells[label] = f"{_value(name, figures[name])} ({_interval(name, figures[name])})"
    return cells


def _sets_data(found: PredictionSets, split: str) -> pd.DataFrame:
    rows = []
    for level, figures, own in zip(found.levels, found.measured[split], found.own, strict=True):
        everything = [("all", figures, None), *((c, figures["per_class"][c], own[i]) for i, c in enumerate(CLASSES))]
        for code, of_class, guaranteed in everything:
            row = {"level": level, "class": code, "class_guarantee": guaranteed}
            rows += [{**row, "figure": name, **vars(of_class[name])} for name in ("coverage", "size")]
    return pd.DataFrame(rows)


def points_tab(entry: Entry, split: str) -> None:
    """Show what the thresholds find and cost on a split; part of the Metrics page."""
    found = cache.fitted(entry).thresholds
    if found is None:
        _missing(entry, "thresholds for a wanted sensitivity", "thresholds")
    elif split not in found.splits:
        widgets.nothing_here(f"The thresholds were not measured on {split}.", _command(entry, "thresholds"))
    else:
        _points(entry, split, found)


@st.fragment
def _points(entry: Entry, split: str, found: Thresholds) -> None:
    answers = cache.unseen(entry, split)
    if answers.value is None:
        widgets.nothing_here("The decision curve cannot be drawn.", widgets.escape(answers.sentence, 400))
        return
    p, probabilities = answers.value
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        name = choose_target()
        wanted = choose_sensitivity()
        target = TARGETS[name]
        positive, score = target.positive(p.y_true), target.score(probabilities)
        prevalence = st.number_input(
            "Prevalence where it is used, %",
            0.1,
            99.0,
            round(100 * float(positive.mean()), 1),
            0.5,
            format="%.1f",
            key=f"prevalence_{name}",
            bind="query-params",
            width=215,
            help=f"Share of {target.plural} among all lesions. On this split it is {percent(positive.mean(), 1)}.",
        )
    share = float(prevalence or 100 * positive.mean()) / 100
    point = found.point(name, wanted)
    _headline(point, name, split, share)
    of = point.measured[split].sensitivity.n_images
    st.caption(
        f"{split.capitalize()} split, all of it: {of:,} of {len(p):,} images show {target.plural}; 95 % intervals over "
        f"lesions. {_fitted_on(found.fitted_on)} Filters chosen above do not apply here."
    )
    st.markdown(POINTS)
    st.dataframe(
        _points_table(found.points[name], name, split, share), hide_index=True, alt="What every threshold finds"
    )
    where = f"{entry.name}, {split}"
    widgets.chart(
        charts.operating_points(found.points[name], split, wanted, target.title, where),
        f"Sensitivity and specificity of the thresholds for {target.plural}; the table has the numbers",
        partial(_points_data, found, split),
        "operating-points",
    )
    try:
        curve = decision_curve(positive, score, p.lesion, share, RISKS)
    except DermlensError as e:
        widgets.nothing_here("There is no decision curve.", widgets.escape(str(e), 400))
        return
    measured = point.measured[split]
    policy = net_benefit(measured.sensitivity.value, measured.specificity.value, share, RISKS)
    better = RISKS[curve.model > np.maximum(curve.refer_all, 0)]
    span = f"from {percent(better.min())} to {percent(better.max())}" if len(better) else "nowhere"

    def data() -> pd.DataFrame:
        columns = {"model": curve.model, "low": curve.low, "high": curve.high, "refer_all": curve.refer_all}
        return pd.DataFrame({"risk": RISKS, **columns, "threshold": policy, "prevalence": share})

    widgets.chart(
        charts.decision_curve(
            curve, policy, wanted, "Decision curve", f"{target.title}; {where}; prevalence {percent(share, 1)}"
        ),
        f"Net benefit of asking the model for {target.plural}: above referring all and referring none {span}.",
        data,
        "decision-curve",
    )
    st.caption(CURVE)


def choose_target() -> str:
    """Let a person choose what is to be found; the choice is part of the link."""
    return st.segmented_control(
        "To be found",
        list(TARGETS),
        default=next(iter(TARGETS)),
        required=True,
        key="target",
        format_func=lambda t: TARGETS[t].title,
        bind="query-params",
    )


def choose_sensitivity() -> float:
    """Let a person choose the wanted sensitivity; the choice is part of the link."""
    return st.select_slider(
        "Wanted sensitivity",
        SENSITIVITIES,
        value=CASE_SENSITIVITY,
        format_func=_level,
        key="sensitivity",
        bind="query-params",
        width=220,
    )


def _headline(point: Point, target: str, split: str, prevalence: float) -> None:
    sensitivity, specificity = point.measured[split].sensitivity, point.measured[split].specificity
    at, fewest, most = (_outcome(point, split, prevalence, end) for end in ("value", "high", "low"))
    cells = st.grid(5, min_column_width=140)
    shown = (
        ("Sensitivity", percent(sensitivity.value, 1), interval(sensitivity)),
        ("Specificity", percent(specificity.value, 1), interval(specificity)),
        ("Missed per 1,000", f"{at.missed:.1f}", f"{fewest.missed:.1f} to {most.missed:.1f}"),
        ("Referred per 1,000", f"{at.referred:.0f}", ""),
        (_needless(target), f"{at.unnecessary:.0f}", f"{fewest.unnecessary:.0f} to {most.unnecessary:.0f}"),
    )
    for label, value, span in shown:
        with cells.cell(), st.container(border=True, gap=None, height="stretch"):
            st.metric(label, value)
            st.caption(f"95 %: {span}" if span else f"{at.referred - at.unnecessary:.0f} rightly")


def _needless(target: str) -> str:
    return f"Of these {TARGETS[target].others}"


def _outcome(point: Point, split: str, prevalence: float, end: str = "value") -> Outcome:
    measured = point.measured[split]
    return per_thousand(getattr(measured.sensitivity, end), getattr(measured.specificity, end), prevalence)


def _points_table(points: tuple[Point, ...], target: str, split: str, prevalence: float) -> pd.DataFrame:
    rows = []
    for point in points:
        found, outcome = point.measured[split], _outcome(point, split, prevalence)
        rows.append(
            {
                "Wanted": _level(point.wanted),
                "From": percent(point.threshold, 1),
                "Sensitivity": f"{percent(found.sensitivity.value, 1)} ({interval(found.sensitivity)})",
                "Specificity": f"{percent(found.specificity.value, 1)} ({interval(found.specificity)})",
                "Missed per 1,000": f"{outcome.missed:.1f}",
                "Referred per 1,000": f"{outcome.referred:.0f}",
                _needless(target): f"{outcome.unnecessary:.0f}",
            }
        )
    return pd.DataFrame(rows)


def _points_data(found: Thresholds, split: str) -> pd.DataFrame:
    rows = []
    for target, points in found.points.items():
        for p in points:
            for name in ("sensitivity", "specificity"):
                of_target = {"target": target, "wanted": p.wanted, "threshold": p.threshold, "figure": name}
                rows.append({**of_target, **vars(getattr(p.measured[split], name))})
    return pd.DataFrame(rows)


def prediction_sets(image: CaseImage, models: Sequence[AnyModel]) -> None:
    """Say which diagnoses each model does not rule out on a case; part of page Predict."""
    caveats = set()
    for model in (m for m in models if m.id in image.answers):
        found = model.fitted.prediction_sets
        if found is None:
            said = f"no prediction sets. Make them with `{_run(model.id, 'conformal')}`."
        else:
            answer = image.answers[model.id]
            kept = found.sets(answer.probabilities)
            said = widgets.escape(found.sentence(kept) + _call_outside(answer, kept, found), 1000)
            caveats.add(found.caveat())
        level = f" at {_level(CASE_LEVEL)}" if found else ""
        st.markdown(f"**{widgets.escape(model.name)}**{level}: {said}")
    if caveats:
        st.caption(" ".join((_promise(), *sorted(caveats - {""}))))


def _call_outside(answer: Prediction, kept: np.ndarray, sets: PredictionSets) -> str:
    """Explain a set without the class that the model calls: its own cases mostly get more than this one."""
    diagnosis = called(answer)
    if kept[INDEX[diagnosis.code]] or not kept.any():
        return ""
    if diagnosis.code in sets.unguaranteed():
        return f" The call, {diagnosis.name}, is not among them, and has no guarantee of its own."
    return (
        f" The call, {diagnosis.name}, is not among them: {_level(CASE_LEVEL)} of the {diagnosis.name} images of "
        f"validation got a higher probability of it than the {percent(share_called(answer))} here."
    )


def _promise() -> str:
    return (
        f"In {_level(CASE_LEVEL)} of lesions like those of HAM10000 the true diagnosis is in the set, diagnosis by "
        "diagnosis unless marked. What is ruled out is ruled out only to that extent."
    )


@st.fragment
def operating(image: CaseImage, models: Sequence[AnyModel]) -> None:
    """Say on which side of each model's thresholds a case lies, for a sensitivity that a person sets; redraws alone."""
    asked = [m for m in models if m.id in image.answers]
    if any(m.fitted.thresholds for m in asked):
        wanted = choose_sensitivity()
    for model in asked:
        found = model.fitted.thresholds
        st.markdown(f"**{widgets.escape(model.name)}**")
        if found is None:
            st.markdown(f"- No thresholds. Make them with `{_run(model.id, 'thresholds')}`.")
            continue
        probabilities = image.answers[model.id].probabilities
        for name, target in TARGETS.items():
            share = percent(float(target.score(probabilities)), 1)
            side = widgets.escape(found.side(name, probabilities, wanted), 1000)
            st.markdown(f"- {target.title}, probability {share}: **{side.split(' ')[0]}** {side.partition(' ')[2]}")
        st.caption(" ".join(found.above(probabilities)))
    st.caption("Below a threshold is no all-clear: some of those that were missed lie there.")


def _missing(entry: Entry, what: str, step: str) -> None:
    file = {"conformal": "conformal.json", "thresholds": "thresholds.json"}[step]
    why = next((s for s in cache.fitted(entry).missing if file in s), "")
    widgets.nothing_here(f"This model has no {what}.", f"{widgets.escape(why, 400)} {_command(entry, step)}")


def _command(entry: Entry, step: str) -> str:
    return f"Make them with `{_run(entry.id, step)}`."


def _run(model_id: str, step: str) -> str:
    return f"python -m training.fit {model_id} --only {step}"


def _level(share: float) -> str:
    return f"{round(100 * share, 1):g} %"


def _value(name: str, figure: Figure) -> str:
    return percent(figure.value, 1) if name != "size" else "n/a" if np.isnan(figure.value) else f"{figure.value:.2f}"


def _interval(name: str, figure: Figure) -> str:
    if name != "size" or np.isnan(figure.low):
        return interval(figure)
    return f"{figure.low:.2f} to {figure.high:.2f}"


def _whole(split: str, figure: Figure) -> str:
    return (
        f"{split.capitalize()} split, all of it: {figure.n_images:,} images of {figure.n_lesions:,} lesions; 95 % "
        "intervals over lesions. Filters chosen above do not apply here."
    )


def _fitted_on(record: dict) -> str:
    return (
        f"Thresholds come from validation ({record['n_images']:,} images of {record['n_lesions']:,} lesions); there "
        "each image is measured with thresholds from other lesions."
    )
