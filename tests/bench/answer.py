"""One answer: what it costs beyond decoding and the networks, against the systems it replaces, and from a cold start.

Of the ensemble's members, or of all networks where there is no ensemble.
"""

import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from dermlens.case.image import examine
from dermlens.case.ood_gate import accepted
from dermlens.explain import gradients
from dermlens.image.examples import EXAMPLES
from dermlens.image.preprocess import fit
from dermlens.image.synthetic import draw_lesion
from dermlens.image.tta import expand
from dermlens.ingest.read import read_image
from dermlens.models import registry
from dermlens.models.card import INT8
from dermlens.models.model import AnyModel, Ensemble, Model, networks
from dermlens.server.hardware import processor_flags
from tests.bench.case import Case
from tests.browser.app import serve
from tests.conftest import encode
from tests.visitor import Visitor

MOST = 1.25
"""Times decoding and the bare forward passes that an answer may take, and seconds beside that."""
BESIDE = 0.015
COLD = 4.0
"""Seconds from starting the server to the first answer."""


def cases() -> Iterable[Case]:
    """Yield the cases; models without serving files are left out."""
    models = _models()
    if not models:
        return
    data = encode(draw_lesion(np.random.default_rng(0)), ".jpg")

    def answer() -> None:
        image = examine(data, "", models)
        accepted(models, image.answers)

    bare = _bare(data, networks(models))

    def bare_and_a_pause() -> None:
        bare()
        time.sleep(BESIDE / MOST)

    allowed = f"{MOST:.2f} x bare + {1000 * BESIDE:.0f} ms"
    yield Case(f"answer: bytes to all of it, {allowed}", answer, bare_and_a_pause, MOST)
    faster = wanted_ratio(networks(models))
    name = f"answer: {faster} times faster than predict + Grad-CAM"
    yield Case(name, answer, _replaced(data, networks(models)), 1 / faster)
    yield _cold_start()


def wanted_ratio(models: list[Model]) -> int:
    """Return how many times faster than the systems it replaces an answer must be, for what serves on this machine."""
    if any(m.precision != INT8 for m in models):
        return 7
    fast = processor_flags() & {"avx512_vnni", "avx_vnni", "amx_int8"}
    return 20 if fast else 10


def _models() -> list[AnyModel]:
    entries = [e for e in registry.discover(registry.models_dir()) if e.can_be_asked and not e.problem]
    ensembles = [registry.load_any(e) for e in entries if e.is_ensemble]
    for ensemble in ensembles:
        if isinstance(ensemble, Ensemble):
            return [*ensemble.members, ensemble]
    return [registry.load(e) for e in entries]


def _bare(data: bytes, models: list[Model]) -> Callable[[], None]:
    """Decode, and nothing but the forward passes that the models' views need."""
    batches = [expand(fit(read_image(data).pixels, m.geometry), m.views).astype(np.float32) for m in models]

    def run() -> None:
        read_image(data)
        for model, batch in zip(models, batches, strict=True):
            model.engine.run(batch)

    return run


def _replaced(data: bytes, models: list[Model]) -> Callable[[], None]:
    """Decode with OpenCV, `model.predict` on one view and tf-keras-vis' Grad-CAM of one class, network by network."""
    import cv2
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.scores import CategoricalScore

    loaded = [gradients.load_network(m) for m in models]
    drawers = [Gradcam(network, clone=False) for network in loaded]

    def run() -> None:
        pixels = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))[..., ::-1]
        for model, network, draw in zip(models, loaded, drawers, strict=True):
            view = fit(pixels, model.geometry)[None].astype(np.float32)
            called = int(network.predict(view, verbose=0)[0].argmax())
            draw(
                CategoricalScore(called), view, penultimate_layer=model.feature_layer, seek_penultimate_conv_layer=False
            )

    return run


def _cold_start() -> Case:
    running = ExitStack()

    def start() -> None:
        log = Path(tempfile.mkdtemp()) / "log"
        visitor = running.enter_context(Visitor(running.enter_context(serve(log)), "predict"))
        visitor.press(EXAMPLES[0].name)
        assert any(kind == "plotly_chart" for kind, _ in visitor.answer())

    name = f"cold start to the first answer: {COLD:.0f} s"
    return Case(name, start, lambda: time.sleep(COLD), 1.0, repeats=3, before=running.close)
