"""One image of a cohort as a row: what the dashboard would say of it, in the terms of programs."""

import contextlib
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from dermlens.case.decision import decide
from dermlens.case.opinion import Opinion, form
from dermlens.case.predict import Prediction, predict
from dermlens.cohort.store import Place
from dermlens.errors import DecoderError, ImageError, ModelError
from dermlens.evaluation.class_mix import EQUAL, EVEN
from dermlens.evaluation.prediction_formats import PROBABILITIES
from dermlens.image.encode import pixels_sha256
from dermlens.image.quality import check
from dermlens.ingest.formats import LIMITS
from dermlens.ingest.read import is_missing, read_image, reason
from dermlens.labels import CLASSES, SUSPECT
from dermlens.models.model import AnyModel, Ensemble, Model

MEASURES = ("sharpness", "brightness", "glare", "short_side", "ink", "ticks", "vignette", "hair")
"""The fields of `image.quality.Quality`, each a column."""
MISSING, UNREADABLE, DECODER, MODEL = "missing", "unreadable", "decoder", "model"
"""Error codes: there was no such file when the images were listed, or it might not be opened; it is no image that can
be read; the decoder was killed on it again and again; the model failed."""
TRIES = 3


def networks_of(model: AnyModel) -> tuple[Model, ...]:
    """Return the networks behind a model."""
    return model.members if isinstance(model, Ensemble) else (model,)


def schema_of(networks: tuple[str, ...], maps: bool) -> pa.Schema:
    """Return the columns of a part.

    Args:
        networks: ids of the networks that were asked. maps: whether heat maps are kept.
    """
    number, text = pa.float32(), pa.string()
    fields = {
        "row": pa.int64(),
        "image": text,
        **dict.fromkeys(PROBABILITIES, number),
        "suspect": number,
        "call": text,
        "refused": pa.bool_(),
        **{f"unlike_{name}": pa.bool_() for name in networks},
        **{f"unlikeness_{name}": number for name in networks},
        "refer": pa.bool_(),
        "reasons": pa.list_(text),
        "not_ruled_out": pa.list_(text),
        "poor": pa.bool_(),
        "quality": pa.list_(text),
        **{f"quality_{name}": number for name in MEASURES},
        "height": pa.int32(),
        "width": pa.int32(),
        "pixels_sha256": text,
        "milliseconds": number,
        "error": text,
        "error_sentence": text,
        **({"map": pa.list_(number), "map_width": pa.int32()} if maps else {}),
    }
    return pa.schema(fields)


def shown_path(path: bytes) -> str:
    """Return a path as text; bytes of a name that are no text, or NUL, are written as \\xNN."""
    return path.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def answers(
    model: AnyModel, source: Place, rows: pa.Table, stored_aspect: str, class_mix: str, maps: bool
) -> Iterator[dict[str, Any]]:
    """Answer the images of a shard, one row after the other; a column that is not in a row has no value there.

    Args:
        model: as loaded by registry.load_any.
        source: the place that the paths are from.
        rows: of the manifest.
        stored_aspect: as in ingest.read_image. class_mix: key of class_mix.AT. maps: whether to keep heat maps.

    Raises:
        OSError: a file cannot be read for a reason that may pass, such as a disk or network that fails, or that went
            away since the images were listed.
    """
    paths: list[bytes] = rows["path"].to_pylist()
    listed = list(zip(paths, (size >= 0 for size in rows["bytes"].to_pylist()), strict=True))

    def read(path: bytes, was_there: bool) -> tuple[np.ndarray, float]:
        start = time.perf_counter()
        try:
            return read_pixels(source, path, stored_aspect), time.perf_counter() - start
        except OSError as e:
            if is_missing(e, was_there):
                raise _MissingError(f"The file cannot be read: {reason(e)}.") from e
            if is_missing(e, was_there=False):
                raise OSError(f"{shown_path(path)} was there when the images were listed, and now: {reason(e)}") from e
            raise

    with ThreadPoolExecutor(1) as reader:  # the next image is read while the networks look at this one
        ahead = deque(reader.submit(read, *one) for one in listed[:1])
        for i, (number, path) in enumerate(zip(rows["row"].to_pylist(), paths, strict=True)):
            ahead.extend(reader.submit(read, *following) for following in listed[i + 1 : i + 2])
            yield {"row": number, "image": shown_path(path), **_answered(ahead.popleft(), model, class_mix, maps)}


