"""other_archives.json: what refusal, prediction sets and rules for referral do on images of other archives.

Everything is as it was fitted; nothing is fitted here. `score` puts these images into familiarity.csv, for a refusal
that was fitted without them. Squamous cell carcinoma is measured on all the
images that there are of it, as no network trains on it.
"""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from dermlens.dataset.isic2019 import CARCINOMAS, HELD_BACK, TEST_SETS, TITLES, VALIDATION_SETS
from dermlens.errors import DataError
from dermlens.estimate import Estimate
from dermlens.evaluation.compare import align
from dermlens.evaluation.intervals import mean, share
from dermlens.evaluation.other_archives import ALL, FILE, Carcinomas, OfArchive, OtherArchives
from dermlens.evaluation.predictions import EXTERNAL_FILE, Predictions, read_predictions
from dermlens.files.documents import encode_object, read_object
from dermlens.files.tables import encode_csv
from dermlens.labels import CLASSES, MELANOMA, SUSPECT
from dermlens.models import registry
from dermlens.trust import calibration, conformal
from dermlens.trust import referral as rules
from dermlens.trust.ood import (
    OOD_FILE,
    REAL,
    SCORES_FILE,
    JointOodDetector,
    known,
    read_scores,
    refused,
)
from dermlens.trust.ood import read as read_ood
from dermlens.trust.reference_set import METHODS
from dermlens.trust.referral_rules import Inputs
from training.config import archives as trained_on
from training.fits.embeddings import elsewhere
from training.fits.embeddings import measure as measure_scores
from training.fits.referral import measure
from training.fits.subject import Subject

SOURCES = (EXTERNAL_FILE, "calibration.json", "conformal.json", OOD_FILE, "referral.json")
"""What the measurements rest on."""


def score(subject: Subject) -> dict[str, bytes]:
    """Return familiarity.json and familiarity.csv with other archives' images, scored by the refusal as it is fitted.

    Nothing without a refusal, or without the images; an ensemble's come from the files of its members.
    """
    folder = subject.folder
    if not (folder / SCORES_FILE).exists():
        return {}
    if not subject.card.get("members") and subject.external is None:
        return {}
    detector = read_ood(folder / OOD_FILE, subject.table)
    if isinstance(detector, JointOodDetector):
        added = _of_members(subject, detector)
    else:
        added, embeddings = elsewhere(subject)
        found = METHODS[detector.method](detector.reference, embeddings)
        added = added.assign(score=[float(f"{value:.7g}") for value in found])
    before, threshold = read_scores(folder)
    before = before[~before["part"].isin(HELD_BACK)]
    real = (before["kind"] == REAL).to_numpy()
    table = pd.concat([before[real], added, before[~real]], ignore_index=True)
    stored = read_object(folder / OOD_FILE)
    return {
        OOD_FILE: encode_object({**stored, "measured": measure_scores(table, threshold)}),
        SCORES_FILE: encode_csv(table[list(before)]),
    }


def _of_members(subject: Subject, rule: JointOodDetector) -> pd.DataFrame:
    """Return the other archives' images with the score of an ensemble's rule; no rows if a member has none of them."""
    excess, rows = [], []
    for member in subject.card["members"]:
        table, threshold = read_scores(subject.folder.parent / member)
        own = table[table["part"].isin(HELD_BACK)].reset_index(drop=True)
        rows.append(own)
        excess.append((own["score"] - threshold).to_numpy())
    first = rows[0]
    if any(not own.drop(columns="score").equals(first.drop(columns="score")) for own in rows):
        raise DataError("The members have scores of different images of other archives: score them all again.")
    if rule.withholding is None:
        return first.iloc[:0]
    return first.assign(score=np.round(rule.withholding.score(np.stack(excess, 1)), 6))


def make(subject: Subject) -> dict[str, bytes]:
    """Return other_archives.json; nothing if the model was not asked about other archives (training.external)."""
    if not (subject.folder / EXTERNAL_FILE).exists():
        return {}
    everything = read_predictions(subject.folder / EXTERNAL_FILE, splits=HELD_BACK)
    splits = [split for split in (*VALIDATION_SETS, *TEST_SETS) if split in everything.splits]
    archives = {split: _of_archive(subject, everything.of_split(split)) for split in splits}
    scc = _carcinomas(subject, everything.of_split(CARCINOMAS)) if CARCINOMAS in everything.splits else None
    sources = {name: registry.sha256(subject.folder / name) for name in SOURCES if (subject.folder / name).exists()}
    content = {"fitted_on": sources, **OtherArchives(archives, scc, _trained_on(subject)).to_dict()}
    before = read_object(subject.folder / FILE) if (subject.folder / FILE).exists() else {}
    noted = before.get("measured", [None] if before else [])
    changed = sources != before.get("fitted_on")
    return {FILE: encode_object({**content, "measured": [*noted, *([_now()] if changed else [])]})}


