"""Where the model looked in the test images: attention.csv (`dermlens.evidence` says what stands in it).

Grad-CAM of the class it called, as the app shows it, for every image. Deletion and insertion, for a fixed sample, and
the methods that need gradients or many passes, for a smaller one, look at the image in one view: with all views they
would take hours.
"""

import dataclasses
import zlib
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from dermlens import gradients
from dermlens.attention import (
    area_under,
    energy_share,
    map_seen,
    mask_seen,
    points_inside,
    removal_curves,
    removal_order,
    where_it_sits,
)
from dermlens.errors import DataError
from dermlens.evidence import COLUMNS, FILE
from dermlens.ham10000 import image_path, mask_path, raise_problems, read_mask
from dermlens.ingest import read_file
from dermlens.labels import CLASSES
from dermlens.predict import predict, probabilities
from dermlens.preprocess import fit, placement
from dermlens.registry import Model
from training.subject import Subject

REMOVED = 20
"""Lesions of each diagnosis, one image each, for deletion and insertion: 39 passes an image."""
SLOW = 3
"""Of these, for every method of dermlens.gradients."""


def make(subject: Subject) -> dict[str, bytes]:
    """Return attention.csv, nothing for an ensemble; raises DataError without the test images and their masks."""
    if "members" in subject.card:
        return {}
    rows = subject.table[subject.table["split"] == "test"].sort_values("image_id")
    if subject.data is None or rows.empty:
        raise DataError("Where a model looked is measured on the images of the test split: pass --data DIR.")
    missing = [i for i in rows["image_id"] if mask_path(subject.data, i) is None]
    raise_problems(str(subject.data), {"test image without a lesion mask (see data.download)": missing})
    return {FILE: measure(subject, rows).to_csv(index=False, float_format="%.5f", lineterminator="\n").encode()}


def measure(subject: Subject, rows: pd.DataFrame) -> pd.DataFrame:
    """Measure some images of the split table; columns as in evidence.COLUMNS, one row an image and method."""
    removed = sample(rows, REMOVED)
    slow = [image_id for image_id in sample(rows, SLOW) if image_id in removed]
    model, found = subject.model, []
    network = gradients.load_network(model) if slow else None
    maps, lesions = [], []
    for row in tqdm(rows.itertuples(), total=len(rows), unit="image", desc=f"Where {model.id} looked"):
        pixels, lesion = _read(subject, str(row.image_id))
        answer = predict(model, pixels)
        index = int(answer.logits.argmax())
        drawn = {"grad_cam": answer.maps[index]}
        if row.image_id in slow:
            one_view = dataclasses.replace(model, views=1)
            drawn |= {m: gradients.explain_with(m, one_view, network, pixels, index) for m in gradients.METHODS}
        height, width = pixels.shape[:2]
        seen = {method: map_seen(heat, height, width, model.geometry) for method, heat in drawn.items()}
        chance = map_seen(_noise(str(row.image_id), answer.maps.shape[1:]), height, width, model.geometry)
        areas = removal_areas(model, pixels, seen, chance, index) if row.image_id in removed else {}
        ids = {"image_id": row.image_id, "lesion_id": row.lesion_id, "y_true": row.dx, "called": CLASSES[index]}
        found += [
            {**ids, "method": method, **shares(heat, lesion), **areas.get(method, {})} for method, heat in seen.items()
        ]
        maps.append(drawn["grad_cam"] / (drawn["grad_cam"].sum() or 1))
        lesions.append((np.packbits(lesion), lesion.shape, (height, width)))
    usual = np.mean(maps, 0)
    for row, (bits, shape, (height, width)) in zip(
        (r for r in found if r["method"] == "grad_cam"), lesions, strict=True
    ):
        lesion = np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(bool)
        row["usual_share"] = energy_share(map_seen(usual, height, width, model.geometry), lesion)
    return pd.DataFrame(found, columns=list(COLUMNS))


def sample(rows: pd.DataFrame, per_class: int) -> set[str]:
    """Choose the first image of up to `per_class` lesions of each diagnosis, spread evenly over the images' ids."""
    chosen: set[str] = set()
    for _, own in rows.groupby("dx"):
        ids = own.sort_values("image_id").drop_duplicates("lesion_id")["image_id"].to_numpy()
        chosen |= set(ids[np.linspace(0, len(ids) - 1, min(per_class, len(ids))).round().astype(int)])
    return chosen


def shares(heat: np.ndarray, lesion: np.ndarray) -> dict[str, Any]:
    """Return what attention.csv says of one map, (h, w) float over the seen part, and its lesion, (h, w) bool."""
    warning, hit = where_it_sits(heat), points_inside(heat, lesion)
    return {
        "warning": warning.kind if warning else "",
        "energy_share": energy_share(heat, lesion),
        "lesion_share": lesion.mean(),
        "hit": np.nan if hit is None else int(hit),
        "centre_hit": int(lesion[lesion.shape[0] // 2, lesion.shape[1] // 2]),
    }


def removal_areas(
    model: Model, pixels: np.ndarray, maps: dict[str, np.ndarray], chance: np.ndarray, index: int
) -> dict[str, dict[str, float]]:
    """Return the areas under the deletion and insertion curves of some maps and of one made by chance.

    Args:
        model: asked in one view.
        pixels: (height, width, 3) uint8 RGB.
        maps: method -> (h, w) float over the seen part. Those without any heat are left out.
        chance: (h, w) float.
        index: class whose probability is watched.
    """
    place = placement(pixels.shape[0], pixels.shape[1], model.geometry)
    seen = slice(place.top, place.top + place.height), slice(place.left, place.left + place.width)
    drawn = {method: heat for method, heat in maps.items() if heat.max() > 0}

    def ask(squares: np.ndarray) -> np.ndarray:
        return probabilities(model.engine.run(squares).logits, model.fitted.calibration)

    orders = [removal_order(heat) for heat in (*drawn.values(), chance)]
    (*own, (random_deletion, random_insertion)) = area_under(
        removal_curves(ask, fit(pixels, model.geometry), seen, orders, index)
    ).tolist()
    by_chance = {"random_deletion": random_deletion, "random_insertion": random_insertion}
    return {m: {"deletion": d, "insertion": i, **by_chance} for m, (d, i) in zip(drawn, own, strict=True)}


def _read(subject: Subject, image_id: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of an image and its lesion over the seen part."""
    if subject.data is None or (mask := read_mask(subject.data, image_id)) is None:
        raise DataError(f"Image {image_id} has no lesion mask (see data.download).")
    pixels = read_file(image_path(subject.data, image_id), stored_aspect=subject.stored_aspect).pixels
    return pixels, mask_seen(mask, pixels.shape[0], pixels.shape[1], subject.model.geometry)


def _noise(image_id: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return random numbers on a map's grid, the same for an image every time."""
    return np.random.default_rng(zlib.crc32(image_id.encode())).random(shape, np.float32)