class _MissingError(Exception):
    """There is no such file, for good."""


def _answered(coming: Future[tuple[np.ndarray, float]], model: AnyModel, class_mix: str, maps: bool) -> dict[str, Any]:
    """Return the columns of an image that is being read; of one that cannot be answered the error."""
    try:
        pixels, seconds = coming.result()
        start = time.perf_counter()
        row = answer(model, pixels, class_mix, maps)
        return {**row, "milliseconds": 1000 * (seconds + time.perf_counter() - start)}
    except DecoderError as e:
        return {"error": DECODER, "error_sentence": str(e)}
    except _MissingError as e:
        return {"error": MISSING, "error_sentence": str(e)}
    except ImageError as e:
        return {"error": UNREADABLE, "error_sentence": str(e)}
    except ModelError as e:
        return {"error": MODEL, "error_sentence": str(e)}


def read_pixels(source: Place, path: bytes, stored_aspect: str) -> np.ndarray:
    """Return an image as (h, w, 3) uint8 RGB; raises ImageError, or OSError as `Place.head`.

    A decoder that was killed is no fault of the image. The image is to blame only if it was killed every time, and
    another image is read.
    """
    data = source.head(os.fsdecode(path), LIMITS.bytes + 1)
    for _ in range(TRIES):
        with contextlib.suppress(DecoderError):
            return read_image(data, stored_aspect=stored_aspect).pixels
    try:
        read_image(cv2.imencode(".bmp", np.zeros((64, 64, 3), np.uint8))[1].tobytes())
    except DecoderError as e:
        raise OSError(str(e)) from e
    return read_image(data, stored_aspect=stored_aspect).pixels


def answer(model: AnyModel, pixels: np.ndarray, class_mix: str, maps: bool = False) -> dict[str, Any]:
    """Return what is known of one image: the columns of `schema_of` from p_akiec to the pixels' SHA-256, and the map.

    Args:
        model, class_mix, maps: as for `answers`. pixels: (h, w, 3) uint8 RGB at its true aspect.

    Raises:
        ModelError: the model cannot be run.
    """
    networks = networks_of(model)
    found: dict[str, Prediction] = {}
    for network in networks:
        found[network.id] = predict(network, pixels)
    if isinstance(model, Ensemble):
        found[model.id] = predict(model, pixels, found)
    opinion = form(dict.fromkeys((model, *networks)), found)
    shown = opinion.at_mix(EVEN, "") if class_mix == EQUAL else opinion
    probabilities = shown.shown[model.id].probabilities
    refused = model.id in opinion.refused
    refer, reasons = _referral(opinion)
    sets = model.fitted.prediction_sets
    quality = check(pixels)
    row: dict[str, Any] = {name: float(p) for name, p in zip(PROBABILITIES, probabilities, strict=True)}
    row |= {
        "suspect": float(probabilities[list(SUSPECT)].sum()),
        "call": None if refused else shown.call(model).code,
        "refused": refused,
        "refer": refer,
        "reasons": reasons,
        "poor": quality.poor,
        "quality": [finding.name for finding in quality.findings],
        **{f"quality_{name}": float(getattr(quality, name)) for name in MEASURES},
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "pixels_sha256": pixels_sha256(pixels),
    }
    if sets is not None and not refused:
        row["not_ruled_out"] = sets.codes(opinion.answers[model.id].probabilities)
    for network in networks:
        if network.id in opinion.accepted:
            row[f"unlike_{network.id}"] = not opinion.accepted[network.id]
            row[f"unlikeness_{network.id}"] = found[network.id].unlikeness
    if maps and not refused:
        heat = found[model.id].maps[CLASSES.index(row["call"])]
        row |= {"map": heat.ravel().tolist(), "map_width": heat.shape[1]}
    return row


def _referral(opinion: Opinion) -> tuple[bool | None, list[str] | None]:
    """Return whether the rules refer the image, and the keys of those that fire; None without rules."""
    decision = decide(opinion)
    if decision is None:
        return None, None
    return decision.refer, [rule for rule, fires in decision.fired.items() if fires]
