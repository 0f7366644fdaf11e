"""What one session holds: the images of the open case. Gone with the session or with "New case"."""

import gc
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from weakref import WeakSet

import numpy as np
import streamlit as st

from dermlens.case.image import CaseImage, examine, shown_name
from dermlens.case.stability import Stability
from dermlens.errors import BusyError, ImageError
from dermlens.models.model import AnyModel
from dermlens.server.limiter import IMAGES
from dermlens.server.memory import give_back
from ui import waiting as place
from ui.cache import Problem

MAX_KEPT = 256 * 2**20
"""Most bytes of pixels one session keeps."""
MAX_WAITING = 256 * 2**20
"""Most bytes of files that wait in one session to be examined."""
MAX_WAITING_OF_ALL = 2**30
"""Most bytes of files that wait in all sessions together."""
MAX_KEPT_BY_ALL = 2 * 2**30
"""Most bytes of pixels that all sessions keep together."""
IMAGE = "image"
NONCE = "nonce"
PREVALENCE = "prevalence"
STORED_ASPECT = "stored_aspect"
OF_A_CASE = (PREVALENCE, STORED_ASPECT)
"""Keys of widgets whose choice belongs to one case and must not change the answers to the next one."""
_IMAGES = "case_images"
_REFUSED = "case_refused"
_WAITING = "case_waiting"
_SKIPPED = "case_skipped"
_DRAWN = "case_drawn"
_PROBES = "case_probes"
RECORD = "case_record"
"""What of the case was saved to the record."""


@dataclass(frozen=True, eq=False)
class HandedIn:
    """A file that waits to be examined."""

    data: bytes
    name: str
    synthetic: bool
    """whether the project drew it"""


_alive: WeakSet[CaseImage] = WeakSet()
"""The images of all sessions, for as long as a session holds them."""
_handed_in: WeakSet[HandedIn] = WeakSet()
"""The files that wait in all sessions."""


def images() -> dict[str, CaseImage]:
    """Return the images of the case, oldest first."""
    return st.session_state.setdefault(_IMAGES, {})


def refused() -> list[Problem]:
    """Return the files that could not be used, each with its sentence."""
    return st.session_state.setdefault(_REFUSED, [])


def waiting() -> list[HandedIn]:
    """Return what was handed in and not examined yet."""
    return st.session_state.setdefault(_WAITING, [])


def skip() -> None:
    """Count a file of a folder that is not an image."""
    st.session_state[_SKIPPED] = skipped() + 1


def skipped() -> int:
    """Return how many files of a folder were passed over."""
    return int(st.session_state.get(_SKIPPED, 0))


def drawn() -> dict[tuple[str, ...], np.ndarray]:
    """Return the heat maps drawn by slow methods, by image, model, method and class; they are the session's alone."""
    return st.session_state.setdefault(_DRAWN, {})


def probes() -> dict[tuple[str, str], Future[Stability] | None]:
    """Return the probes of dermlens.case.stability by image and model; None is one that was asked for and not begun."""
    return st.session_state.setdefault(_PROBES, {})


def hand_in(data: bytes, name: str, synthetic: bool = False) -> None:
    """Put a file in line for `examine_waiting`; one that would make the session hold too much is refused."""
    name = shown_name(name)
    if sum(len(item.data) for item in waiting()) + len(data) > MAX_WAITING:
        most = f"More than {MAX_WAITING / 2**20:.0f} MiB were uploaded at once."
        refused().append(Problem(name, f"{most} Upload this file again once the others have been examined."))
    elif sum(len(item.data) for item in set(_handed_in)) + len(data) > MAX_WAITING_OF_ALL:
        refused().append(Problem(name, "The server cannot hold any more files now. Upload this file again later."))
    else:
        item = HandedIn(data, name, synthetic)
        _handed_in.add(item)
        waiting().append(item)


def examine_waiting(models: Sequence[AnyModel], stored_aspect: str) -> None:
    """Examine what is in line, with progress; a bad file is noted and does not stop the rest.

    Every image takes its own turn among those of all sessions, so that a large case does not hold the others up. Where
    the server is too busy, what is in line stays there for another attempt.
    """
    if not waiting():
        return
    bar = st.progress(0.0, "Reading the image")
    total = len(waiting())
    while waiting():
        item = waiting()[0]
        number = total - len(waiting()) + 1
        try:
            with place.turn(IMAGES, bar, (number - 1) / total):
                bar.progress((number - 1) / total, f"Examining image {number} of {total}")
                _examine(item, models, stored_aspect)
        except BusyError as e:
            bar.empty()
            st.warning(str(e), icon=":material/hourglass_top:")
            st.button("Try again", key="try-again", icon=":material/refresh:")
            return
        except ImageError as e:
            refused().append(Problem(item.name, str(e)))
        # Only now, and only this very one: a run that Streamlit stops half way leaves it to the next run, which may
        # have begun already.
        waiting()[:] = [other for other in waiting() if other is not item]
        give_back()
    bar.empty()


def _all_keep_too_much() -> bool:
    def kept() -> int:
        return sum(image.pixels.nbytes for image in set(_alive))

    if kept() <= MAX_KEPT_BY_ALL:
        return False
    gc.collect()  # sessions that have ended are forgotten late, as they refer to themselves
    return kept() > MAX_KEPT_BY_ALL


def _examine(item: HandedIn, models: Sequence[AnyModel], stored_aspect: str) -> None:
    if sum(image.pixels.nbytes for image in images().values()) > MAX_KEPT:
        raise ImageError("The case is full. Start a new case, or score a folder with python -m dermlens.score.")
    if _all_keep_too_much():
        raise BusyError("The server cannot hold any more images now. What you uploaded is kept. Try again later.")
    image = examine(item.data, item.name, models, synthetic=item.synthetic, stored_aspect=stored_aspect)
    images()[image.key] = image
    _alive.add(image)
    select(image.key)


def select(key: str) -> None:
    """Choose the image that every page shows."""
    st.session_state[IMAGE] = key


def current() -> CaseImage | None:
    """Return the chosen image, or None if the case is empty; the page's link is made to name it."""
    chosen = images().get(st.session_state.get(IMAGE, "")) or next(iter(images().values()), None)
    if chosen is not None and st.query_params.get(IMAGE) != chosen.key:
        st.query_params[IMAGE] = chosen.key
    return chosen


def link_is_dead() -> bool:
    """Whether the page was opened by a link to an image that this session does not hold."""
    wanted = st.query_params.get(IMAGE)
    return wanted is not None and wanted not in images()


def new_case() -> None:
    """Forget every image, refusal and choice, so that two patients are never mixed up."""
    for probe in probes().values():
        if probe:
            probe.cancel()
    for key in (_IMAGES, _REFUSED, _WAITING, _SKIPPED, _DRAWN, _PROBES, RECORD, IMAGE, *OF_A_CASE):
        st.session_state.pop(key, None)
    for key in (IMAGE, *OF_A_CASE):
        st.query_params.pop(key, None)
    renew_uploader()
    give_back()


def renew_uploader() -> None:
    """Give the uploader a new identity: it comes up empty."""
    st.session_state[NONCE] = st.session_state.get(NONCE, 0) + 1
