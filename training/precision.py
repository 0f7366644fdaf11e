"""Whether an 8-bit serving file may serve: `python -m training.precision ID --data DIR` measures a published model's.

It may only if it is no worse than float32 on the validation images, paired over lesions (LIMITS). What is found goes to
quantisation.json; a model card shows it. `training.publish --int8` does the same before it publishes, and everything
published and fitted then comes from the file that serves. This command changes nothing that serves: it leaves both
files in models/ID/.int8/, which git ignores. Needs `requirements-quantise.txt`.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from dermlens.case.predict import forward
from dermlens.dataset.ham10000 import SPLIT_TABLE, check_rows, data_root, image_path, load_split, read_mask
from dermlens.errors import DataError, DermlensError, ModelError
from dermlens.evaluation.intervals import mean, resampled_mean
from dermlens.evaluation.predictions import Predictions
from dermlens.explain.grad_cam import grad_cam
from dermlens.explain.localisation import energy_share, map_seen, mask_seen, points_inside
from dermlens.files.documents import write_object, write_whole
from dermlens.image.preprocess import STORED_ASPECTS, fit
from dermlens.ingest.read import read_file
from dermlens.labels import MELANOMA, SUSPECT
from dermlens.models import registry
from dermlens.models.card import INT8, INT8_FILE
from dermlens.models.engine import Engine
from dermlens.models.model import Model
from dermlens.trust import calibration
from training.dataset import class_indices
from training.finished import predictions_of
from training.fits.subject import aspect_of
from training.model_card.network import CHECKS, checks
from training.quantise import quantise

FILE = "quantisation.json"
IMAGES = 256
"""Training images on which the ranges of activations are measured, as many of each diagnosis as there are."""
REFERRED = 0.4
"""Share of the images referred at which missed melanomas are counted: those with the highest suspect probability."""
LIMITS = {
    "cross_entropy": 0.01,
    "accuracy": 0.01,
    "suspect_shift": 0.10,
    "missed_melanomas": 0,
    "map_correlation": 0.97,
    "heat_inside": 0.01,
    "peak_inside": 0.02,
}
"""Check -> the most that may be lost: by the upper end of the 95 % interval of a loss, by the 99th percentile of the
shift of the suspect probability, by the count of melanomas; for the correlation of heat maps its least median."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model says of n validation images."""

    predictions: Predictions
    maps: np.ndarray
    """(n, 7, h, w) float32, Grad-CAM"""
    heat_inside: np.ndarray
    """(n, 7) share of each map's heat inside the lesion, NaN for a map without any"""
    peak_inside: np.ndarray
    """(n, 7) whether its hottest point is in the lesion, NaN as above"""


@dataclass(frozen=True, eq=False)
class Candidate:
    """An 8-bit file and what the gate found."""

    content: bytes
    report: dict[str, Any]
    """of quantisation.json"""

    @property
    def serves(self) -> bool:
        """Whether it is no worse."""
        return self.report["serves"] == INT8


def make(model: Model, data: Path, table: pd.DataFrame, stored_aspect: str, keep_float: tuple[str, ...]) -> Candidate:
    """Quantise a model that is served in float32, and measure the 8-bit file against it.

    Args:
        model: as loaded by registry.load. data: HAM10000 folder. table: the split table.
        stored_aspect: see `dermlens.image.preprocess.true_aspect`. keep_float: as in `quantise`.

    Raises:
        DataError: images or masks are missing. ModelError: the model already serves in eight bits, or cannot be
            quantised.
    """
    if model.precision == INT8:
        raise ModelError(f"Model {model.id} already serves in eight bits: publish it again to quantise it anew.")
    chosen = calibration_rows(table)
    squares = [fit(_read(data, name, stored_aspect), model.geometry) for name in chosen["image_id"]]
    served = (registry.build_dir(registry.inspect(model.folder)) / registry.SERVING_FILE).read_bytes()
    content = quantise(served, squares, keep_float)
    small = replace(model, engine=Engine(Path(INT8_FILE), content=content))
    rows = table[table["split"] == "validation"].sort_values("image_id", ignore_index=True)
    report = judge(*ask((model, small), data, rows, stored_aspect))
    report |= {
        "views": model.views,
        "ranges_from": {"split": "train", "n_images": len(chosen)},
        "kept_in_float32": list(keep_float),
        "bytes": {"float32": len(served), INT8: len(content)},
        "versions": {name: version(name) for name in ("ai-edge-quantizer", "ai-edge-litert")},
    }
    return Candidate(content, report)