def _trained_on(subject: Subject) -> tuple[str, ...]:
    """Return the titles of the archives that the networks behind a model were trained on."""
    members = [subject.folder.parent / name for name in subject.card.get("members", {})]
    records = [read_object(f / "run.json") for f in (members or [subject.folder]) if (f / "run.json").exists()]
    return tuple(title for title in TITLES.values() if any(title in trained_on(record) for record in records))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _of_archive(subject: Subject, p: Predictions) -> OfArchive:
    probabilities, sets, unlike, fired = _decisions(subject, p)
    answered = (p.y_true == MELANOMA) & (False if unlike is None else ~unlike)
    found = None if fired is None else measure(p, fired)
    true = np.arange(len(p)), p.y_true
    return OfArchive(
        refused=None if unlike is None else _by_class(unlike, p),
        covered=None if sets is None else _by_class(sets[true], p),
        set_size=None if sets is None else mean(sets.sum(1).astype(float), p.lesion),
        referred=None if found is None else found.referred,
        benign_referred=None if found is None else found.benign_referred,
        missed=None if found is None else {k: e for k, e in found.missed.items() if e.n_images},
        missed_answered=None if fired is None else _among(answered, ~rules.any_of(fired), p),
        called_answered=None if unlike is None else _among(answered, probabilities.argmax(1) == MELANOMA, p),
    )


def _carcinomas(subject: Subject, p: Predictions) -> Carcinomas:
    probabilities, sets, unlike, fired = _decisions(subject, p)
    called = probabilities.argmax(1)
    return Carcinomas(
        called={code: share(called == i, p.lesion) for i, code in enumerate(CLASSES)},
        suspect=share(np.isin(called, SUSPECT), p.lesion),
        refused=None if unlike is None else share(unlike, p.lesion),
        suspect_in_set=None if sets is None else share(np.atleast_1d(sets[:, list(SUSPECT)].any(1)), p.lesion),
        set_size=None if sets is None else mean(sets.sum(1).astype(float), p.lesion),
        referred=None if fired is None else share(rules.any_of(fired), p.lesion),
    )


def _among(chosen: np.ndarray, hit: np.ndarray, p: Predictions) -> Estimate | None:
    """Return the share of the chosen images (n,) that `hit` (n,) counts; None if none was chosen."""
    return share(hit[chosen], p.lesion[chosen]) if chosen.any() else None


def _by_class(hit: np.ndarray, p: Predictions) -> dict[str, Estimate]:
    """Return the share of a split's images that `hit` (n,) counts, of all and by true diagnosis."""
    found = {ALL: share(hit, p.lesion)}
    for i, code in enumerate(CLASSES):
        own = p.y_true == i
        if own.any():
            found[code] = share(hit[own], p.lesion[own])
    return found


def _decisions(
    subject: Subject, p: Predictions
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, dict[str, np.ndarray] | None]:
    """Return probabilities (n, 7), prediction sets (n, 7), images refused (n,) and the rules that fire.

    None for what the model lacks; of the rules too if it is not known which images are refused. An ensemble's rules
    look at its members as well.
    """
    folder = subject.folder
    probabilities = _calibrated(folder, p)
    sets = unlike = fired = None
    if (folder / "conformal.json").exists():
        sets = conformal.read(folder / "conformal.json").sets(probabilities, conformal.CASE_LEVEL)
    if (folder / SCORES_FILE).exists() and known(folder, p.image_id):
        unlike = refused(folder, p.image_id)
    if (folder / "referral.json").exists() and (unlike is not None or not (folder / SCORES_FILE).exists()):
        members = {name: _probabilities(folder.parent / name, p) for name in subject.card.get("members", {})}
        inputs = Inputs({folder.name: probabilities, **members}, sets, unlike)
        fired = rules.read(folder / "referral.json").fired(inputs)
    return probabilities, sets, unlike, fired


def _calibrated(folder: Path, p: Predictions) -> np.ndarray:
    """Return a model's probabilities (n, 7), by its own calibration if it has one."""
    file = folder / "calibration.json"
    return calibration.read(file).apply(p.logits) if file.exists() else p.probabilities


def _probabilities(folder: Path, p: Predictions) -> np.ndarray:
    """Return the probabilities (n, 7) that a member of an ensemble gives to the images of `p`."""
    theirs = read_predictions(folder / EXTERNAL_FILE, splits=HELD_BACK).of_split(p.split[0])
    _, own, _ = align(p, theirs)
    if len(own) < len(p):
        raise DataError(f"{folder.name}/{EXTERNAL_FILE} is of other images: ask its model again (training.external).")
    return _calibrated(folder, own)
