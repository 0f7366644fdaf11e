"""The open record, who works with it, and the threads that save: no page waits for a slow database."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace

import streamlit as st

from dermlens.errors import RecordError
from dermlens.record import settings
from dermlens.record.open import Record, open_record
from dermlens.record.people import NOBODY_SIGNED_IN, Who, signed_in
from dermlens.record.readings import Judgement
from dermlens.record.save import Saved, Saving, save
from dermlens.record.settings import Settings
from ui import state
from ui.access import sign_in

AT_ONCE = 8
"""Savings that one server works on at the same time."""
USUAL = 0.02
"""Seconds that a page waits for a saving to end before it says that it is under way."""
GROUP = "record_group"
_MET = "record_met"
logger = logging.getLogger(__name__)


def record() -> Record:
    """Return the open record; raises as `open_record`."""
    settings.need_packages()
    return _opened(settings.read())


@st.cache_resource(show_spinner=False, max_entries=4)
def _opened(given: Settings) -> Record:
    opened = open_record(given)
    if opened.notice:
        logger.warning("%s", opened.notice)
    return opened


def who() -> Who:
    """Return who is at work, for the group that was chosen; RecordError if the sign-in gives no role or group."""
    if not sign_in.sign_in_is_set_up():
        return NOBODY_SIGNED_IN
    given = settings.read()
    listed = st.secrets.get("record", {}).get("people", {}) if "record" in st.secrets else {}
    person = signed_in(st.user.to_dict(), given.role_claim, given.group_claim, listed)
    chosen = st.session_state.get(GROUP)
    return person.within(chosen) if chosen in person.groups else person


def choose_group() -> None:
    """Let somebody of several groups choose the one to work for."""
    groups = who().groups
    if len(groups) > 1:
        st.selectbox("Group", sorted(groups), key=GROUP, persist_state="session", width=240)


@dataclass(eq=False)
class Entry:
    """What a session has saved of one image, or tries to."""

    saving: Saving
    who: Who
    future: Future[Saved]
    seen_at: float
    """when the answer was first shown, time.monotonic()"""
    after: Future[Saved] | None = None
    """of the reading with the answer, where the image was saved before"""

    @property
    def saved(self) -> Saved | None:
        """Where it is, once it is saved."""
        return self.future.result() if self.future.done() and self.future.exception() is None else None

    @property
    def problem(self) -> str:
        """Why it could not be saved, as a sentence; empty if it was, or is under way."""
        for future in (self.future, self.after):
            error = future.exception() if future is not None and future.done() else None
            if error is not None:
                return str(error) if isinstance(error, RecordError) else "It could not be saved; the log says why."
        return ""

    @property
    def awaits_second(self) -> bool:
        """Whether the person read the image before the answer, and not yet with it."""
        stages = {reading.stage for reading in self.saving.readings}
        return "before" in stages and "after" not in stages

    @property
    def under_way(self) -> bool:
        """Whether a thread is at work on it."""
        return not all(future.done() for future in (self.future, self.after) if future is not None)


@dataclass(eq=False)
class OfCase:
    """What this session holds of its case for the record, by the key of the image; gone with "New case"."""

    entries: dict[str, Entry] = field(default_factory=dict)
    """what was saved"""
    first_seen: dict[str, float] = field(default_factory=dict)
    """in a study, when the image was first shown, time.monotonic()"""
    met: dict[str, bool] = field(default_factory=dict)
    """in a study, whether the record says that the person knows the answer"""
    typed: dict[str, dict[str, object]] = field(default_factory=dict)
    """what was filled in on patient and lesion: Streamlit forgets fields that are not drawn"""


def of_case() -> OfCase:
    """Return what this session holds of its case."""
    return st.session_state.setdefault(state.RECORD, OfCase())


def entries() -> dict[str, Entry]:
    """Return what this session saved of its case, by the key of the image."""
    return of_case().entries


def met() -> set[str]:
    """Return the hashes of the pixels whose answer this session has saved, or tried to; "New case" leaves them."""
    return st.session_state.get(_MET, set())


def begin(key: str, saving: Saving, person: Who, seen_at: float) -> None:
    """Save in a thread, and wait for as long as it usually takes."""
    mine = entries()  # first: Streamlit breaks a run off where it asks for the session, if there was another click
    st.session_state.setdefault(_MET, set()).add(saving.image["pixels_sha256"])
    mine[key] = entry = Entry(saving, person, _savers().submit(_logged_save, saving, person), seen_at)
    wait([entry.future], timeout=USUAL)


def again(key: str, saving: Saving) -> None:
    """Try again what failed; saving: that of before, or what became of it."""
    entry = entries()[key]
    if entry.saved is None:
        begin(key, saving, entry.who, entry.seen_at)
    elif entry.problem:
        _begin_after(entry)


def add_after(key: str, judgement: Judgement) -> None:
    """Save the reading with the answer, by the saving of the image: the attempt that ends last adds what is missing."""
    entry = entries()[key]
    saving = replace(entry.saving, readings=(*entry.saving.readings, judgement))
    if entry.saved is None:
        begin(key, saving, entry.who, entry.seen_at)
    else:
        entry.saving = saving
        _begin_after(entry)


def _begin_after(entry: Entry) -> None:
    entry.after = _savers().submit(_logged_save, entry.saving, entry.who)
    wait([entry.after], timeout=USUAL)


def _logged_save(saving: Saving, person: Who) -> Saved:
    try:
        return save(record(), person, saving)
    except RecordError as e:
        logger.warning("not saved: %s", e)
        raise
    except Exception:
        logger.exception("a saving failed")
        raise


@st.cache_resource(show_spinner=False)
def _savers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AT_ONCE, thread_name_prefix="record")