def calibration_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return IMAGES training images, one a lesion, drawn evenly over the diagnoses as far as they reach."""
    train = table[table["split"] == "train"].drop_duplicates("lesion_id")
    shuffled = train.sample(frac=1, random_state=0)
    turn = shuffled.groupby("dx").cumcount()
    return shuffled.iloc[np.argsort(turn.to_numpy(), kind="stable")[:IMAGES]].sort_values("image_id")


def ask(models: tuple[Model, ...], data: Path, rows: pd.DataFrame, stored_aspect: str) -> list[Answers]:
    """Ask models of one geometry about the images of some rows of the split table, each with its own views.

    Raises:
        DataError: an image has no lesion mask.
    """
    found: list[list[tuple]] = [[] for _ in models]
    names = tqdm(rows["image_id"], desc="float32 and 8 bits", unit="image", disable=not sys.stderr.isatty())
    for name in names:
        pixels, mask = _read(data, name, stored_aspect), read_mask(data, name)
        if mask is None:
            raise DataError(f"Image {name} has no lesion mask (see data.download).")
        shape = pixels.shape[0], pixels.shape[1], models[0].geometry
        square, lesion = fit(pixels, models[0].geometry), mask_seen(mask, *shape)
        for model, own in zip(models, found, strict=True):
            logits, features, _ = forward(model, square)
            maps = grad_cam(features, model.head_kernel)
            seen = [map_seen(heat, *shape) for heat in maps]
            peaks = [points_inside(heat, lesion) for heat in seen]
            own.append(
                (
                    logits,
                    maps,
                    [energy_share(heat, lesion) for heat in seen],
                    [np.nan if hit is None else float(hit) for hit in peaks],
                )
            )
    y_true = class_indices(rows)
    answers = []
    for own in found:
        logits, maps, heat, hits = (np.array(column) for column in zip(*own, strict=True))
        answers.append(Answers(predictions_of(rows, y_true, logits.astype(np.float64)), maps, heat, hits))
    return answers


def judge(float32: Answers, int8: Answers) -> dict[str, Any]:
    """Hold the answers of an 8-bit file against those of the float32 one, on the same images.

    Both are calibrated by maps of their own, cross-fitted over lesions, as they would be published.

    Returns:
        serves (a precision), why (a sentence), n_images, n_lesions, and checks: name -> value, what it may be (limit)
        and whether it is kept (ok); losses with the ends of their 95 % intervals over lesions.
    """
    p = float32.predictions
    before, after = calibrated(p), calibrated(int8.predictions)
    rows, y = np.arange(len(p)), p.y_true
    called = before.argmax(1)

    def loss(values: np.ndarray) -> dict[str, Any]:
        known = np.isfinite(values)
        e = mean(values[known], p.lesion[known], resampled_mean(values[known], p.lesion[known]))
        return {"value": e.value, "low": e.low, "high": e.high}

    shift = np.abs(after[:, SUSPECT].sum(1) - before[:, SUSPECT].sum(1))
    correlations = [correlation(a[i], b[i]) for a, b, i in zip(float32.maps, int8.maps, called, strict=True)]
    found: dict[str, dict[str, Any]] = {
        "cross_entropy": loss(np.log(before[rows, y]) - np.log(after[rows, y])),
        "accuracy": loss((called == y).astype(float) - (after.argmax(1) == y)),
        "suspect_shift": {"value": float(np.quantile(shift, 0.99)), "mean": float(shift.mean())},
        "missed_melanomas": {"float32": missed_melanomas(before, y), INT8: missed_melanomas(after, y)},
        "map_correlation": {"value": float(np.nanmedian(correlations))},
        "heat_inside": loss(float32.heat_inside[rows, called] - int8.heat_inside[rows, called]),
        "peak_inside": loss(float32.peak_inside[rows, called] - int8.peak_inside[rows, called]),
    }
    found["missed_melanomas"]["value"] = found["missed_melanomas"][INT8] - found["missed_melanomas"]["float32"]
    for name, check in found.items():
        limit = LIMITS[name]
        kept = check["value"] >= limit if name == "map_correlation" else check.get("high", check["value"]) <= limit
        check |= {"limit": limit, "ok": bool(kept)}
    failed = [CHECKS[name] for name, check in found.items() if not check["ok"]]
    return {
        "serves": "float32" if failed else INT8,
        "why": f"The 8-bit file loses too much: {', '.join(failed)}." if failed else "The 8-bit file is no worse.",
        "n_images": len(p),
        "n_lesions": p.n_lesions,
        "same_call": float((called == after.argmax(1)).mean()),
        "checks": found,
    }


def calibrated(predictions: Predictions) -> np.ndarray:
    """Return (n, 7) probabilities as calibration fitted on these predictions gives them, cross-fitted over lesions."""
    chosen = calibration.choose(predictions, calibration.try_all(predictions))
    return calibration.out_of_fold(predictions, *chosen)


def missed_melanomas(probabilities: np.ndarray, y_true: np.ndarray) -> int:
    """Return how many melanomas are not among the share REFERRED of images with the highest suspect probability.

    Args:
        probabilities: (n, 7). y_true: (n,) int.
    """
    order = np.argsort(-probabilities[:, SUSPECT].sum(1), kind="stable")
    return int((y_true[order[round(REFERRED * len(order)) :]] == MELANOMA).sum())


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Pearson's correlation of two maps of one shape; NaN where one of them is even."""
    if min(a.std(), b.std()) == 0:
        return float("nan")
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def _read(data: Path, image_id: str, stored_aspect: str) -> np.ndarray:
    return read_file(image_path(data, image_id), stored_aspect=stored_aspect).pixels


