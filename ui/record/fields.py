"""The fields that a person fills in: patient and lesion, a reading, an outcome."""

from datetime import UTC, date, datetime, time
from typing import Any

import streamlit as st

from dermlens.labels import CLASSES, DIAGNOSES, INDEX, NAMES
from dermlens.record.people import Who
from dermlens.record.readings import LONGEST_NOTE, Found, Judgement
from dermlens.record.save import About
from dermlens.record.vocabulary import BASES, CONSENTS, MANAGEMENTS, OTHER, SEXES, SIDES, SITES
from ui.record import session

DIAGNOSIS_CHOICES = (*CLASSES, OTHER)
NO_CHOICE = "Not said"
_ABOUT = ("patient", "birth", "sex", "consent", "site", "side", "label", "taken", "case", "device", "picture")


def diagnosis_name(code: str) -> str:
    """Return a diagnosis as an option of a menu."""
    return "Another, in words" if code == OTHER else f"{NAMES[code]} ({DIAGNOSES[INDEX[code]].group})"


def said(code: str, words: str | None) -> str:
    """Return a diagnosis as it is shown where it was given."""
    return f"{words or 'another'} (in words)" if code == OTHER else NAMES[code]


def about(image: str, who: Who, keeps_patients: bool, keeps_pictures: bool) -> None:
    """Draw the fields on patient and lesion of an image; `about_of` reads them.

    Args:
        image: its key. who: whose role decides which fields there are.
        keeps_patients: whether there is a key for pseudonyms. keeps_pictures: whether pictures can be kept.
    """
    typed = session.of_case().typed.get(image, {})
    for name in _ABOUT:
        if name in typed and _key(image, name) not in st.session_state:
            st.session_state[_key(image, name)] = typed[name]

    def kept(name: str) -> dict[str, Any]:
        return {"key": _key(image, name), "on_change": _remember, "args": (image, name)}

    if keeps_patients and who.may("name the patient"):
        st.text_input(
            "Patient",
            **kept("patient"),
            max_chars=200,
            placeholder="Number or name, as you always write it",
            help="Only a keyed hash of it is kept: the same words find the same patient again; without the key nothing "
            "leads back.",
            autocomplete="off",
        )
        one, two = st.columns(2)
        one.number_input("Birth year", 1900, datetime.now(UTC).year, None, 1, **kept("birth"))
        two.selectbox("Sex", SEXES, None, str.capitalize, **kept("sex"), placeholder=NO_CHOICE)
        st.selectbox(
            "The patient agreed to",
            list(CONSENTS),
            None,
            CONSENTS.__getitem__,
            **kept("consent"),
            placeholder=NO_CHOICE,
        )
    one, two = st.columns(2)
    one.selectbox("Site", SITES, None, str.capitalize, **kept("site"), placeholder=NO_CHOICE)
    two.selectbox("Side", SIDES, None, str.capitalize, **kept("side"), placeholder=NO_CHOICE)
    one, two = st.columns(2)
    one.text_input("Label", **kept("label"), max_chars=60, placeholder="No name of a person")
    two.date_input("Taken on", None, **kept("taken"), max_value="today")
    one, two = st.columns(2)
    one.number_input("Add to case no.", 1, None, None, 1, **kept("case"), placeholder="A new case")
    two.text_input("Device", **kept("device"), max_chars=60)
    if keeps_pictures and who.may("keep the picture"):
        st.checkbox("Keep the picture too, encrypted", **kept("picture"))


def _key(image: str, name: str) -> str:
    return f"about-{image}-{name}"


def _remember(image: str, name: str) -> None:
    session.of_case().typed.setdefault(image, {})[name] = st.session_state.get(_key(image, name))


def about_of(image: str) -> About:
    """Return what was filled into the fields of `about`; a field that was never drawn is empty."""
    typed = session.of_case().typed.get(image, {})

    def value(name: str) -> object:
        return st.session_state.get(_key(image, name), typed.get(name))

    taken = value("taken")
    return About(
        patient=str(value("patient") or ""),
        birth_year=_whole(value("birth")),
        sex=_text(value("sex")),
        consent=_text(value("consent")),
        lesion_id=_whole(value("case")),
        site=_text(value("site")),
        side=_text(value("side")),
        label=_text(value("label")),
        taken_at=datetime.combine(taken, time(12), UTC) if isinstance(taken, date) else None,
        device=str(value("device") or ""),
        keep_picture=bool(value("picture")),
    )


def in_short(given: About) -> str:
    """Return in a line what will be saved of patient and lesion; who the patient is stands in the field alone."""
    parts = [
        "patient named" if given.patient.strip() else "" if given.lesion_id else "no patient",
        f"case {given.lesion_id}" if given.lesion_id else "a new case",
        ", ".join(part for part in (given.site, given.side) if part),
        "with the picture" if given.keep_picture else "",
    ]
    said = " · ".join(part for part in parts if part)
    return said[:1].upper() + said[1:]


def reading(key: str) -> None:
    """Draw the fields of a reading; `reading_of` reads them."""
    st.selectbox("Diagnosis", DIAGNOSIS_CHOICES, None, diagnosis_name, key=f"{key}-diagnosis", placeholder="Choose one")
    st.text_input("In words, where it is another one", key=f"{key}-words", max_chars=120)
    st.slider("How sure are you?", 0, 100, 50, 5, format="%d %%", key=f"{key}-confidence")
    st.selectbox(
        "What would you do?",
        list(MANAGEMENTS),
        None,
        MANAGEMENTS.__getitem__,
        key=f"{key}-management",
        placeholder="Choose one",
    )
    st.text_area("Note", key=f"{key}-note", max_chars=LONGEST_NOTE, height=68, placeholder="No name of a person")


def reading_of(key: str, stage: str, seconds: float | None = None) -> Judgement | None:
    """Return the reading that was filled in; None while diagnosis or management are missing.

    Args:
        key: as for `reading`. stage: key of vocabulary.STAGES. seconds: that it took.
    """
    diagnosis, management = (_text(st.session_state.get(f"{key}-{name}")) for name in ("diagnosis", "management"))
    words = str(st.session_state.get(f"{key}-words") or "").strip()
    if diagnosis is None or management is None or (diagnosis == OTHER and not words):
        return None
    note = str(st.session_state.get(f"{key}-note") or "")
    confidence = _whole(st.session_state.get(f"{key}-confidence"))
    return Judgement(stage, diagnosis, confidence or 0, management, words, note, seconds)


def outcome(key: str) -> Found | None:
    """Draw the fields of an outcome; returns it once it is complete."""
    one, two = st.columns(2)
    code = one.selectbox(
        "It turned out to be", DIAGNOSIS_CHOICES, None, diagnosis_name, key=f"{key}-diagnosis", placeholder="Choose one"
    )
    basis = two.selectbox("By", list(BASES), None, BASES.__getitem__, key=f"{key}-basis", placeholder="Choose one")
    one, two = st.columns(2)
    words = one.text_input("In words, where it is another one", key=f"{key}-words", max_chars=120)
    source = two.text_input("Source", key=f"{key}-source", max_chars=120, placeholder="Such as the number of a report")
    if code is None or basis is None or (code == OTHER and not words.strip()):
        return None
    return Found(code, basis, words, source)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None
