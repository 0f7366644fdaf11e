"""How much an image looks, to a network, like those it was trained on; and the training cases it looks most like.

A network answers every picture, a cat too, with one of seven diagnoses. Its embedding of the picture tells more: three
scores from the literature say how far that is from the embeddings of the training images, and training.fits.embeddings
chooses among them and sets the limit. A familiar image may still be answered wrongly.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermlens.dataset.ham10000 import load_split
from dermlens.dataset.isic2019 import HELD_BACK
from dermlens.errors import DataError, ModelError
from dermlens.estimate import Estimate
from dermlens.evaluation.intervals import share
from dermlens.evaluation.predictions import SPLITS
from dermlens.files.documents import MAX_DOCUMENT, File, read_document, read_object
from dermlens.files.hashes import listed
from dermlens.files.tables import MAX_BYTES, read_csv
from dermlens.labels import CLASSES
from dermlens.trust import withholding
from dermlens.trust.reference_set import AGAIN, METHODS, ReferenceSet, decode, unit
from dermlens.trust.withholding import Withholding

EMBEDDINGS_FILE = "embeddings.npz"
OOD_FILE = "familiarity.json"
SCORES_FILE = "familiarity.csv"
MEMBERS = "members"
"""In the place of a method: an ensemble has no embedding, but a rule over its members' scores."""
REAL = "dermoscopic"
"""In familiarity.csv, the kind of the data set's own images."""
LEFT_OUT = "diagnosis left out of training"
"""The kind of those of its images that show a diagnosis the network never saw: dermoscopic too, and nothing is fitted
to them."""
_MOST_BYTES = 64 * 2**20
_SCORE_COLUMNS = {**dict.fromkeys(("name", "group", "kind", "part"), str), "score": float}


@dataclass(frozen=True)
class Neighbour:
    """A training case that looks like a given image, and what is known of it."""

    image_id: str
    lesion_id: str
    dx: str
    """its diagnosis, a code of labels.CLASSES"""
    dx_type: str
    """how that was confirmed: histo, follow_up, consensus or confocal"""
    age: float
    """years, NaN if not recorded"""
    sex: str
    site: str
    distance: float
    """0 (the same direction from the mean training image) to 2 (the opposite one): one less the cosine"""


@dataclass(frozen=True)
class Measured:
    """How well a model, or an ensemble, tells its kind of image from others."""

    accepted: dict[str, Estimate]
    """split -> share of its dermoscopic images that are accepted"""
    auroc: dict[str, Estimate]
    """kind of other picture -> how often one scores above a dermoscopic image"""
    refused: dict[str, Estimate]
    """kind of other picture -> share that is not accepted; n_images and n_lesions count pictures and their sources"""


@dataclass(frozen=True, eq=False)
class OodDetector:
    """What a model's training images tell of a new one."""

    reference: ReferenceSet
    method: str
    """one of METHODS"""
    threshold: float
    """the highest score that is accepted"""
    cases: pd.DataFrame
    """the rows of the split table that belong to `reference`, in its order"""
    measured: Measured

    def score(self, embedding: np.ndarray) -> float:
        """Return how unfamiliar an image is: any unit, the higher the less familiar.

        Args:
            embedding: (C,) float, averaged over the model's views as in predict.Prediction.
        """
        return float(METHODS[self.method](self.reference, _checked(self.reference, embedding))[0])

    def accepts(self, score: float) -> bool:
        """Return whether an image of this score looks like those the model was trained on."""
        return score <= self.threshold

    def similar(self, embedding: np.ndarray, k: int = 5, exclude_lesion: str | None = None) -> list[Neighbour]:
        """Return the k lesions of the training images that look most like an image, by their nearest image each.

        Exact search by cosine: under 20 ms for 10,000 images.

        Args:
            embedding: as for `score`.
            k: how many.
            exclude_lesion: the image's own lesion, where it is known to be one of the data set.
        """
        (direction,) = unit(self.reference.own.project(_checked(self.reference, embedding)))
        distance = 1 - self.reference.directions @ direction
        found: dict[str, Neighbour] = {}
        lesions = self.cases["lesion_id"].to_numpy()
        for i in np.argsort(distance, kind="stable"):
            lesion = str(lesions[i])
            if lesion == exclude_lesion or lesion in found:
                continue
            found[lesion] = self._neighbour(int(i), float(distance[i]))
            if len(found) == k:
                break
        return list(found.values())

    def _neighbour(self, i: int, distance: float) -> Neighbour:
        case = self.cases.iloc[i]
        facts = {name: str(case[name]) or "unknown" for name in ("dx_type", "sex", "localization")}
        return Neighbour(
            image_id=str(case["image_id"]),
            lesion_id=str(case["lesion_id"]),
            dx=str(case["dx"]),
            dx_type=facts["dx_type"],
            age=float(case["age"]),
            sex=facts["sex"],
            site=facts["localization"],
            distance=min(max(distance, 0.0), 2.0),
        )


