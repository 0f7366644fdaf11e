"""What one session holds: the images of the open case. Gone with the session or with "New case"."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import chain, count

import numpy as np
import streamlit as st

from dermlens.case.image import KEPT_SIDE, CaseImage, examine, shown_name
from dermlens.case.stability import Stability
from dermlens.errors import BusyError, ImageError
from dermlens.ingest.read import dicom_identity
from dermlens.models.model import AnyModel
from dermlens.server.limiter import IMAGES
from dermlens.server.memory import give_back
from dermlens.server.shares import VISITS, Shares, Who
from ui import streamlit_internals
from ui import waiting as place
from ui.cache import Problem
from ui.settings import sends_to_pacs

KEPT_AT_MOST = 3 * KEPT_SIDE**2
"""Bytes of pixels that one image can keep."""
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
_SAVED = "case_saved"
_SOURCES = "case_sources"
SENT = "case_sent"
"""What of the case was handed over to be sent to the PACS."""
RECORD = "case_record"
"""What of the case was saved to the record."""


@dataclass(frozen=True, eq=False)
class HandedIn:
    """A file that waits to be examined."""

    data: bytes
    name: str
    synthetic: bool
    """whether the project drew it"""


def visitor() -> Who | None:
    """Return whose session this is, None where no server knows it, as in a test of one page."""
    session = streamlit_internals.session_id()
    return VISITS.who(session) if VISITS.known(session) else None


def _give(shares: Shares, amount: int) -> None:
    if (who := visitor()) and amount:
        shares.give(who.session, amount)


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


def sources() -> dict[str, dict[str, str]]:
    """Return which DICOM object each image came from, and whose; empty unless there is a PACS to send back to."""
    return st.session_state.setdefault(_SOURCES, {})


def probes() -> dict[tuple[str, str], Future[Stability]]:
    """Return the probes of dermlens.case.stability by image and model."""
    return st.session_state.setdefault(_PROBES, {})


def linked(key: str) -> str | None:
    """Return what a page's link says of a widget that has not been drawn yet in this session; None if it has been."""
    return None if key in st.session_state else st.query_params.get(key)


def saved() -> set[str]:
    """Return the keys of the images whose answers were taken away."""
    found: set[str] = st.session_state.setdefault(_SAVED, set())
    return found


def note_saved(keys: Iterable[str]) -> None:
    """Remember that the answers to some images were taken away."""
    saved().update(keys)


def unsaved() -> bool:
    """Whether there is an answer to an uploaded image that was never taken away."""
    taken = saved()
    return any(image.answers and not image.synthetic and key not in taken for key, image in images().items())


def leave_out_outdated(models: Iterable[AnyModel]) -> None:
    """Take away what a model said of the case before it was published or fitted again, and say so in its place."""
    present = {model.id: (model.identity, model.name) for model in models}
    for image in images().values():
        for model_id, answer in tuple(image.answers.items()):
            identity, name = present.get(model_id, (answer.identity, ""))
            if answer.identity != identity:
                del image.answers[model_id]
                image.failures[model_id] = (
                    f"{name} was published or fitted again after it had answered. Upload the image again."
                )
                _forget_worked_out(image.key, model_id)


def hand_in(data: bytes, name: str, synthetic: bool = False) -> None:
    """Put a file in line for `examine_waiting`; one that would make the session hold too much is refused."""
    name, who = shown_name(name), visitor()
    line, no = waiting(), refused()  # first: Streamlit breaks a run off where it asks for the session
    refusal = VISITS.files.take(who, len(data)) if who else None
    if refusal == "own":
        said = "More was uploaded at once than is held. Upload this file again once the others have been examined."
        no.append(Problem(name, said))
    elif refusal:
        no.append(Problem(name, "The server cannot hold any more files now. Upload this file again later."))
    else:
        line.append(HandedIn(data, name, synthetic))


def examine_waiting(models: Sequence[AnyModel], stored_aspect: str) -> None:
    """Examine what is in line, with progress; a bad file is noted and does not stop the rest.

    Every image takes its own turn among those of all sessions, so that a large case does not hold the others up. Where
    the server is too busy, what is in line stays there for another attempt.
    """
    if not waiting():
        return
    space = st.empty()
    with space.container(key="progress"):
        bar = st.progress(0.0, "Reading the image")
    total = len(waiting())
    while waiting():
        item = waiting()[0]
        number = total - len(waiting()) + 1
        try:
            with place.turn(IMAGES, bar, (number - 1) / total, visitor()):
                bar.progress((number - 1) / total, f"Examining image {number} of {total}")
                _examine(item, models, stored_aspect)
        except BusyError as e:
            space.empty()
            st.warning(str(e), icon=":material/hourglass_top:")
            st.button("Try again", key="try-again", icon=":material/refresh:")
            return
        except ImageError as e:
            refused().append(Problem(item.name, str(e)))
        # Only now, and only this very one: a run that Streamlit stops half way leaves it to the next run, which may
        # have begun already.
        if any(other is item for other in waiting()):
            waiting()[:] = [other for other in waiting() if other is not item]
            _give(VISITS.files, len(item.data))
        give_back()
    if total > 1:  # none of many is chosen for having come last
        st.session_state.pop(IMAGE, None)
    space.empty()


