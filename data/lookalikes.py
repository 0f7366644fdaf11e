"""Find images that show one lesion under another light: `python -m data.lookalikes --data DIR [--external DIR]`.

`data.audit` finds copies: the same photograph, recompressed, cut or turned. A second photograph of a lesion, or one
in another white balance, it may miss. Here every image of a validation or test set is compared with those that a
network (the published one, by its embedding) finds most alike among the images of other splits, once with the colours
balanced and once without any. A pair is confirmed by local features that stand turning, scale and light (SIFT: Lowe,
Int J Comput Vis 60:91, 2004) and agree on one shift, turn and zoom. A ruler on two photographs agrees, too: so a
person looks at every pair on the contact sheet and writes "yes" or "no" into the column `same` of
`data/splits/lookalikes.csv`. `data.split` and `data.external` then keep such lesions in one split. About half an hour
on two cores.
"""

import argparse
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from dermlens.case.predict import forward
from dermlens.dataset.ham10000 import SPLIT_TABLE, data_root, image_path, load_split
from dermlens.dataset.isic2019 import image_path as external_path
from dermlens.dataset.isic2019 import load_external
from dermlens.errors import DataError, DermlensError
from dermlens.files.documents import write_whole
from dermlens.files.tables import encode_csv, read_csv, refuse
from dermlens.image.preprocess import STORED_ASPECTS, fit, resize
from dermlens.ingest.read import read_file
from dermlens.models import registry
from dermlens.models.model import Model

LOOKALIKES_TABLE = SPLIT_TABLE.with_name("lookalikes.csv")
COLUMNS = {"image_a": str, "image_b": str, "agreeing": float, "same": str}
NETWORK = "efficientnetv2b0"
AXES = 128
"""Principal axes of the embeddings that are compared, scaled to the fourth root of their variance."""
NEIGHBOURS = 12
"""Of every image, among those of other splits, that are worth a look at their features."""
LEAST_AGREEING = 8
"""Features that must agree for a person to be asked."""
HEIGHT = 224
FEATURES = 400
CONTRAST = 0.012
"""A third of SIFT's usual threshold: skin is smooth."""
RATIO = 0.85
"""A match must be nearer than this share of the second best (Lowe, section 7.1)."""
HELD_OUT = ("validation", "test", "isic2017", "bcn20000")
THUMB = 180

Features = tuple[np.ndarray, np.ndarray]


def balanced(pixels: np.ndarray) -> np.ndarray:
    """Bring the mean of every channel of (h, w, 3) uint8 to the mean of all: the grey-world assumption."""
    mean = pixels.mean((0, 1)).clip(1)
    return np.clip(pixels * (mean.mean() / mean), 0, 255).astype(np.uint8)


def colourless(pixels: np.ndarray) -> np.ndarray:
    """Return (h, w, 3) uint8 with its lightness alone, spread over the range, in one skin tone for all images."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    low, high = np.percentile(grey, [1, 99])
    spread = np.clip((grey - low) / max(high - low, 1) * 220 + 20, 0, 255)
    return (spread[..., None] * np.array([1, 0.82, 0.78], np.float32)).astype(np.uint8)


def embed(model: Model, read: Callable[[int], np.ndarray], n: int) -> np.ndarray:
    """Return one network's embeddings of n images, balanced and colourless, averaged over its views: (2, n, C)."""
    found = []
    for i in tqdm(range(n), desc="embedding", unit=" images"):
        pixels = read(i)
        found.append([forward(model, fit(change(pixels), model.geometry))[2] for change in (balanced, colourless)])
    return np.array(found).swapaxes(0, 1)


def directions(embeddings: np.ndarray) -> np.ndarray:
    """Return embeddings (n, C) on their principal axes, of length 1: (n, AXES or fewer) float32."""
    off = embeddings - embeddings.mean(0)
    variance, axes = np.linalg.eigh(np.cov(off.T))
    kept = variance[-AXES:].clip(1e-12)
    points = off @ (axes[:, -AXES:] / kept**0.25)
    return (points / np.linalg.norm(points, axis=1, keepdims=True).clip(1e-12)).astype(np.float32)