@dataclass(frozen=True)
class JointOodDetector:
    """The familiarity of an ensemble: a rule over the scores of its members."""

    members: tuple[str, ...]
    """their ids"""
    measured: Measured
    withholding: Withholding | None = None
    """the rule; None in older files, where all members must accept an image"""


def read(file: File, table: pd.DataFrame | None = None) -> OodDetector | JointOodDetector:
    """Read familiarity.json and, unless it is an ensemble's, the embeddings.npz beside it.

    Args:
        file: models/ID/familiarity.json.
        table: the split table; the committed one by default.

    Raises:
        ModelError: a file is missing, damaged or not the one that belongs to the other, the method is unknown, or an
            image is not a training image of the table.
    """
    values = read_object(file, ModelError)
    where = f"{file.parent.name}/{file.name}"
    method, threshold = values.get("method"), values.get("threshold")
    measured = measured_of(values, where)
    if method == MEMBERS:
        members = values.get("members")
        if not isinstance(members, list) or not members or not all(isinstance(m, str) for m in members):
            raise ModelError(f"{where}: 'members' must be a list of model ids, got {members!r}.")
        rule = values.get("withholding")
        found = None if rule is None else withholding.from_dict(rule, members, where)
        return JointOodDetector(tuple(members), measured, found)
    if method not in METHODS:
        raise ModelError(f"{where}: 'method' must be one of {', '.join(METHODS)}, got {method!r}.")
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not np.isfinite(threshold):
        raise ModelError(f"{where}: 'threshold' must be a number, got {threshold!r}.")
    embeddings = read_document(file.parent / EMBEDDINGS_FILE, _MOST_BYTES, ModelError)
    if embeddings.sha256 != values.get("embeddings_sha256"):
        raise ModelError(f"{where} was fitted with other embeddings than those of {EMBEDDINGS_FILE}. {AGAIN}")
    reference = decode(embeddings.data, f"{file.parent.name}/{EMBEDDINGS_FILE}")
    try:
        known = (load_split() if table is None else table).set_index("image_id", drop=False)
    except DataError as e:
        raise ModelError(f"{where}: the split table cannot be read: {e}") from e
    cases = known.reindex(reference.image_id)
    stray = reference.image_id[(cases["split"] != "train").to_numpy()]
    if len(stray):
        raise ModelError(
            f"{where}: {len(stray)} images are not training images of the split table, such as {stray[0]}."
        )
    for i, code in enumerate(CLASSES):
        if np.isnan(reference.own.means[i]).any() == (cases["dx"] == code).any():
            raise ModelError(
                f"{where}: {EMBEDDINGS_FILE} and the split table differ on whether there are images of {code}."
            )
    return OodDetector(reference, method, float(threshold), cases.reset_index(drop=True), measured)


def measured_of(values: dict[str, Any], where: str) -> Measured:
    """Return the estimates that familiarity.json holds; raises ModelError, naming `where`, if they are not there."""
    try:
        stored = values["measured"]
        splits = [split for split in (*SPLITS, *HELD_BACK) if split in stored]
        accepted = {split: Estimate.from_dict(stored[split]["accepted"]) for split in splits}
        last = [stored[split] for split in SPLITS if split in stored][-1]
        auroc, refused = (
            {str(k): Estimate.from_dict(f) for k, f in last[name].items()} for name in ("auroc", "refused")
        )
    except (DataError, KeyError, IndexError, TypeError, AttributeError) as e:
        raise ModelError(f"{where}: 'measured' does not hold the estimates of every split ({e}). {AGAIN}") from e
    if auroc.keys() != refused.keys():
        raise ModelError(f"{where}: 'auroc' and 'refused' must be of the same kinds of pictures. {AGAIN}")
    return Measured(accepted, auroc, refused)


