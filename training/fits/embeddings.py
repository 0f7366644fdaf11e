"""embeddings.npz, familiarity.json and familiarity.csv: a model's view of the training images, and what is unlike them.

The score (`dermlens.trust.reference_set.METHODS`) is chosen by how well it tells validation images from the first half
of the pictures of `training.fits.ood_pictures`, the threshold is the score that ACCEPT of the validation images keep
to, and both are measured on test images and the second half. familiarity.csv has every score, so that all estimates can
be made again.

What is to be refused is what is no dermoscopy, not what is not HAM10000. For a network that was trained on other
archives, what is usual is learned from the training images of all archives, and the threshold is the one that ACCEPT of
the validation images of every archive keep to. Only HAM10000's are shown as similar cases.

An interrupted run goes on where it stopped (`training.fits.embed`).
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermlens.dataset.ham10000 import image_path
from dermlens.dataset.isic2019 import BCN20000, HELD_BACK, VALIDATION_SETS, held_back, load_external
from dermlens.errors import DataError, ModelError
from dermlens.estimate import Estimate
from dermlens.evaluation import metrics
from dermlens.evaluation.intervals import (
    REPLICATES,
    at_a_bound,
    auc_interval,
    effective_size,
    lesion_weights,
    percentile_interval,
    rank_metrics,
    rank_table,
    share,
)
from dermlens.evaluation.predictions import SPLITS
from dermlens.files.documents import encode_object, read_document, read_object
from dermlens.files.hashes import sha256
from dermlens.files.tables import encode_csv
from dermlens.ingest.read import read_file
from dermlens.trust import embedding_map
from dermlens.trust.ood import EMBEDDINGS_FILE, LEFT_OUT, MEMBERS, OOD_FILE, REAL, SCORES_FILE, read_scores
from dermlens.trust.reference_set import MAX_UNPACKED, METHODS, ReferenceSet, decode, encode, make_reference_set
from dermlens.trust.withholding import Withholding
from training.archives import answers, training_rows
from training.config import archives
from training.dataset import class_indices
from training.fits import withholding
from training.fits.embed import embed, named
from training.fits.ood_pictures import OodPicture, broken, first_half, pictures
from training.fits.subject import Subject

AXES = 128
"""Principal axes kept: 64, 128 and 192 told photographs apart alike, and found neighbours alike."""
REFERENCE_VIEWS = 1
"""Views of the training images: four told nothing more apart and cost four times as much."""
ACCEPT = (0.97, 0.96, 0.95)
"""Shares of the validation images to accept: the first that refuses every photograph of the first half, or the last."""
OWN_GAUSSIAN = BCN20000
"""The archive that is no part of HAM10000's and ISIC 2017's distribution: a Gaussian wide enough for its small images
and theirs holds photographs, 18 % of the first half's at 95 % accepted, where the nearer of two holds 6 %."""
BROKEN = 60
"""Validation lesions whose image is broken in every way."""
NOT_CHOSEN_BY = "drawing of a lesion"
"""Measured, but not used to choose a score: whether a drawing is unlike dermoscopy is a matter of taste."""
FEW_SOURCES = 5


def make(subject: Subject) -> dict[str, bytes]:
    """Return the three files, or for an ensemble the last two, from those of its members.

    Raises:
        DataError: the images are missing. ModelError: a member is not fitted yet.
    """
    files: dict[str, bytes] = {}
    sources: dict[str, Any] = {}
    if subject.card.get("members"):
        table, rule = of_members(subject)
        threshold = 0.0
        chosen: dict[str, Any] = {
            "method": MEMBERS,
            "members": list(subject.card["members"]),
            "withholding": rule.to_dict(),
        }
        folders = [subject.folder.parent / member for member in chosen["members"]]
        sources["member_familiarities"] = {f.name: sha256(f / OOD_FILE) for f in folders}
    else:
        elsewhere = bool(archives(subject.read("run.json")))
        reference_set, trained = reference_set_of(subject)
        table, embeddings = seen(subject)
        method, auroc = choose(reference_set, table, embeddings, elsewhere=elsewhere)
        chosen = {"method": method, "chosen_by_mean_auroc": auroc, "axes": AXES, **trained}
        table["score"] = [float(f"{score:.7g}") for score in METHODS[method](reference_set, embeddings)]
        threshold = limit(table, elsewhere=elsewhere)
        files[EMBEDDINGS_FILE] = encode(reference_set)
        chosen["gaussians"] = len(reference_set.gaussians)
        chosen["embeddings_sha256"] = hashlib.sha256(files[EMBEDDINGS_FILE]).hexdigest()
    validation = table[of_split(table, "validation")]
    content = {
        **chosen,
        "threshold": threshold,
        "fitted_on": {
            "split": "validation",
            "n_images": len(validation),
            "n_lesions": int(validation["group"].nunique()),
            "predictions_sha256": subject.predictions_file.sha256,
            **sources,
        },
        "measured": measure(table, threshold),
    }
    scores = encode_csv(table[["name", "group", "kind", "part", "score"]])
    return {**files, OOD_FILE: encode_object(content), SCORES_FILE: scores}


