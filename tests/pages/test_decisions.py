"""Prediction sets and operating points on pages Metrics and Predict: numbers shown are those of the files."""

import base64
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dermlens.dataset.ham10000 import load_split
from dermlens.labels import CLASSES, INDEX, NAMES
from dermlens.models.card import read_card
from dermlens.models.registry import sha256
from dermlens.trust import calibration, conformal, referral, thresholds
from dermlens.trust.fitted import read_fitted
from dermlens.trust.referral_rules import RULES
from dermlens.trust.thresholds import TARGETS, decision_curve, per_thousand
from dermlens.wording import interval, percent, percent_with_interval, short_percent
from tests.dashboard import check, fill, open_page, tables, text
from training.fits import calibration as fit_calibration
from training.fits import conformal as fit_conformal
from training.fits import referral as fit_referral
from training.fits import thresholds as fit_thresholds
from training.fits.subject import Subject
from training.model_card import decisions

STEPS = (fit_calibration, fit_conformal, fit_thresholds, fit_referral)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with one made-up model that has everything fitted to predictions."""
    models = tmp_path_factory.mktemp("models")
    (models / "a").mkdir()
    fill(models / "a")
    note(models / "a")
    for step in STEPS:
        for name, content in step.make(Subject(models / "a", load_split())).items():
            (models / "a" / name).write_bytes(content)
    note(models / "a")
    return models


def note(folder: Path) -> None:
    names = ("predictions.csv", "calibration.json", "conformal.json", "thresholds.json", "referral.json")
    hashes = {name: sha256(folder / name) for name in names if (folder / name).is_file()}
    (folder / "card.json").write_text(json.dumps({"id": folder.name, "name": "A", "files": hashes}))


@pytest.fixture
def models(fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(fitted, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path))
    monkeypatch.delenv("HAM10000_DIR", raising=False)
    return tmp_path


def metrics_shown(app: AppTest) -> dict[str, str]:
    return {m.label: m.value for m in app.metric}


@pytest.mark.parametrize("split", ["validation", "test"])
def test_prediction_sets_of_a_split(models: Path, split: str) -> None:
    app = open_page("metrics", show="Prediction sets", split=split)
    found = conformal.read(models / "a" / "conformal.json")
    rows = found.measured[split]
    estimates = rows[found.row(0.9)]
    assert metrics_shown(app)["True diagnosis in the set"] == percent(estimates.coverage.value, 1)
    assert metrics_shown(app)["Diagnoses in the set, mean"] == f"{estimates.size.value:.2f}"
    assert f"{split.capitalize()} split, all of it" in text(app)
    assert "Thresholds come from validation" in text(app)
    assert len(app.get("plotly_chart")) == 4, "coverage and size, by diagnosis and by level"
    table = tables(app)[0].set_index("Diagnosis")
    assert percent(estimates.per_class["mel"].coverage.value, 1) in table.loc["Melanoma", "True diagnosis in the set"]
    without = {name.removesuffix(", no class guarantee") for name in table.index if "no class guarantee" in name}
    assert without == {NAMES[code] for code in found.unguaranteed()}
    assert "df" in found.unguaranteed()
    assert "No class guarantee at 90 %" in text(app)
    app.select_slider(key="coverage").set_value(0.5)
    check(app.run())
    estimates = rows[found.row(0.5)]
    assert metrics_shown(app)["True diagnosis in the set"] == percent(estimates.coverage.value, 1)
    assert metrics_shown(app)["Empty sets"] == percent(estimates.empty.value, 1)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_operating_points_of_a_split(models: Path, split: str) -> None:
    app = open_page("metrics", show="Operating points", split=split)
    found = thresholds.read(models / "a" / "thresholds.json")
    measured = found.point("melanoma", 0.95).measured[split]
    shown = metrics_shown(app)
    assert shown["Sensitivity"] == percent(measured.sensitivity.value, 1)
    assert shown["Specificity"] == percent(measured.specificity.value, 1)
    assert len(app.get("plotly_chart")) == 2
    weighed = "Net benefit weighs referrals of lesions that are {} against {} found"
    assert weighed.format("not melanoma", "melanomas") in text(app), "the curve is of the target that is chosen"
    app.segmented_control(key="target").set_value("malignant")
    app.select_slider(key="sensitivity").set_value(0.8)
    check(app.run())
    app.number_input(key="prevalence_malignant").set_value(5.0)
    check(app.run())
    measured = found.point("malignant", 0.8).measured[split]
    outcome = per_thousand(measured.sensitivity.value, measured.specificity.value, 0.05)
    shown = metrics_shown(app)
    assert shown["Missed"] == f"{outcome.missed:.1f}"
    assert shown["Referred"] == f"{outcome.referred:.0f}"
    assert shown["Of these benign"] == f"{outcome.unnecessary:.0f}"
    points, table = tables(app)
    assert points["Threshold"].iloc[0] == percent(found.point("malignant", 0.8).threshold, 1)
    ends = [
        per_thousand(getattr(measured.sensitivity, end), getattr(measured.specificity, end), 0.05)
        for end in ("high", "low")
    ]
    missed, needless = (f"{ends[0].missed:.1f} to {ends[1].missed:.1f}", [f"{end.unnecessary:.0f}" for end in ends])
    assert table["Missed per 1,000 images"].iloc[0] == f"{outcome.missed:.1f} ({missed})"
    assert table["Of these benign"].iloc[0] == f"{outcome.unnecessary:.0f} ({' to '.join(needless)})"
    assert re.fullmatch(rf"{outcome.referred:.0f} \(\d+ to \d+\)", table["Referred per 1,000 images"].iloc[0])
    of_cards = [c.value for c in app.caption if "95 %:" in c.value]
    assert len(of_cards) >= 5, "every number has its interval"
    assert len(points) == len(table) == len(thresholds.SENSITIVITIES)
    assert weighed.format("benign", "malignant and pre-malignant lesions") in text(app)


def test_the_decision_curve_is_that_of_the_calibrated_answers(models: Path) -> None:
    app = open_page("metrics", show="Operating points", split="test")
    subject = Subject(models / "a", load_split())
    test = subject.predictions.of_split("test")
    calibration = read_fitted(models / "a", read_card(models / "a")).calibration
    assert calibration is not None
    target = TARGETS["melanoma"]
    positive, score = target.positive(test.y_true), target.score(calibration.apply(test.logits))
    share = round(100 * positive.mean(), 1) / 100
    risk = np.arange(1, 61) / 100
    expected = decision_curve(positive, score, test.lesion, share, risk)
    drawn = json.loads(app.get("plotly_chart")[1].proto.spec)
    line = next(t for t in drawn["data"] if t.get("name") == "Refer at that risk or above")
    assert np.allclose(values(line["y"]), 1000 * expected.model)


def values(stored: object) -> np.ndarray:
    """The numbers of a trace, which Plotly may have packed."""
    if isinstance(stored, dict):
        return np.frombuffer(base64.b64decode(stored["bdata"]), stored["dtype"])
    return np.array(stored)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_referral_on_a_split(models: Path, split: str) -> None:
    app = open_page("metrics", show="Referral", split=split)
    found = referral.read(models / "a" / "referral.json")
    measured = found.measured[split]
    limits, table, of_rules = tables(app)
    assert limits["Model"].tolist() == ["A"]
    assert limits["Melanoma, threshold"].tolist() == [percent(found.thresholds["a"]["melanoma"], 1)]
    assert "measured cross-fitted" in text(app).replace("\\", "")
    table, of_rules = table.set_index("What"), of_rules.set_index("Rule")
    assert table.loc["Referred", "Share"] == percent(measured.referred.value, 1)
    assert table.loc["Referred", "95 % interval"] == interval(measured.referred)
    for code in ("mel", "bcc", "akiec"):
        missed = measured.missed[code]
        count = f"{round(missed.value * missed.n_images)} of {missed.n_images}"
        assert table.loc[f"{NAMES[code]}, not referred", "Images"] == count
    assert len(of_rules) == len(measured.rules) == 3  # melanoma, malignant, undecided
    said = {rule.key: rule.description for rule in RULES}
    for key, of_rule in measured.rules.items():
        assert of_rules.loc[said[key], "Applies"] == percent_with_interval(of_rule.fired)
        assert of_rules.loc[said[key], "Applies alone"] == percent_with_interval(of_rule.alone)
    assert f"{split.capitalize()} split, all of it: {measured.referred.n_images:,} images" in text(app)
    assert "Filters chosen above do not apply here" in text(app)


def test_the_coverage_curve_is_that_of_calls_the_model_has_not_been_calibrated_on(models: Path) -> None:
    app = open_page("metrics", show="Referral")
    p = Subject(models / "a", load_split()).predictions.of_split("validation")
    found = read_fitted(models / "a", read_card(models / "a"))
    assert found.calibration is not None
    assert found.referral is not None
    answers = calibration.unseen(p, found.calibration)
    coverage, accuracy = referral.coverage_curve(answers.max(1), answers.argmax(1) == p.y_true)
    drawn = json.loads(app.get("plotly_chart")[0].proto.spec)
    line = next(t for t in drawn["data"] if t.get("name") == "Accuracy")
    assert drawn["layout"]["title"]["subtitle"]["text"] == "A, validation; band: 95 %"
    high, low = (values(t["y"]) for t in drawn["data"] if "name" not in t)
    assert len(high) == 100
    assert low[-1] < values(line["y"])[-1] < high[-1]
    assert np.isin(values(line["y"]), 100 * accuracy).all()
    assert (values(line["x"])[-1], values(line["y"])[-1]) == (100 * coverage[-1], 100 * accuracy[-1])
    kept = 100 * (1 - found.referral.measured["validation"].referred.value)
    assert [s["x0"] for s in drawn["layout"]["shapes"]] == [kept]


def test_the_coverage_curve_needs_no_rules(models: Path) -> None:
    for name in ("calibration.json", "conformal.json", "thresholds.json", "referral.json"):
        (models / "a" / name).unlink()
    note(models / "a")
    app = open_page("metrics", show="Referral")
    assert len(app.get("plotly_chart")) == 1
    assert "This model has no rules for referral" in text(app)


def test_filters_do_not_change_what_is_of_the_whole_split(models: Path) -> None:
    app = open_page("metrics", show="Prediction sets")
    before = metrics_shown(app)["True diagnosis in the set"]
    app.multiselect(key="sex").set_value(["female"])
    check(app.run())
    assert metrics_shown(app)["True diagnosis in the set"] == before
    assert "Filters chosen above do not apply here" in text(app)


@pytest.mark.parametrize(
    ("tab", "file", "sentence"),
    [
        ("Prediction sets", "conformal.json", "This model has no prediction sets"),
        ("Operating points", "thresholds.json", "This model has no thresholds"),
        ("Referral", "referral.json", "This model has no rules for referral"),
    ],
)
def test_a_model_without_a_file_says_what_is_missing_and_how_to_make_it(
    models: Path, tab: str, file: str, sentence: str
) -> None:
    (models / "a" / file).unlink()
    note(models / "a")
    shown = text(open_page("metrics", show=tab))
    assert sentence in shown
    assert file.replace(".", "\\.") in shown
    assert f"python -m training.fit a --only {file.removesuffix('.json')}" in shown


def test_a_file_fitted_with_another_calibration_is_not_used(models: Path) -> None:
    file = models / "a" / "calibration.json"
    stored = json.loads(file.read_text())
    file.write_text(json.dumps({**stored, "scale": [0.5] * 7}))
    note(models / "a")
    for tab in ("Prediction sets", "Operating points"):
        assert "another calibration" in text(open_page("metrics", show=tab))


def test_thresholds_of_calibrated_probabilities_are_not_used_without_the_calibration(models: Path) -> None:
    folder = models / "a"
    (folder / "calibration.json").unlink()
    found = read_fitted(folder, read_card(folder))
    assert (found.prediction_sets, found.thresholds, found.referral) == (None, None, None)
    assert sum("which the model no longer gives" in why for why in found.missing.values()) == 3


def case(models: str, shares: dict[str, float]) -> None:
    """The two sections of a case, of a model that has everything and one that has nothing."""
    from pathlib import Path
    from types import SimpleNamespace

    import numpy as np

    from dermlens.case.opinion import form
    from dermlens.labels import INDEX
    from dermlens.models.card import read_card
    from dermlens.trust.fitted import NOTHING_FITTED, read_fitted
    from ui.predict import decisions

    folder = Path(models) / "a"
    probabilities = np.zeros(7)
    for code, share in shares.items():
        probabilities[INDEX[code]] = share
    answer = SimpleNamespace(probabilities=probabilities, logits=np.log(probabilities + 1e-9), unlikeness=None)
    parts = {"a": read_fitted(folder, read_card(folder)), "b": NOTHING_FITTED}
    asked = [SimpleNamespace(id=i, name=i.upper(), fitted=part, role="diagnosis") for i, part in parts.items()]
    opinion = form(asked, {"a": answer, "b": answer})  # type: ignore[arg-type, dict-item]
    decisions.prediction_sets(opinion)
    decisions.operating(opinion)


def open_case(models: Path, **shares: float) -> AppTest:
    return check(AppTest.from_function(case, args=(str(models), shares)).run(timeout=60))


def refer(models: str, shares: dict[str, float]) -> None:
    """The first line of a case, of a model and of one shown for comparison with the same rules of its own."""
    import dataclasses
    from pathlib import Path
    from types import SimpleNamespace

    import numpy as np

    from dermlens.case.decision import decide
    from dermlens.case.opinion import form
    from dermlens.labels import INDEX
    from dermlens.models.card import read_card
    from dermlens.trust.fitted import read_fitted
    from ui.predict import verdict

    folder = Path(models) / "a"
    first = read_fitted(folder, read_card(folder))
    assert first.referral is not None
    limits, wanted = first.referral.thresholds["a"], first.referral.sensitivity["a"]
    second = dataclasses.replace(first.referral, thresholds={"b": limits}, sensitivity={"b": wanted})
    parts = {"a": first, "b": dataclasses.replace(first, referral=second)}
    quiet, loud = np.eye(7)[INDEX["nv"]], np.zeros(7)
    for code, share in shares.items():
        loud[INDEX[code]] = share
    answers = {
        i: SimpleNamespace(probabilities=p, logits=np.zeros(7), calibrated=True, unlikeness=None)
        for i, p in (("a", quiet), ("b", loud))
    }
    image = SimpleNamespace(quality=SimpleNamespace(findings=(), poor=False))
    roles = {"a": "diagnosis", "b": "comparison"}
    asked = [SimpleNamespace(id=i, name=i.upper(), fitted=part, card={}, role=roles[i]) for i, part in parts.items()]
    opinion = form(asked, answers)  # type: ignore[arg-type]
    verdict.card(image, opinion, decide(opinion))  # type: ignore[arg-type]


def test_a_model_for_comparison_over_its_threshold_is_in_the_first_line(models: Path) -> None:
    app = check(AppTest.from_function(refer, args=(str(models), {"mel": 0.56, "nv": 0.44})).run(timeout=60))
    shown = text(app).replace("\\", "")
    assert [h.value for h in app.header] == ["No rule applies, but look again"]
    assert "B, shown for comparison, would refer for melanoma" in shown
    quiet = check(AppTest.from_function(refer, args=(str(models), {"nv": 1.0})).run(timeout=60))
    assert [h.value for h in quiet.header] == ["No rule for referral applies"]
    assert "That is **not an all-clear**" in text(quiet)
    assert "would refer" not in text(quiet)


def test_a_case_says_what_is_not_ruled_out_and_which_thresholds_it_reaches(models: Path) -> None:
    found = read_fitted(models / "a", read_card(models / "a"))
    assert found.prediction_sets is not None
    assert found.thresholds is not None
    app = open_case(models, mel=0.3, nv=0.7)
    shown = text(app)
    probabilities = np.zeros(7)
    probabilities[INDEX["mel"]], probabilities[INDEX["nv"]] = 0.3, 0.7
    kept = found.prediction_sets.sets(probabilities)
    assert kept[INDEX["mel"]]
    assert "at 90 %: Not ruled out: melanoma" in shown.replace("\\", "")
    assert "**B**: no prediction sets" in shown
    assert "training.fit b`" in shown
    strict = "above" if found.thresholds.reached("melanoma", probabilities, 0.8) else "below"
    for wanted, side in ((0.8, strict), (0.95, "above")):
        app.select_slider(key="sensitivity").set_value(wanted)
        check(app.run())
        table = tables(app)[0].set_index("For")
        assert table.loc["Melanoma", f"At {short_percent(wanted)} sensitivity"].strip("*") == side
        assert table.loc["Melanoma", "This image"] == "30.0 %"
        threshold = float(table.loc["Melanoma", "Threshold"].removesuffix(" %"))
        assert (threshold <= 30) == (side == "above")
        measured = found.thresholds.point("melanoma", wanted).measured["test"].sensitivity
        assert table.loc["Melanoma", "Found on test"] == percent_with_interval(measured)


def test_a_call_that_is_not_in_its_own_set_is_explained(models: Path) -> None:
    folder = models / "a"
    stored = json.loads((folder / "conformal.json").read_text())
    stored["thresholds"]["nv"] = [0.9] * len(stored["levels"])
    stored["thresholds"]["mel"] = [0.1] * len(stored["levels"])
    (folder / "conformal.json").write_text(json.dumps(stored))
    note(folder)
    sentence = (
        "The call, melanocytic nevus, is not among them: about 90 % of the melanocytic nevus lesions of validation"
    )
    assert sentence in text(open_case(models, mel=0.3, nv=0.7)).replace("\\", "")
    assert sentence not in text(open_case(models, mel=0.05, nv=0.95)).replace("\\", "")


def test_an_empty_set_on_a_case_is_explained(models: Path) -> None:
    folder = models / "a"
    stored = json.loads((folder / "conformal.json").read_text())
    stored["thresholds"] = {code: [0.99] * len(stored["levels"]) for code in CLASSES}
    (folder / "conformal.json").write_text(json.dumps(stored))
    note(folder)
    shown = text(open_case(models, mel=0.3, nv=0.7))
    assert "Every diagnosis is ruled out" in shown
    assert "not an all\\-clear" in shown


def test_the_model_card_says_what_the_files_give(models: Path) -> None:
    folder = models / "a"
    sets, points = conformal.read(folder / "conformal.json"), thresholds.read(folder / "thresholds.json")
    shown = "\n".join(decisions.prediction_sets(folder))
    coverage = sets.measured["test"][sets.row(0.9)].per_class["mel"].coverage
    line = next(x for x in shown.split("| test |")[1].splitlines() if x.startswith("| mel |"))
    assert f"| {coverage.n_images} | {percent(coverage.value, 1)} ({interval(coverage)}) |" in line
    assert "No class guarantee at 90 %" in shown
    assert "| df | no class guarantee |" in shown
    shown = "\n".join(decisions.operating_points(folder))
    sensitivity = points.point("malignant", 0.97).measured["test"].sensitivity
    line = [x for x in shown.splitlines() if x.startswith(f"| malignant or pre-malignant | {short_percent(0.97)}")][-1]
    assert f"| {percent(sensitivity.value, 1)} ({interval(sensitivity)}) |" in line
    rules = referral.read(folder / "referral.json")
    melanoma, malignant = (percent(rules.thresholds["a"][key], 1) for key in ("melanoma", "malignant"))
    shown = "\n".join(decisions.referral(folder))
    assert f"| `a` | {short_percent(rules.sensitivity['a'])} | {melanoma} | {malignant} |" in shown
    assert "cross-fitted" in shown
    measured = rules.measured["test"]
    table = shown.split("| test |")[1]
    assert f"| referred | {measured.referred.n_images} | {percent(measured.referred.value, 1)} " in table
    missed = measured.missed["mel"]
    line = f"| missed: melanoma | {missed.n_images} | {percent(missed.value, 1)} ({interval(missed)}) |"
    assert line in table
    undecided = measured.rules["undecided"]
    share = f"{percent(undecided.fired.value, 1)} ({interval(undecided.fired)})"
    assert f"{share}, alone {percent(undecided.alone.value, 1)} |" in table
    for name in ("conformal.json", "thresholds.json", "referral.json"):
        (folder / name).unlink()
    assert decisions.prediction_sets(folder) == decisions.operating_points(folder) == decisions.referral(folder) == []
