"""How well a network's embeddings tell archives apart: `python -m training.source_probe ID --data DIR --external DIR`.

A network that knows where an image comes from can lean on it: archives differ in resolution, light and how frequent a
diagnosis is. A linear classifier is asked which archive a nevus of the validation parts comes from (one diagnosis, so
that no other difference helps), cross-fitted by lesion. It writes models/ID/source_probe.json. An interrupted run goes
on where it stopped.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dermlens.dataset.ham10000 import SPLIT_TABLE, data_root, image_path, load_split
from dermlens.dataset.isic2019 import data_root as external_root
from dermlens.errors import DataError, DermlensError
from dermlens.estimate import Estimate
from dermlens.evaluation.intervals import percentile_interval, resampled_mean
from dermlens.evaluation.other_archives import PROBE_FILE
from dermlens.files.documents import write_object
from dermlens.image.preprocess import STORED_ASPECTS
from dermlens.ingest.read import read_file
from dermlens.models import registry
from training.archives import answers, validation_rows
from training.dataset import HAM10000
from training.fits.embed import embed, named
from training.fits.subject import Subject, aspect_of
from training.model_card.write import note_hash, write

DIAGNOSIS = "nv"
FOLDS = 5
STRENGTH = 0.01
"""Inverse of the L2 penalty: there are about as many channels as images."""


def probe(embeddings: np.ndarray, source: np.ndarray, lesion: np.ndarray) -> Estimate:
    """Return the balanced accuracy of telling sources apart, with its interval over lesions.

    Args:
        embeddings: (n, C) float. source, lesion: (n,) str.

    Raises:
        DataError: there are fewer than two sources, or one has fewer lesions than folds.
    """
    lesions = pd.DataFrame({"source": source, "lesion": lesion}).groupby("source")["lesion"].nunique()
    if len(lesions) < 2 or lesions.min() < FOLDS:
        raise DataError(f"Two or more sources of {FOLDS} lesions each are needed, got {lesions.to_dict()}.")
    told = np.empty(len(source), source.dtype)
    splits = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(embeddings, source, lesion)
    for rest, here in splits:
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=2000)
        ).fit(embeddings[rest], source[rest])
        told[here] = model.predict(embeddings[here])
    right = told == source
    of = [source == name for name in lesions.index]
    counted = np.stack([column for own in of for column in (own & right, own)], 1).astype(float)
    draws = resampled_mean(counted, pd.factorize(lesion)[0])
    recall = draws[:, ::2] / draws[:, 1::2]
    low, high = percentile_interval(recall.mean(1))
    value = float(np.mean([right[own].mean() for own in of]))
    return Estimate(value, float(low), float(high), len(source), len(np.unique(lesion)))


def measure(subject: Subject) -> dict:
    """Return what source_probe.json holds of a network.

    Raises:
        DataError: the images are not at hand. ModelError: the model has no embeddings of its own.
    """
    data, external = subject.data, subject.external
    if data is None or external is None:
        raise DataError("Pass --data DIR and --external DIR, or set HAM10000_DIR and ISIC2019_DIR.")
    others = validation_rows()
    _, of_others = answers(subject.model, others, external)
    wanted = (others["dx"] == DIAGNOSIS).to_numpy()
    own = subject.table[(subject.table["split"] == "validation") & (subject.table["dx"] == DIAGNOSIS)]
    files = [image_path(data, name) for name in own["image_id"]]
    names = [named(file, subject.stored_aspect) for file in files]
    found = embed(
        subject.model, names, lambda i: read_file(files[i], stored_aspect=subject.stored_aspect).pixels, "nevi"
    )
    source = np.concatenate([np.full(len(own), HAM10000, object), others.loc[wanted, "source"]]).astype(str)
    lesion = np.concatenate([own["lesion_id"], others.loc[wanted, "lesion_id"]]).astype(str)
    told = probe(np.concatenate([found, of_others[wanted]]), source, lesion)
    counts = pd.Series(source).value_counts().to_dict()
    return {"images": counts, "chance": 1 / len(counts), "balanced_accuracy": told.to_dict()}


def main(argv: list[str] | None = None) -> int:
    """Probe one network; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.source_probe", description=__doc__.partition("\n")[0])
    parser.add_argument("id", help="name of the folder in models/, a network of its own")
    parser.add_argument("--data", type=Path, default=data_root(), help="HAM10000 folder (default: HAM10000_DIR)")
    parser.add_argument("--stored-aspect", choices=STORED_ASPECTS, help="default: as when the model was published")
    parser.add_argument(
        "--external", type=Path, default=external_root(), help="training set of ISIC 2019 (default: ISIC2019_DIR)"
    )
    parser.add_argument("--split", type=Path, default=SPLIT_TABLE, help="split table")
    parser.add_argument("--models-dir", type=Path, default=registry.models_dir(), help="default: %(default)s")
    args = parser.parse_args(argv)
    try:
        folder = registry.find(args.models_dir, args.id).folder
        aspect = aspect_of(folder, args.stored_aspect)
        found = measure(Subject(folder, load_split(args.split), args.data, aspect, args.external))
        write_object(folder / PROBE_FILE, found)
        note_hash(folder, PROBE_FILE)
        write(folder)
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    told = found["balanced_accuracy"]
    print(
        f"{args.id}: archives told apart with a balanced accuracy of {told['value']:.3f} ({told['low']:.3f} to "
        f"{told['high']:.3f}), {found['chance']:.3f} by chance; melanocytic nevi: {found['images']}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