def make_map(subject: Subject) -> dict[str, bytes]:
    """Return embedding_map.csv, of the step before's reference set; nothing for an ensemble, which has no embedding.

    Raises:
        DataError: the images are missing. ModelError: there is no reference set yet.
    """
    if subject.card.get("members"):
        return {}
    data = read_document(subject.folder / EMBEDDINGS_FILE, MAX_UNPACKED, ModelError).data
    rows = subject.table[subject.table["split"].isin(SPLITS)].sort_values("image_id", ignore_index=True)
    model = replace(subject.model, views=REFERENCE_VIEWS)
    places = embedding_map.place(decode(data), embed(model, *_real(subject, rows), "map"))
    table = pd.DataFrame(places, columns=list(embedding_map.AXES)).assign(image_id=rows["image_id"])
    columns = ["image_id", *embedding_map.AXES]
    return {embedding_map.FILE: table[columns].to_csv(index=False, float_format="%.4g", lineterminator="\n").encode()}


def of_split(table: pd.DataFrame, split: str) -> np.ndarray:
    """Return which rows of a table of scores are the data set's images of a split, (n,) bool."""
    return ((table["kind"] == REAL) & (table["part"] == split)).to_numpy()


def _fitted(table: pd.DataFrame, elsewhere: bool) -> list[np.ndarray]:
    """Return which rows are HAM10000's validation images, (n,) bool; `elsewhere` those of each other archive too."""
    each = [of_split(table, split) for split in ("validation", *(VALIDATION_SETS if elsewhere else ()))]
    return [rows for rows in each if rows.any()]


def reference_set_of(subject: Subject) -> tuple[ReferenceSet, dict[str, int]]:
    """Embed training images and fit the reference set to them; also returns how many there were, by name."""
    rows = subject.table[subject.table["split"] == "train"].sort_values("image_id", ignore_index=True)
    rows = rows[rows["dx"] != _diagnosis_left_out(subject)]
    # Of a model published before an image moved to train, that image measures what is fitted here.
    rows = rows[~rows["image_id"].isin(subject.predictions.image_id)].reset_index(drop=True)
    model = replace(subject.model, views=REFERENCE_VIEWS)
    head = (model.head_kernel, model.head_bias)
    found = embed(model, *_real(subject, rows), "training images")
    ids, own = rows["image_id"].to_numpy(str), (found, class_indices(rows))
    counts = {"n_train": len(rows)}
    if not archives(subject.read("run.json")):
        return make_reference_set(ids, own, AXES, head), counts
    if subject.external is None:
        raise DataError(
            f"{subject.folder.name} learned from other archives, and its refusal goes by them: pass --external DIR or "
            "set ISIC2019_DIR."
        )
    others = training_rows(_diagnosis_left_out(subject))
    counts["n_train_other_archives"] = len(others)
    embeddings, y = answers(model, others, subject.external)[1], class_indices(others)
    apart = (others["source"] == OWN_GAUSSIAN).to_numpy()
    alike, group = (embeddings[~apart], y[~apart]), (embeddings[apart], y[apart])
    return make_reference_set(ids, own, AXES, head, alike, [group]), counts


def limit(table: pd.DataFrame, elsewhere: bool) -> float:
    """Return the highest score that is accepted: at least ACCEPT of the validation images of every archive are.

    Args:
        table: columns kind, part, score. elsewhere: whether other archives count beside HAM10000.
    """
    photographs = table.loc[(table["kind"] == withholding.PHOTOGRAPH) & (table["part"] == "first half"), "score"]
    known = [table.loc[own, "score"] for own in _fitted(table, elsewhere)]
    found = 0.0
    for accepted in ACCEPT:
        found = max(float(np.quantile(scores, accepted, method="higher")) for scores in known)
        if (photographs > found).all():
            break
    return found