def _examine(item: HandedIn, models: Sequence[AnyModel], stored_aspect: str) -> None:
    who = visitor()
    refusal = VISITS.kept.take(who, KEPT_AT_MOST) if who else None
    if refusal == "own":
        raise ImageError(
            "The case is full; cases that are open in other pages of yours count too. Start a new case, or score a "
            "folder with python -m dermlens.score."
        )
    if refusal:
        raise BusyError("The server cannot hold any more images now. What you uploaded is kept. Try again later.")
    spare = KEPT_AT_MOST
    try:
        source = dicom_identity(item.data) if sends_to_pacs() else {}
        image = examine(item.data, item.name, models, synthetic=item.synthetic, stored_aspect=stored_aspect)
        image = replace(image, key=_key(image))
        spare -= image.pixels.nbytes - sum(kept_bytes(key) for key in _replaced_by(image))
        for key in _replaced_by(image):
            _forget(key, but_its_place=key == image.key)
        sources()[image.key] = source
        images()[image.key] = image
    finally:
        _give(VISITS.kept, spare)
    if who and image.answers:
        VISITS.answered(who.session)
    select(image.key)


def _key(image: CaseImage) -> str:
    """Return a key that no image of another name has; the same file under two names is two rows of the case."""
    keys = chain([image.key], (f"{image.key}-{number}" for number in count(2)))
    return next(key for key in keys if key not in images() or images()[key].name == image.name)


def _replaced_by(image: CaseImage) -> list[str]:
    """Return the keys of the images in whose place one comes: the same file, whatever aspect it was read with."""
    return [key for key, held in images().items() if (held.sha256, held.name) == (image.sha256, image.name)]


def _forget(key: str, but_its_place: bool) -> None:
    """Forget an image and what was worked out from its pixels; `but_its_place`: leave it in the order of the case."""
    _forget_worked_out(key)
    if not but_its_place:
        del images()[key]
        sources().pop(key, None)


def _forget_worked_out(*of: str) -> None:
    """Forget probes and heat maps of an image, or of an image and a model."""
    for probe in [probe for probe in probes() if probe[: len(of)] == of]:
        probes().pop(probe).cancel()
    for map_of in [map_of for map_of in drawn() if map_of[: len(of)] == of]:
        del drawn()[map_of]


def kept_bytes(key: str) -> int:
    """Return the bytes of pixels that the case keeps of an image, 0 if it does not have it."""
    return images()[key].pixels.nbytes if key in images() else 0


def select(key: str) -> None:
    """Choose the image that every page shows."""
    st.session_state[IMAGE] = key


def chosen() -> bool:
    """Whether an image of the case is chosen."""
    return st.session_state.get(IMAGE) in images()


def current() -> CaseImage | None:
    """Return the chosen image, or None if the case is empty; the page's link is made to name it."""
    found = images().get(st.session_state.get(IMAGE, "")) or next(iter(images().values()), None)
    if found is not None and st.query_params.get(IMAGE) != found.key:
        st.query_params[IMAGE] = found.key
    return found


def link_is_dead() -> bool:
    """Whether the page was opened by a link to an image that this session does not hold."""
    wanted = st.query_params.get(IMAGE)
    return wanted is not None and wanted not in images()


def new_case() -> None:
    """Forget every image, refusal and choice, so that two patients are never mixed up."""
    for probe in probes().values():
        probe.cancel()
    kept, line = dict(images()), list(waiting())
    for key in (
        _IMAGES,
        _REFUSED,
        _WAITING,
        _SKIPPED,
        _DRAWN,
        _PROBES,
        _SAVED,
        _SOURCES,
        SENT,
        RECORD,
        IMAGE,
        *OF_A_CASE,
    ):
        st.session_state.pop(key, None)
    _give(VISITS.kept, sum(image.pixels.nbytes for image in kept.values()))
    _give(VISITS.files, sum(len(item.data) for item in line))
    for key in (IMAGE, *OF_A_CASE):
        st.query_params.pop(key, None)
    renew_uploader()
    give_back()


def renew_uploader() -> None:
    """Give the uploader a new identity: it comes up empty."""
    st.session_state[NONCE] = st.session_state.get(NONCE, 0) + 1
