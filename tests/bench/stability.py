"""The probe of how steady an answer is, against one answer of the same models and against the time it may take."""

import time
from collections.abc import Iterable

import numpy as np

from dermlens.case.predict import predict
from dermlens.case.stability import alterations, probe
from dermlens.image.synthetic import draw_lesion
from dermlens.models import registry
from tests.bench.case import Case

SECONDS = 3.0
"""For all models of a case together."""
OVERHEAD = 1.5
"""Times the forward passes that the copies need: for altering and fitting them."""


def cases() -> Iterable[Case]:
    """Yield the cases; models without serving files, and ensembles, are left out."""
    entries = [e for e in registry.discover(registry.models_dir()) if e.has_weights and not e.problem]
    models = [registry.load(entry) for entry in entries]
    pixels = draw_lesion(np.random.default_rng(0), 1200, 1600)
    answers = [predict(model, pixels) for model in models]

    def probe_all() -> None:
        for model, answer in zip(models, answers, strict=True):
            probe(model, pixels, answer)

    for model, answer in zip(models, answers, strict=True):
        copies = len(alterations(model.views, model.geometry))
        yield Case(
            f"probe of {copies} copies: {model.id}, to one answer",
            lambda model=model, answer=answer: probe(model, pixels, answer),
            lambda model=model: predict(model, pixels),
            OVERHEAD * copies / model.views,
            repeats=3,
        )
    if models:
        yield Case(f"probe with all models: {SECONDS:.0f} s", probe_all, lambda: time.sleep(SECONDS), 1.0, repeats=3)