def seen(subject: Subject) -> tuple[pd.DataFrame, np.ndarray]:
    """Embed the predicted images of validation and test, and the pictures that are none, with the model's own views.

    Returns:
        A table with the columns name, group (lesion or source), kind and part (validation, test, first half or second
        half), and the embeddings (n, C) of its rows.
    """
    p = subject.predictions
    rows = subject.table.set_index("image_id", drop=False).reindex(p.image_id).reset_index(drop=True)
    if rows["image_id"].isna().any():
        raise DataError(f"{subject.folder.name}/predictions.csv has images that are not in the split table.")
    real = embed(subject.model, *_real(subject, rows), "predicted images")
    table = pd.DataFrame({"name": p.image_id, "group": p.lesion_id, "kind": REAL, "part": p.split})
    added, of_others = elsewhere(subject)
    # A diagnosis left out of training is none of the known ones: its test images are measured like other pictures, and
    # no score or threshold is chosen by it.
    left_out = (rows["dx"] == _diagnosis_left_out(subject)).to_numpy()
    table.loc[left_out, "kind"] = LEFT_OUT
    table.loc[left_out & (p.split == "test"), "part"] = "second half"
    others = [*pictures(), *_broken(subject, rows[p.split == "validation"])]
    kinds, sources = np.array([n.kind for n in others]), np.array([n.source for n in others])
    half = np.where(first_half(kinds, sources), "first half", "second half")
    hashes = [hashlib.sha256(n.pixels.tobytes()).hexdigest() for n in others]
    found = embed(subject.model, hashes, lambda i: others[i].pixels, "other pictures")
    names = [f"{n.kind}, {n.source}, {digest[:12]}" for n, digest in zip(others, hashes, strict=True)]
    other = pd.DataFrame({"name": names, "group": sources, "kind": kinds, "part": half})
    return pd.concat([table, added, other], ignore_index=True), np.concatenate([real, of_others, found])


def elsewhere(subject: Subject) -> tuple[pd.DataFrame, np.ndarray]:
    """Embed the images of other archives that no network trains on, as `seen` does; nothing if they are not at hand.

    Those of a diagnosis left out of training are of the kind LEFT_OUT: scored, so that they are refused or not, but no
    threshold goes by them.
    """
    if subject.external is None:
        return pd.DataFrame(columns=["name", "group", "kind", "part"]), np.zeros((0, len(subject.model.head_kernel)))
    rows = held_back(load_external())
    found = answers(subject.model, rows, subject.external)[1]
    table = pd.DataFrame({"name": rows["image_id"], "group": rows["lesion_id"], "kind": REAL, "part": rows["split"]})
    table.loc[rows["dx"] == _diagnosis_left_out(subject), "kind"] = LEFT_OUT
    return table, found


def choose(
    reference_set: ReferenceSet, table: pd.DataFrame, embeddings: np.ndarray, elsewhere: bool = False
) -> tuple[str, dict[str, float]]:
    """Return the method with the highest mean AUROC over kinds of the first half and archives, and that of each."""
    archives = _fitted(table, elsewhere)
    first = (table["part"] == "first half").to_numpy() & (table["kind"] != NOT_CHOSEN_BY).to_numpy()
    means = {}
    for name, score in METHODS.items():
        found = score(reference_set, embeddings)
        kinds = [first & (table["kind"] == kind).to_numpy() for kind in table.loc[first, "kind"].unique()]
        each = [
            metrics.roc_auc(np.r_[np.zeros(real.sum()), np.ones(k.sum())] > 0, np.r_[found[real], found[k]])
            for real in archives
            for k in kinds
        ]
        means[name] = round(float(np.mean(each)), 6)
    return max(means, key=means.__getitem__), means


def measure(table: pd.DataFrame, threshold: float) -> dict[str, Any]:
    """Measure a threshold: split -> the share of its images accepted; for test (validation where there is no test) also
    the AUROC and the share refused of every kind of picture of the second half.

    Args:
        table: columns group, kind, part, score.

    Returns:
        Estimates as dictionaries. n_images and n_lesions of a kind count its pictures and their sources.
    """
    measured: dict[str, Any] = {}
    for split in (*SPLITS, *HELD_BACK):
        real = table[of_split(table, split)]
        if real.empty:
            continue
        accepted = share((real["score"] <= threshold).to_numpy(), pd.factorize(real["group"], sort=True)[0])
        measured[split] = {"accepted": accepted.to_dict()}
    second = table[table["part"] == "second half"]
    split = "test" if "test" in measured else "validation"
    real = table[of_split(table, split)]
    told, refused = {}, {}
    for kind, others in second.groupby("kind"):
        told[str(kind)] = auroc(real, others).to_dict()
        refused[str(kind)] = share((others["score"] > threshold).to_numpy(), pd.factorize(others["group"])[0]).to_dict()
    measured[split] |= {"auroc": told, "refused": refused}
    return measured


