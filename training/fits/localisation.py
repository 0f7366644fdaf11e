"""Where the model looked: attention.csv (`explain.localisation_results` says what stands in it).

Grad-CAM of the class it called, as the app shows it: for every test image, and for a fixed sample of validation, on
which every other method is measured too. Those need gradients or many passes; they, deletion and insertion look at the
image in one view: with all views they would take hours.
"""

import dataclasses
import zlib
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from dermlens.case.predict import predict, probabilities
from dermlens.dataset.ham10000 import image_path, mask_path, raise_problems, read_mask
from dermlens.errors import DataError
from dermlens.explain import gradients
from dermlens.explain.localisation import (
    area_under,
    centred,
    energy_share,
    map_seen,
    mask_seen,
    points_inside,
    removal_curves,
    removal_order,
    where_it_sits,
)
from dermlens.explain.localisation_results import COLUMNS, FILE
from dermlens.explain.methods import METHODS, explain_with
from dermlens.image.preprocess import Geometry, fit, placement
from dermlens.ingest.read import read_file
from dermlens.labels import CLASSES
from dermlens.models import registry
from dermlens.models.model import AnyModel, Model
from training.fits.subject import Subject

REMOVED = 20
"""Lesions of each diagnosis of test, one image each, for deletion and insertion: 39 passes an image."""
COMPARED = 4
"""Lesions of each diagnosis of validation, one image each, for every method."""


def make(subject: Subject) -> dict[str, bytes]:
    """Return attention.csv; raises DataError without the images and their masks."""
    if subject.data is None:
        raise DataError("Where a model looked is measured on images of the data set: pass --data DIR.")
    asked = subject.table[subject.table["image_id"].isin(subject.predictions.image_id)]  # test only if it was published
    test, validation = (asked[asked["split"] == split] for split in ("test", "validation"))
    compared = validation[validation["image_id"].isin(sample(validation, COMPARED))]
    rows = pd.concat([compared, test]).sort_values(["split", "image_id"])
    missing = [i for i in rows["image_id"] if mask_path(subject.data, i) is None]
    raise_problems(str(subject.data), {"image without a lesion mask (see data.download)": missing})
    return {FILE: measure(subject, rows).to_csv(index=False, float_format="%.5f", lineterminator="\n").encode()}


def measure(subject: Subject, rows: pd.DataFrame) -> pd.DataFrame:
    """Measure some images of the split table; columns as in localisation_results.COLUMNS, one row per image and method:
    every method on images of validation, Grad-CAM alone on others.

    An ensemble has no network of its own, so of it there is Grad-CAM alone, and no deletion.
    """
    model: AnyModel = registry.load_any(registry.inspect(subject.folder)) if _combines(subject) else subject.model
    compared = rows["split"] == "validation"
    removed = sample(rows[~compared], REMOVED) | set(rows.loc[compared, "image_id"])
    network = gradients.load_network(model) if compared.any() and isinstance(model, Model) else None
    found: list[dict[str, Any]] = []
    maps = []
    lesions = []
    for row in tqdm(rows.itertuples(), total=len(rows), unit="image", desc=f"Where {model.id} looked"):
        pixels, lesion = _read(subject, str(row.image_id), model.geometry)
        answer = predict(model, pixels)
        index = int(answer.probabilities.argmax())
        drawn = {"grad_cam": answer.maps[index]}
        areas: dict[str, dict[str, float]] = {}
        if isinstance(model, Model) and row.image_id in removed:
            if row.split == "validation":
                one_view = dataclasses.replace(model, views=1)
                drawn |= {m: explain_with(m, one_view, pixels, index, network=network) for m in METHODS}
            chance = np.random.default_rng(zlib.crc32(str(row.image_id).encode())).random(answer.maps.shape[1:])
            areas = removal_areas(model, pixels, drawn, chance, index)
        ids = {"image_id": row.image_id, "lesion_id": row.lesion_id, "split": row.split}
        ids |= {"y_true": row.dx, "called": CLASSES[index]}
        for method, heat in drawn.items():
            seen = map_seen(heat, pixels.shape[0], pixels.shape[1], model.geometry)
            found.append({**ids, "method": method, **shares(seen, lesion), **areas.get(method, {})})
        if row.split == "test":
            maps.append(answer.maps[index] / (answer.maps[index].sum() or 1))
            lesions.append((np.packbits(lesion), lesion.shape, pixels.shape[:2]))
    usual = np.mean(maps, 0) if maps else np.zeros(0)
    own = (row for row in found if row["split"] == "test")
    for row, (bits, shape, (height, width)) in zip(own, lesions, strict=True):
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
    warning = where_it_sits(heat)
    hit = points_inside(heat, lesion)
    return {
        "warning": warning.kind if warning else "",
        "energy_share": energy_share(heat, lesion),
        "blob_share": energy_share(centred(heat), lesion),
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
        maps: method -> (h, w) float over the network's square. Those without any heat are left out.
        chance: (h, w) float.
        index: class whose probability is watched.
    """
    height, width = pixels.shape[:2]
    place = placement(height, width, model.geometry)
    seen = slice(place.top, place.top + place.height), slice(place.left, place.left + place.width)
    drawn = {method: heat for method, heat in maps.items() if heat.max() > 0}
    orders = [removal_order(map_seen(heat, height, width, model.geometry)) for heat in (*drawn.values(), chance)]

    def ask(squares: np.ndarray) -> np.ndarray:
        return probabilities(model.engine.run(squares).logits, model.fitted.calibration)

    curves = removal_curves(ask, fit(pixels, model.geometry), seen, orders, index)
    (*own, (random_deletion, random_insertion)) = area_under(curves).tolist()
    by_chance = {"random_deletion": random_deletion, "random_insertion": random_insertion}
    return {m: {"deletion": d, "insertion": i, **by_chance} for m, (d, i) in zip(drawn, own, strict=True)}


def _read(subject: Subject, image_id: str, geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of an image and its lesion over the seen part."""
    if subject.data is None or (mask := read_mask(subject.data, image_id)) is None:
        raise DataError(f"Image {image_id} has no lesion mask (see data.download).")
    pixels = read_file(image_path(subject.data, image_id), stored_aspect=subject.stored_aspect).pixels
    return pixels, mask_seen(mask, pixels.shape[0], pixels.shape[1], geometry)


def _combines(subject: Subject) -> bool:
    return "members" in subject.card
