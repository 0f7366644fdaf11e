"""What one session holds: the images of the case at hand. Gone with the session or with "New case"."""

import numpy as np
import streamlit as st

from dermlens.case import CaseImage, examine
from dermlens.errors import ImageError
from dermlens.registry import Model
from ui.cache import Problem

MAX_KEPT = 256 * 2**20
"""Most bytes of pixels one session keeps."""
IMAGE, NONCE = "image", "nonce"
_IMAGES, _REFUSED, _WAITING = "case_images", "case_refused", "case_waiting"
_SKIPPED, _DRAWN = "case_skipped", "case_drawn"


def images() -> dict[str, CaseImage]:
    """Return the images of the case, oldest first."""
    return st.session_state.setdefault(_IMAGES, {})


def refused() -> list[Problem]:
    """Return the files that could not be used, each with its sentence."""
    return st.session_state.setdefault(_REFUSED, [])


def waiting() -> list[tuple[bytes, str, bool]]:
    """Return what was handed in and not examined yet: bytes, name, whether the project drew it."""
    return st.session_state.setdefault(_WAITING, [])


def skip() -> None:
    """Count a file of a folder that is no image."""
    st.session_state[_SKIPPED] = skipped() + 1


def skipped() -> int:
    """Return how many files of a folder were passed over."""
    return int(st.session_state.get(_SKIPPED, 0))


def drawn() -> dict[tuple[str, ...], np.ndarray]:
    """Return the heat maps drawn by slow methods, by image, model, method and class; they are the session's alone."""
    return st.session_state.setdefault(_DRAWN, {})


def hand_in(data: bytes, name: str, synthetic: bool = False) -> None:
    """Put a file in line for `examine_waiting`."""
    waiting().append((data, name, synthetic))


def examine_waiting(models: list[Model], stored_aspect: str) -> None:
    """Examine what is in line, with progress; a bad file is noted and does not stop the rest."""
    line = waiting()
    if not line:
        return
    bar = st.progress(0.0, "Reading the image")
    total = len(line)
    while line:
        data, name, synthetic = line.pop(0)
        bar.progress((total - len(line) - 1) / total, f"Examining image {total - len(line)} of {total}")
        kept = sum(image.pixels.nbytes for image in images().values())
        try:
            if kept > MAX_KEPT:
                raise ImageError("The case is full. Start a new case, or score a folder with python -m dermlens.score.")
            image = examine(data, name, models, synthetic=synthetic, stored_aspect=stored_aspect)
        except ImageError as e:
            refused().append(Problem(name, str(e)))
            continue
        images()[image.key] = image
        select(image.key)
    bar.empty()


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
    for key in (_IMAGES, _REFUSED, _WAITING, _SKIPPED, _DRAWN, IMAGE):
        st.session_state.pop(key, None)
    st.query_params.pop(IMAGE, None)
    renew_uploader()


def renew_uploader() -> None:
    """Give the uploader a new identity: it comes up empty, and Streamlit drops the files of the old one."""
    st.session_state[NONCE] = st.session_state.get(NONCE, 0) + 1