def candidates(points: np.ndarray, group: np.ndarray, held_out: np.ndarray, count: int = NEIGHBOURS) -> set:
    """Return pairs (i, j), i < j: each held-out image with its nearest ones of other groups.

    Args:
        points: (n, d), of length 1. group: (n,) the split of each image. held_out: (n,) bool.
    """
    pairs = set()
    for i in np.flatnonzero(held_out):
        others = np.flatnonzero(group != group[i])
        if len(others):
            alike = points[others] @ points[i]
            nearest = others[np.argsort(-alike)[:count]]
            pairs |= {(min(i, j), max(i, j)) for j in nearest.tolist()}
    return pairs


def describe(pixels: np.ndarray) -> Features:
    """Return the places (k, 2) and descriptors (k, 128) of the local features of (h, w, 3) uint8 RGB, both float32."""
    height, width = pixels.shape[:2]
    grey = cv2.cvtColor(resize(pixels, HEIGHT, max(1, round(HEIGHT * width / height))), cv2.COLOR_RGB2GRAY)
    sift = cv2.SIFT_create(FEATURES, contrastThreshold=CONTRAST)  # type: ignore[attr-defined]
    points, found = sift.detectAndCompute(grey, None)
    if found is None:
        return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32)
    # The square roots compare as histograms do (Arandjelovic & Zisserman, CVPR 2012).
    roots = np.sqrt(found / found.sum(1, keepdims=True).clip(1e-6))
    return np.array([p.pt for p in points], np.float32), roots.astype(np.float32)


def agreeing(one: Features, other: Features) -> int:
    """Return how many local features of two images agree on one shift, turn and zoom."""
    if min(len(one[0]), len(other[0])) < 3:
        return 0
    alike = one[1] @ other[1].T
    best, back = alike.argmax(1), alike.argmax(0)
    apart = np.sqrt(np.clip(2 - 2 * alike, 0, None))
    first, second = np.partition(apart, 1, axis=1)[:, :2].T
    good = (back[best] == np.arange(len(best))) & (first < RATIO * second)
    if good.sum() < 3:
        return 0
    _, inliers = cv2.estimateAffinePartial2D(
        one[0][good], other[0][best[good]], method=cv2.RANSAC, ransacReprojThreshold=4, maxIters=500
    )
    return 0 if inliers is None else int(inliers.sum())


def search(read: Callable[[int], np.ndarray], group: np.ndarray, model: Model) -> pd.DataFrame:
    """Return the pairs of images of different splits on which at least LEAST_AGREEING features agree.

    Args:
        read: gives the i-th image, (h, w, 3) uint8 RGB at true aspect. group: (n,) the split of each image.
        model: whose embeddings say what is alike.

    Returns:
        Columns i < j and agreeing, most agreeing first.
    """
    pairs: set = set()
    for embeddings in embed(model, read, len(group)):
        pairs |= candidates(directions(embeddings), group, np.isin(group, HELD_OUT))
    needed = sorted({i for pair in pairs for i in pair})
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = dict(zip(needed, pool.map(lambda i: describe(read(i)), needed), strict=True))
        ordered = sorted(pairs)
        counts = list(pool.map(lambda pair: agreeing(found[pair[0]], found[pair[1]]), ordered))
    table = pd.DataFrame(ordered, columns=["i", "j"]).assign(agreeing=counts)
    kept = table[table["agreeing"] >= LEAST_AGREEING]
    return kept.sort_values(["agreeing", "i", "j"], ascending=[False, True, True], ignore_index=True)


def contact_sheet(pairs: pd.DataFrame, read: Callable[[str], np.ndarray], columns: int = 5) -> np.ndarray:
    """Return all pairs side by side under their ids and counts, (h, w, 3) uint8 RGB."""
    cells = []
    for pair in pairs.itertuples():
        cell = np.full((THUMB + 24, 2 * THUMB + 12, 3), 255, np.uint8)
        for side, name in enumerate((pair.image_a, pair.image_b)):
            pixels = read(name)
            scale = THUMB / max(pixels.shape[:2])
            small = resize(pixels, max(1, round(pixels.shape[0] * scale)), max(1, round(pixels.shape[1] * scale)))
            left = side * (THUMB + 4)
            cell[20 : 20 + small.shape[0], left : left + small.shape[1]] = small
        said = f"{pair.agreeing:.0f}: {pair.image_a} {pair.image_b} {pair.same}"
        cv2.putText(cell, said, (2, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
        cells.append(cell)
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % columns)
    return np.vstack([np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)])