def main(argv: list[str] | None = None) -> int:
    """Quantise and measure one published model; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.precision", description=__doc__.partition("\n")[0])
    parser.add_argument("id", help="name of the folder in models/")
    parser.add_argument("--data", type=Path, default=data_root(), help="HAM10000 folder (default: HAM10000_DIR)")
    parser.add_argument("--stored-aspect", choices=STORED_ASPECTS, help="default: as when the model was published")
    parser.add_argument("--split", type=Path, default=SPLIT_TABLE, help="split table")
    parser.add_argument("--keep-float", action="append", default=[], metavar="REGEX", help=KEEP_FLOAT)
    parser.add_argument("--models-dir", type=Path, default=registry.models_dir(), help="default: %(default)s")
    args = parser.parse_args(argv)
    try:
        if args.data is None:
            raise DataError("Pass --data DIR or set HAM10000_DIR.")
        table = load_split(args.split)
        check_rows(args.data, table[table["split"] != "test"])
        entry = registry.find(args.models_dir, args.id)
        aspect = aspect_of(entry.folder, args.stored_aspect)
        found = make(registry.load(entry), args.data, table, aspect, tuple(args.keep_float))
        folder = entry.folder / ".int8"
        folder.mkdir(exist_ok=True)
        write_whole(folder / INT8_FILE, found.content)
        write_object(folder / FILE, found.report)
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    print(f"{args.id}: {found.report['why']}", *checks(found.report), sep="\n")
    return 0


KEEP_FLOAT = "keep operations whose output has such a name in float32; may be given several times"

if __name__ == "__main__":
    sys.exit(main())
