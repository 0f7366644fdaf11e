"""Prediction sets: they cover what they promise, are those of the library, and no image sets its own threshold."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from crepes import ConformalClassifier

from dermlens.dataset.ham10000 import load_split
from dermlens.errors import ConfigError, ModelError
from dermlens.evaluation.metrics import log_softmax
from dermlens.evaluation.predictions import Predictions, concatenate, make_predictions, write_predictions
from dermlens.labels import CLASSES, INDEX, N_CLASSES
from dermlens.trust import calibration, conformal
from dermlens.trust.conformal import CASE_LEVEL, PredictionSets, read
from training.fits import conformal as fits
from training.fits.subject import Subject

AT_80 = fits.LEVELS.index(0.8)
AT_90 = fits.LEVELS.index(0.9)
EVERY = np.ones((len(fits.LEVELS), N_CLASSES), bool)


def population(
    sizes: tuple[int, ...], seed: int = 0, images: int = 1, split: str = "validation"
) -> tuple[Predictions, np.ndarray]:
    """Lesions of every class, `images` alike images each, and probabilities that lean towards the truth."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(N_CLASSES), sizes)
    logits = rng.normal(0, 1.5, (len(y), N_CLASSES))
    logits[np.arange(len(y)), y] += rng.normal(2, 1.5, len(y))
    y, lesion = np.repeat(y, images), np.repeat(np.arange(len(y)), images)
    logits = np.repeat(logits, images, 0) + rng.normal(0, 0.3, (len(y), N_CLASSES)) * (images > 1)
    ids = [f"I{seed}{split}{i:06}" for i in range(len(y))]
    p = make_predictions(ids, [f"L{seed}{split}{i:05}" for i in lesion], split, y, logits)
    return p, np.exp(log_softmax(logits))


@cache
def some_sets() -> PredictionSets:
    p, probabilities = population((48, 69, 145, 14, 127, 400, 20))
    found = fits.fit(p, probabilities, {"split": "validation"})
    found.measured["validation"] = fits.measure(p, np.stack([found.sets(probabilities, x) for x in fits.LEVELS]))
    return found


def test_thresholds_by_hand() -> None:
    # Ten melanomas: (10 + 1) * 0.2 = 2.2, so at 80 % the second lowest; 1.1 at 90 %, the lowest; 0.55 at 95 %, none.
    true = np.array([0.31, 0.9, 0.5, 0.7, 0.2, 0.8, 0.6, 0.95, 0.4, 0.45])
    probabilities = np.zeros((10, N_CLASSES))
    probabilities[:, INDEX["mel"]] = true
    found = fits.thresholds(probabilities, np.full(10, INDEX["mel"]), EVERY)[:, INDEX["mel"]]
    assert found[AT_80] == pytest.approx(0.31)
    assert found[AT_90] == pytest.approx(0.2)
    assert found[fits.LEVELS.index(0.95)] == 0
    # Nine: 10 * 0.2 is exactly 2.
    found = fits.thresholds(probabilities[1:], np.full(9, INDEX["mel"]), EVERY)[:, INDEX["mel"]]
    assert found[AT_80] == pytest.approx(0.4)


def test_a_class_with_too_few_lesions_takes_the_threshold_of_all() -> None:
    p, probabilities = population((18, 19, 60, 1, 0, 200, 30))
    found = fits.fit(p, probabilities)
    assert found.own[AT_90].tolist() == [False, True, True, False, False, True, True]
    assert found.unguaranteed() == ("mel", "akiec", "df"), "most urgent group first"
    true = np.sort(probabilities[np.arange(len(p)), p.y_true])
    marginal = true[int((len(p) + 1) * 0.1 + 1e-9) - 1]
    alone = fits.thresholds(probabilities, p.y_true, np.zeros_like(EVERY))
    assert alone[AT_90] == pytest.approx(np.full(N_CLASSES, marginal))
    assert found.thresholds[AT_90, INDEX["mel"]] == pytest.approx(marginal)
    assert (found.thresholds[AT_90, found.own[AT_90]] > 0).all()