def auroc(real: pd.DataFrame, others: pd.DataFrame) -> Estimate:
    """Return how often one of `others` scores above a real image, with its interval over lesions and sources.

    Fewer than FEW_SOURCES sources say too little of their kind for an interval.
    """
    positive = np.r_[np.zeros(len(real)), np.ones(len(others))] > 0
    scores = np.r_[real["score"], others["score"]]
    groups = pd.factorize(pd.concat([real["group"], "source " + others["group"].astype(str)]))[0]
    value = float(metrics.roc_auc(positive, scores))
    sources = groups[positive]
    if len(np.unique(sources)) < FEW_SOURCES:
        low = high = np.nan
    else:
        ranks = rank_table(positive, scores, groups)
        draws = [
            rank_metrics(ranks, w, average_precision=False)[0] for w in lesion_weights(groups.max() + 1, REPLICATES)
        ]
        low, high = percentile_interval(np.concatenate(draws))
        if at_a_bound(low, high):
            low, high = auc_interval(
                value, *(effective_size(side[side], groups[side]) for side in (positive, ~positive))
            )
    return Estimate(value, float(low), float(high), len(others), len(np.unique(sources)))


def of_members(subject: Subject) -> tuple[pd.DataFrame, Withholding]:
    """Join the scores of an ensemble's members by the rule that is chosen on them.

    It is chosen on HAM10000's validation images; on those of every archive if that is how its members were fitted.

    Returns:
        A table as `seen` gives it with "score", how far an image is beyond the rule, up to 0 accepted; and the rule.
    """
    first = None
    excess = []
    for member in subject.card["members"]:
        folder = subject.folder.parent / member
        table, threshold = read_scores(folder)
        if first is None:
            first = table
        elif not _pictures(first).equals(_pictures(table)):
            raise DataError(f"{member}/{SCORES_FILE} is of other pictures than that of another member: fit both again.")
        excess.append(table["score"] - threshold)
    if first is None:
        raise DataError(f"{subject.folder.name} has no members.")
    scores = np.stack(excess, 1)
    fitted = [read_object(subject.folder.parent / m / OOD_FILE) for m in subject.card["members"]]
    everywhere = all("n_train_other_archives" in own for own in fitted)
    real = np.logical_or.reduce(_fitted(first, everywhere))
    other = (first["part"].isin(["first half", "second half"]) & (first["kind"] != NOT_CHOSEN_BY)).to_numpy()
    tables = pd.concat([subject.table[["image_id", "dx"]], load_external()[["image_id", "dx"]]])
    diagnosis = first.loc[real, "name"].map(tables.set_index("image_id")["dx"])
    second = (first.loc[other, "part"] == "second half").to_numpy()
    kinds = first.loc[other, "kind"].tolist()
    rule = withholding.choose(
        scores[real], diagnosis.tolist(), scores[other], kinds, second, list(subject.card["members"])
    )
    return first.assign(score=np.round(rule.score(scores), 6)), rule


def _pictures(table: pd.DataFrame) -> pd.DataFrame:
    """Return what scores are of, without the hash of the pixels: breaking one rounds otherwise on another processor."""
    return table.drop(columns="score").assign(name=table["name"].str.replace(r", [0-9a-f]{12}$", "", regex=True))


def _real(subject: Subject, rows: pd.DataFrame) -> tuple[list[str], Callable[[int], np.ndarray]]:
    """Return names of the images of some rows of the split table and what reads the i-th, for `embed`."""
    ids = rows["image_id"].tolist()
    names = [named(_file(subject, image_id), subject.stored_aspect) for image_id in ids]
    return names, lambda i: _read(subject, ids[i])


def _file(subject: Subject, image_id: str) -> Path:
    if subject.data is None:
        raise DataError("Embeddings are of the images as they are now: pass --data DIR or set HAM10000_DIR.")
    return image_path(subject.data, image_id)


def _read(subject: Subject, image_id: str) -> np.ndarray:
    return read_file(_file(subject, image_id), stored_aspect=subject.stored_aspect).pixels


def _broken(subject: Subject, rows: pd.DataFrame) -> Iterator[OodPicture]:
    """Break one image each of BROKEN validation lesions, drawn by a hash of their ids."""
    first = rows.sort_values("image_id").drop_duplicates("lesion_id")
    order = first["lesion_id"].map(lambda name: hashlib.sha256(name.encode()).hexdigest())
    for row in first.loc[order.sort_values().index[:BROKEN]].itertuples():
        yield from broken(_read(subject, row.image_id), row.lesion_id)


def _diagnosis_left_out(subject: Subject) -> str | None:
    return (subject.read("run.json").get("config") or {}).get("leave_out")