def refused_by_class(
    folder: Path, card: Mapping[str, Any] | None, split: str, table: pd.DataFrame
) -> dict[str, Estimate]:
    """Return the share of the dermoscopic images of a split that a model refuses, by true diagnosis.

    Args:
        folder: of the model. card: its card.json. split: "validation" or "test". table: the split table.

    Returns:
        class code -> estimate with its interval over lesions, in class order; diagnoses without images are left out.

    Raises:
        ModelError: as `read_scores`.
    """
    scores, threshold = read_scores(folder, card)
    own = scores[(scores["kind"] == REAL) & (scores["part"] == split)]
    dx = own["name"].map(table.set_index("image_id")["dx"])
    found = {}
    for code in CLASSES:
        rows = own[dx == code]
        if len(rows):
            refused = (rows["score"] > threshold).to_numpy()
            found[code] = share(refused, pd.factorize(rows["group"], sort=True)[0])
    return found


def read_scores(folder: Path, card: Mapping[str, Any] | None = None) -> tuple[pd.DataFrame, float]:
    """Read familiarity.csv of a model folder, and the threshold.

    Args:
        folder: models/ID. card: its card.json, if the files must be those that it lists.

    Returns:
        Columns name, group (lesion or source), kind (REAL or what else), part (validation, test, first half, second
        half) and score; and the highest score that is accepted.

    Raises:
        ModelError: a file is missing, damaged or not the one that the card lists.
    """
    values = read_object(listed(folder / OOD_FILE, card, MAX_DOCUMENT, ModelError), ModelError)
    try:
        table = read_csv(listed(folder / SCORES_FILE, card, MAX_BYTES), _SCORE_COLUMNS).reset_index(drop=True)
        threshold = float(values["threshold"])
    except (DataError, ValueError, KeyError, TypeError) as e:
        raise ModelError(f"{folder.name}/{SCORES_FILE} cannot be read ({e}). {AGAIN}") from e
    if not np.isfinite([threshold, *table["score"]]).all() or table["name"].duplicated().any():
        raise ModelError(f"{folder.name}/{SCORES_FILE} has a score that is not a number, or an image twice. {AGAIN}")
    return table, threshold


def known(folder: Path, image_ids: np.ndarray) -> bool:
    """Return whether there are scores of all these dermoscopic images, (n,) str; raises as `read_scores`."""
    table, _ = read_scores(folder)
    return bool(np.isin(image_ids.astype(str), _scored(table).index.to_numpy(str)).all())


def refused(folder: Path, image_ids: np.ndarray) -> np.ndarray:
    """Return which images of the data set a model does not accept; an ensemble by its rule over its members.

    Args:
        folder: models/ID. image_ids: (n,) str, of validation or test, or of another archive.

    Returns:
        (n,) bool.

    Raises:
        ModelError: as `read_scores`, or an image is not in the file.
    """
    table, threshold = read_scores(folder)
    real = _scored(table).reindex(image_ids)
    if real.isna().any():
        raise ModelError(f"{folder.name}/{SCORES_FILE} lacks images that there are predictions of. {AGAIN}")
    return (real > threshold).to_numpy()


def _scored(table: pd.DataFrame) -> pd.Series:
    """Return the scores of the dermoscopic images of a table as `read_scores` gives it, by name."""
    return table[table["kind"].isin([REAL, LEFT_OUT])].set_index("name")["score"]


def _checked(reference: ReferenceSet, embedding: np.ndarray) -> np.ndarray:
    if embedding.shape != reference.own.centre.shape:
        values = len(reference.own.centre)
        raise ModelError(f"The embedding must have {values} values, got the shape {embedding.shape}.")
    return embedding[None].astype(np.float32)