def test_sets_grow_with_the_level() -> None:
    found = some_sets()
    assert (np.diff(found.thresholds, axis=0) <= 0).all()
    _, probabilities = population((20,) * 7, seed=5)
    kept = np.stack([found.sets(probabilities, x) for x in found.levels])
    assert (kept[1:] >= kept[:-1]).all()
    assert kept.shape == (len(found.levels), 140, 7)


def test_sets_are_those_of_the_library() -> None:
    # No class size for which (n + 1) * (1 - level) is whole: there crepes' own rounding decides.
    p, probabilities = population((30, 36, 52, 40, 100, 150, 60))
    _, new = population((30,) * 7, seed=1)
    thresholds = fits.thresholds(probabilities, p.y_true, EVERY)
    for j, level in enumerate(fits.LEVELS):
        for i in range(N_CLASSES):
            of_class = p.y_true == i
            library = ConformalClassifier().fit(1 - probabilities[of_class, i])
            expected = library.predict_set(1 - new[:, [i]], confidence=level, smoothing=False)[:, 0].astype(bool)
            assert np.array_equal(new[:, i] >= thresholds[j, i], expected), (level, i)


@pytest.mark.parametrize("images", [1, 3])
def test_coverage_holds_over_200_random_splits(images: int) -> None:
    p, probabilities = population((60, 60, 60, 60, 60, 60, 60), images=images)
    rng = np.random.default_rng(2)
    covered = []
    for _ in range(200):
        calibrating = np.isin(p.lesion, rng.permutation(p.n_lesions)[: p.n_lesions // 2])
        some = p.select(calibrating)
        rows = fits.one_image_a_lesion(some)
        found = fits.thresholds(probabilities[calibrating][rows], some.y_true[rows], EVERY)
        kept = probabilities[~calibrating] >= found[AT_90]
        hit = kept[np.arange(len(kept)), p.y_true[~calibrating]]
        covered.append([hit[p.y_true[~calibrating] == i].mean() for i in range(N_CLASSES)])
    # About 30 lesions a class: coverage is 90 % or up to 1 / 31 more, in every class.
    assert np.all((np.mean(covered, 0) > 0.895) & (np.mean(covered, 0) < 0.945))


def test_one_image_a_lesion_whatever_the_order_and_the_answers() -> None:
    p, _ = population((30,) * 7, images=3)
    rows = fits.one_image_a_lesion(p)
    assert p.lesion[rows].tolist() == list(range(p.n_lesions))
    places = np.bincount(rows % 3, minlength=3)
    assert (places > 40).all(), "no place among a lesion's images is preferred"
    shuffled = p.select(np.random.default_rng(0).permutation(len(p)))
    assert list(shuffled.image_id[fits.one_image_a_lesion(shuffled)]) == list(p.image_id[rows])


def test_no_image_has_a_part_in_its_own_threshold() -> None:
    p, probabilities = population((40,) * 7)
    kept = fits.cross_fitted(p, probabilities, EVERY)
    changed = probabilities.copy()
    here = calibration.folds(p) == 0
    changed[here] = changed[here] ** 3
    again = fits.cross_fitted(p, changed, EVERY)
    rest = np.flatnonzero(~here)
    thresholds = fits.thresholds(probabilities[rest], p.y_true[rest], EVERY)
    assert np.array_equal(again[:, here], changed[here] >= thresholds[:, None])
    assert not np.array_equal(again[:, ~here], kept[:, ~here])


def test_measured_by_hand() -> None:
    y = np.array([4, 4, 5, 5, 5])
    p = make_predictions(list("abcde"), list("vwxyz"), "test", y, np.zeros((5, 7)))
    kept = np.zeros((5, 7), bool)
    kept[0, 4] = kept[1, 5] = kept[2, [0, 4, 5]] = kept[3, 5] = True
    (found,) = fits.measure(p, kept[None])
    assert found.coverage.value == 3 / 5
    assert found.size.value == 6 / 5
    assert (found.single.value, found.empty.value) == (3 / 5, 1 / 5)
    assert found.per_class["mel"].coverage.value == 1 / 2
    assert found.per_class["nv"].size.value == 4 / 3
    assert found.per_class["df"].coverage.to_dict()["value"] is None
    assert found.per_class["nv"].coverage.low < 2 / 3 < found.per_class["nv"].coverage.high


def test_a_set_in_words() -> None:
    found = some_sets()
    assert found.unguaranteed() == ("df",)
    kept = np.zeros(7, bool)
    kept[[INDEX["nv"], INDEX["df"], INDEX["mel"], INDEX["akiec"]]] = True
    assert found.sentence(kept) == (
        "Not ruled out: melanoma, actinic keratosis or Bowen's disease, dermatofibroma (no class guarantee), "
        "melanocytic nevus."
    )
    assert "no class guarantee" not in found.sentence(kept, 0.8)
    assert "not an all-clear" in found.sentence(np.zeros(7, bool))
    assert "Nothing is ruled out" in found.sentence(np.ones(7, bool))
    assert "dermatofibroma (14)" in found.caveat()
    assert found.caveat(0.5) == ""


def test_a_level_without_thresholds_is_named() -> None:
    with pytest.raises(ConfigError, match=r"90 %.*got 91 %"):
        some_sets().sets(np.full(7, 1 / 7), 0.91)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    found = some_sets()
    file = tmp_path / "conformal.json"
    file.write_text(json.dumps(found.to_dict()))
    again = read(file)
    assert again.to_dict() == found.to_dict()
    assert not again.thresholds.flags.writeable


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"levels": [0.9, 0.8]}, "levels must rise"),
        ({"thresholds": {}}, "KeyError"),
        ({"own": {code: [1] * len(fits.LEVELS) for code in CLASSES}}, "true or false"),
        ({"thresholds": {code: [0.1] * 3 for code in CLASSES}}, "one threshold"),
        ({"thresholds": {code: np.linspace(0, 1, len(fits.LEVELS)).tolist() for code in CLASSES}}, "never rise"),
        ({"thresholds": {code: [2.0] * len(fits.LEVELS) for code in CLASSES}}, "lie in 0..1"),
        ({"measured": {"test": []}}, "measured at every level"),
        ({"measured": {"test": [{}] * len(fits.LEVELS)}}, "cannot be used"),
        ({"fitted_on": None}, "cannot be used"),
    ],
)
def test_a_file_that_is_not_one_is_refused(tmp_path: Path, change: dict, why: str) -> None:
    file = tmp_path / "conformal.json"
    file.write_text(json.dumps({**some_sets().to_dict(), **change}))
    with pytest.raises(ModelError, match=why):
        read(file)
    file.write_text("[")
    with pytest.raises(ModelError, match="cannot be read as JSON"):
        read(file)


