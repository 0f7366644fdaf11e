"""Whether the answers to a case are steady: the probe of case.stability, run behind the page and shown when ready.

The page is drawn first and asks for the probe then; a thread of its own runs it, so nothing that a person does on the
page waits for it or starts it again. The results are the session's, one per image and model.
"""

import logging
import weakref
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future
from functools import partial

import pandas as pd
import streamlit as st

from dermlens.case import stability
from dermlens.case.image import CaseImage
from dermlens.case.opinion import Opinion
from dermlens.case.stability import Stability
from dermlens.labels import INDEX, NAMES
from dermlens.models.model import Model, networks
from dermlens.server.limiter import IMAGES
from dermlens.wording import joined, percent
from ui import cache, state, streamlit_internals, widgets

POLL = 1.0
"""Seconds between two checks on whether the probe is done."""
UNSTEADY = 0.25
"""Share of the copies that must be called something else for the answer to be marked beside it."""
READING = (
    "Every copy is what another picture of the same lesion could look like: turned, nearer or farther, lighter or "
    "darker, a little out of focus, with a hair across. A steady answer can still be wrong; one that changes with a "
    "hair rests on little."
)
Probes = Mapping[tuple[str, str], Future[Stability]]
logger = logging.getLogger(__name__)


def start(image: CaseImage, opinion: Opinion) -> None:
    """Have every network that calls something probed, once; a page does it last, so that the answer comes first."""
    for model in networks(opinion.calling):
        key = (image.key, model.id)
        if key not in state.probes():
            state.probes()[key] = cache.prober().submit(_probe, model, weakref.ref(image))


def section(image: CaseImage, opinion: Opinion) -> None:
    """Show how steady each model's answer is. Ensembles are left out: their members are probed."""
    asked = networks(opinion.calling)
    if not asked:
        return
    waiting = not all(_done(image, model) for model in asked)
    st.fragment(_show, run_every=POLL if waiting else None)(image, opinion, asked)


def warning(image: CaseImage, opinion: Opinion) -> None:
    """Say beside the answer, as soon as it is known, that small changes of the picture change it."""
    asked = networks(opinion.calling)
    waiting = not all(_done(image, model) for model in asked)
    st.fragment(_warn, run_every=POLL if waiting else None)(image, opinion, asked)


def _warn(image: CaseImage, opinion: Opinion, models: list[Model]) -> None:
    """Redraws alone while it waits."""
    if not all(_done(image, model) for model in models):
        return
    streamlit_internals.stop_redrawing()
    found = results(image, opinion, state.probes())
    unsteady = {name: result for name, result in found.items() if len(result.changed) >= UNSTEADY * result.n}
    if unsteady:
        said = [f"{name} calls {len(r.changed)} of {r.n} altered copies something else" for name, r in unsteady.items()]
        st.markdown(f":material/swap_horiz: **Not a steady answer**: {widgets.escape(joined(said), 600)}.")


def results(image: CaseImage, opinion: Opinion, probes: Probes) -> dict[str, Stability]:
    """Return what is known by now, by model name; `probes` is what state.probes gives, so no session is needed."""
    found = {m: probes.get((image.key, m.id)) for m in networks(opinion.calling)}
    return {
        m.name: _at_mix(f.result(), m, opinion)
        for m, f in found.items()
        if f and f.done() and not f.cancelled() and not f.exception()
    }


def _at_mix(found: Stability, model: Model, opinion: Opinion) -> Stability:
    return stability.at_mix(found, opinion.shown[model.id].probabilities, partial(opinion.moved, model))


def _show(image: CaseImage, opinion: Opinion, models: list[Model]) -> None:
    """Redraws alone while it waits."""
    if all(_done(image, model) for model in models):
        streamlit_internals.stop_redrawing()
        _results(image, opinion, models)
        return
    n = len(stability.alterations(models[0].views, models[0].geometry))
    st.caption(f":material/hourglass_top: Asking again with {n} altered copies of the image.")


def _probe(model: Model, image: weakref.ref[CaseImage]) -> Stability:
    """Probe an image whose session is still there; one that ended waits no longer and keeps no picture in memory.

    Whoever waits for an answer goes first.
    """
    held = image()
    if held is None or model.id not in held.answers:
        raise CancelledError
    return stability.probe(model, held.pixels, held.answers[model.id], IMAGES.give_way)


def _done(image: CaseImage, model: Model) -> bool:
    future = state.probes().get((image.key, model.id))
    return future is not None and future.done()


def _results(image: CaseImage, opinion: Opinion, models: list[Model]) -> None:
    found: dict[str, Stability] = {}
    for model in models:
        result = _result(state.probes()[image.key, model.id])
        if result is None:
            st.caption(f"{widgets.escape(model.name)} could not be asked again; the server's log has the details.")
            continue
        result = _at_mix(result, model, opinion)
        found[model.name] = result
        icon = ":material/anchor:" if not result.changed else ":material/swap_horiz:"
        st.markdown(f"{icon} {widgets.escape(stability.sentence(result, model.name), 1000)}")
    st.caption(READING)
    if found:
        with st.expander("Copy by copy", icon=":material/table_rows:"):
            alt = "The call and probability of every model for every copy"
            st.dataframe(_table(found), hide_index=True, height="content", alt=alt)


def _result(future: Future[Stability] | None) -> Stability | None:
    error = future.exception() if future else None
    if future is None or error is not None:
        logger.error("a probe failed", exc_info=error)
        return None
    return future.result()


def _table(found: dict[str, Stability]) -> pd.DataFrame:
    """Return a row a copy: what was altered, and each model's call and its probability for its first call."""
    names = dict.fromkeys(look.name for result in found.values() for look in result.looks)
    table = pd.DataFrame({"copy": list(names)})
    for name, result in found.items():
        looks = {look.name: look for look in result.looks}
        table[name] = [NAMES[looks[c].called] if c in looks else "" for c in names]
        table[f"{name}: {NAMES[result.called]}"] = [
            percent(looks[c].probabilities[INDEX[result.called]]) if c in looks else "" for c in names
        ]
    return table