def load_lookalikes(file: Path = LOOKALIKES_TABLE) -> pd.DataFrame:
    """Read the table of pairs: image_a, image_b, agreeing, same ("yes", "no", or "" where nobody has looked).

    Raises:
        DataError: a column is missing, or something else was said of a pair.
    """
    table = read_csv(file, COLUMNS)
    refuse(file, table, "same", ~table["same"].isin(["yes", "no", ""]), 'is neither "yes" nor "no"')
    return table.reset_index(drop=True)


def with_earlier(found: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """Put what a person said of pairs to those that are found now, and keep the earlier ones that are not any more.

    A pair that was brought into one split is not found again, but it must stay there.

    Args:
        found: columns image_a, image_b and agreeing. before: as `load_lookalikes` gives it.
    """
    said = {frozenset(row[:2]): row[2] for row in before[["image_a", "image_b", "same"]].itertuples(index=False)}
    now = [frozenset(pair) for pair in zip(found["image_a"], found["image_b"], strict=True)]
    gone = [frozenset(pair) not in now for pair in zip(before["image_a"], before["image_b"], strict=True)]
    kept = before[np.array(gone, bool) & (before["same"] != "")]
    return pd.concat([found.assign(same=[said.get(pair, "") for pair in now]), kept], ignore_index=True)


def same_lesion(table: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs of lesion ids that a person found to be one lesion: columns lesion_a and lesion_b.

    Args:
        table: columns image_id and lesion_id. pairs: as `load_lookalikes` gives them; images not in `table` are let be.
    """
    lesion = table.set_index("image_id")["lesion_id"]
    known = pairs[(pairs["same"] == "yes") & pairs["image_a"].isin(lesion.index) & pairs["image_b"].isin(lesion.index)]
    return pd.DataFrame({f"lesion_{side}": lesion[known[f"image_{side}"]].to_numpy() for side in "ab"})


def main(argv: list[str] | None = None) -> int:
    """Search, write the table and the contact sheet; returns the exit code: 1 if somebody has to look."""
    parser = argparse.ArgumentParser(prog="python -m data.lookalikes", description=__doc__.partition(":")[0])
    parser.add_argument("--data", type=Path, default=data_root(), help="HAM10000 folder (default: HAM10000_DIR)")
    parser.add_argument("--stored-aspect", choices=STORED_ASPECTS, default="as-is")
    parser.add_argument("--external", type=Path, help="folder with the training set of ISIC 2019")
    parser.add_argument(
        "--sheet", type=Path, default=Path("lookalikes.png"), help="contact sheet (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    if args.data is None:
        parser.error("pass --data DIR or set HAM10000_DIR")
    try:
        table = load_split()[["image_id", "split"]].assign(stored_aspect=args.stored_aspect, archive="HAM10000")
        if args.external is not None:
            other = load_external()
            other = other[other["split"] != "left_out"].assign(archive="ISIC 2019")
            table = pd.concat([table, other[["image_id", "split", "stored_aspect", "archive"]]], ignore_index=True)
        rows = table.set_index("image_id")

        def read(name: str) -> np.ndarray:
            row = rows.loc[name]
            own = row["archive"] == "HAM10000"
            file = image_path(args.data, name) if own else external_path(args.external, name)
            return read_file(file, stored_aspect=row["stored_aspect"]).pixels

        ids = table["image_id"].to_numpy()
        group = (table["archive"] + " " + table["split"]).where(table["split"] == "train", table["split"]).to_numpy()
        model = registry.load(registry.find(registry.models_dir(), NETWORK))
        found = search(lambda i: read(ids[i]), group, model)
        pairs = pd.DataFrame({"image_a": ids[found["i"]], "image_b": ids[found["j"]], "agreeing": found["agreeing"]})
        before = load_lookalikes() if LOOKALIKES_TABLE.exists() else pd.DataFrame(columns=list(COLUMNS))
        known = with_earlier(pairs, before)
        write_whole(LOOKALIKES_TABLE, encode_csv(known))
        pairs = known.head(len(pairs))
        if len(pairs) and not cv2.imwrite(str(args.sheet), contact_sheet(pairs, read)[..., ::-1]):
            raise DataError(f"{args.sheet} cannot be written. Name a file in a folder that is there.")
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    unseen, written = int((pairs["same"] == "").sum()), [LOOKALIKES_TABLE, args.sheet][: 1 + bool(len(pairs))]
    print(f"{len(pairs)} pairs, {unseen} of them not looked at yet. Written: {', '.join(map(str, written))}")
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main())