def test_the_file_of_a_model_holds_what_its_predictions_give(tmp_path: Path) -> None:
    sizes = (40, 50, 60, 14, 60, 120, 25)
    parts = [population(sizes, seed=s, split=name)[0] for s, name in enumerate(("validation", "test"))]
    write_predictions(tmp_path / "predictions.csv", concatenate(parts))
    plain = {"method": "temperature", "classes": CLASSES, "scale": [0.8] * 7, "bias": [0] * 7, "class_mix": [1] * 7}
    (tmp_path / "calibration.json").write_text(json.dumps(plain))
    subject = Subject(tmp_path, load_split())
    made = fits.make(subject)
    assert made == fits.make(Subject(tmp_path, load_split())), "the same bytes every time"
    (tmp_path / "conformal.json").write_bytes(made["conformal.json"])
    found = read(tmp_path / "conformal.json")
    assert found.lesions == sizes
    assert found.fitted_on["n_images"] == sum(sizes)
    assert set(found.measured) == {"validation", "test"}
    test = subject.predictions.of_split("test")
    answers = calibration.read(tmp_path / "calibration.json").apply(test.logits)
    hit = found.sets(answers, CASE_LEVEL)[np.arange(len(test)), test.y_true]
    measured = found.measured["test"][AT_90]
    assert measured.coverage.value == pytest.approx(hit.mean(), abs=1e-6)
    assert measured.per_class["mel"].coverage.value == pytest.approx(hit[test.y_true == INDEX["mel"]].mean(), abs=1e-6)
    assert 0.85 < measured.coverage.value < 0.95
    assert measured.size.value == pytest.approx(found.sets(answers).sum(1).mean(), abs=1e-6)
    assert found.measured["validation"][AT_90].coverage.value == pytest.approx(0.9, abs=0.04)
    assert conformal.CASE_LEVEL in found.levels
