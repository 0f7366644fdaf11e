"""A record filled with made-up cases: people who are right as often as they are told to be, and three models."""

import secrets
from datetime import UTC, datetime, timedelta

import numpy as np

from dermlens.labels import CLASSES, SUSPECT
from dermlens.record import people, save
from dermlens.record.open import Record
from dermlens.record.people import NOBODY_SIGNED_IN, Who
from dermlens.record.readings import Found, Judgement, add_outcome, add_reading
from dermlens.record.save import About, Saving
from dermlens.record.store.tables import Image
from dermlens.record.vocabulary import BASES, MANAGEMENTS, SITES

KEY = bytes(range(32))
START = datetime(2026, 1, 1, 8, tzinfo=UTC)
MODELS = ("ensemble", "one", "two")
BLOCK = 500


def predictions(rng: np.random.Generator, true: int, skill: float = 2.0) -> list[dict]:
    """Return the columns of three models' answers about an image of a class."""
    found = []
    for number, model in enumerate(MODELS):
        logits = rng.normal(0, 1, 7)
        logits[true] += rng.normal(skill, 1)
        shares = np.exp(logits) / np.exp(logits).sum()
        refused = bool(rng.random() < 0.02)
        found.append(
            {
                "lead": number == 0,
                "model_id": model,
                "model_sha256": f"{number:064x}",
                "fitted": {"calibration.json": f"{number:064x}"},
                "app_version": "0.1.0",
                "settings": {
                    "stored_aspect": "as-is",
                    "class_mix": "",
                    "fitted_mix": [300, 500, 1000, 100, 1100, 6700, 140],
                },
                "logits": [float(x) for x in logits],
                "probabilities": [float(x) for x in shares],
                "shown": None,
                "calibrated": True,
                "called": None if refused else CLASSES[int(shares.argmax())],
                "suspect": float(shares[list(SUSPECT)].sum()),
                "prediction_set": [c for c, p in zip(CLASSES, shares, strict=True) if p > 0.1],
                "refused_by": [model] if refused else [],
                "ood_score": float(rng.normal(1, 0.2)),
                "refer": bool(shares[4] > 0.1),
                "reasons": ["melanoma has 20 %"] if shares[4] > 0.1 else [],
                "heat_map_sha256": "0" * 64,
                "milliseconds": float(rng.uniform(20, 60)),
                "error": None,
            }
        )
    return found


def image_values(rng: np.random.Generator) -> dict:
    quality = {"sharpness": float(rng.uniform(0.6, 0.9)), "brightness": 200.0, "poor": False, "findings": []}
    return {
        "pixels_sha256": rng.bytes(32).hex(),
        "file_sha256": rng.bytes(32).hex(),
        "width": 600,
        "height": 450,
        "synthetic": False,
        "quality": quality,
    }


def saving(rng: np.random.Generator, true: int, about: About | None = None, **more: object) -> Saving:
    """Return what is to be kept of a made-up image."""
    return Saving(secrets.token_hex(16), image_values(rng), predictions(rng, true), about or About(), **more)  # type: ignore[arg-type]


def judgement(rng: np.random.Generator, stage: str, diagnosis: str, **more: object) -> Judgement:
    management = list(MANAGEMENTS)[int(rng.integers(len(MANAGEMENTS)))]
    values = {"seconds": float(rng.uniform(5, 60)), "confidence": int(rng.integers(30, 100)), **more}
    return Judgement(stage, diagnosis, management=management, **values)  # type: ignore[arg-type]


def fill(
    record: Record,
    cases: int = 12,
    who: Who = NOBODY_SIGNED_IN,
    seed: int = 0,
    known: float = 0.7,
    alone: float = 0.6,
    together: float = 0.8,
    every: timedelta = timedelta(hours=1),
) -> None:
    """Add cases.

    Args:
        record: with a key if there shall be patients. cases: how many. who: saves and reads them.
        known: share with an outcome. alone, together: how often the person is right before and with the answer.
        every: time between two cases.
    """
    rng = np.random.default_rng(seed)
    for start in range(0, cases, BLOCK):
        with record.database.writing() as session:
            for number in range(start, min(cases, start + BLOCK)):
                now = START + number * every
                true = int(rng.choice(7, p=(0.05, 0.1, 0.15, 0.02, 0.18, 0.48, 0.02)))
                patient = {
                    "patient": f"p{seed}-{number // 3}",
                    "birth_year": 1960,
                    "sex": "female",
                    "consent": "training",
                }
                about = About(
                    site=SITES[number % len(SITES)],
                    label=f"no. {number}",
                    taken_at=now - timedelta(days=1),
                    **(patient if record.keys and number % 2 == 0 else {}),  # type: ignore[arg-type]
                )
                saved = save._insert(session, record, who, saving(rng, true, about), None, now)
                person = people.row_of(session, who, now)
                image = session.get(Image, saved.image_id)
                assert image is not None
                for stage, skill in (("before", alone), ("after", together)):
                    said = CLASSES[true if rng.random() < skill else int(rng.integers(7))]
                    add_reading(session, person, image, judgement(rng, stage, said, note=f"note {number}"), now)
                if rng.random() < known:
                    basis = list(BASES)[int(rng.integers(4))]
                    add_outcome(
                        session, who, saved.lesion_id, Found(CLASSES[true], basis, source=f"report {number}"), now
                    )
