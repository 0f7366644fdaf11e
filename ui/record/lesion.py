"""What is known of patient and lesion, and its place on a body map: shown, and corrected."""

from typing import Any

import streamlit as st

from dermlens.charts.case import body_map
from dermlens.charts.style import ink
from dermlens.errors import RecordError
from dermlens.record.cases import Case
from dermlens.record.open import Record
from dermlens.record.people import Who
from dermlens.record.save import About, edit, said_erased
from dermlens.record.vocabulary import CONSENTS, SIDES, SITES, VIEWS
from ui import widgets
from ui.record.fields import NO_CHOICE


def _index(known: tuple[str, ...], value: str | None) -> int | None:
    return known.index(value) if value in known else None


def show(record: Record, who: Who, case: Case) -> None:
    """Draw the fields with what is kept, and the body map; a click on it puts the lesion there."""
    found = case.lesion
    key = f"lesion-{found.id}"
    left, right = st.columns([2, 3], gap="medium")
    with left, st.form(key, border=False):
        site = st.selectbox("Site", SITES, _index(SITES, found.site), str.capitalize, placeholder=NO_CHOICE)
        side = st.selectbox("Side", SIDES, _index(SIDES, found.side), str.capitalize, placeholder=NO_CHOICE)
        label = st.text_input("Label", found.label or "", max_chars=60, placeholder="No name of a person")
        patient, consent = "", None
        if case.patient is None and record.keys is not None and who.may("name the patient"):
            patient = st.text_input(
                "Patient", max_chars=200, autocomplete="off", help="Only a keyed hash of it is kept."
            )
            consent = st.selectbox(
                "The patient agreed to", list(CONSENTS), None, CONSENTS.__getitem__, placeholder=NO_CHOICE
            )
            if any(image.picture for image in case.images):
                st.caption(
                    "Once a patient is named who has not agreed to keep pictures, those of this case are erased."
                )
        if st.form_submit_button("Keep") and who.may("save"):
            about = About(
                patient=patient, consent=consent, lesion_id=found.id, site=site or "", side=side or "", label=label
            )
            _edit(record, who, case, about)
    with right:
        for column, view in zip(st.columns(2), VIEWS, strict=True):
            known = found.map_view == view and found.map_x is not None and found.map_y is not None
            chosen = (found.map_x or 0.0, found.map_y or 0.0) if known else None
            said = "The lesion is marked." if chosen else "Not the lesion's side, or its place is not known."
            event: Any = column.plotly_chart(
                ink(body_map(view, chosen), widgets.text_colour()),
                key=f"{key}-{view}-{found.map_view}-{found.map_x}-{found.map_y}",
                config=dict[str, Any](displayModeBar=False),
                on_select="rerun",
                selection_mode=("points",),
                alt=f"Body map, {view}. {said}",
            )
            points = event["selection"]["points"]
            if points:
                x, y = float(points[0]["x"]), float(points[0]["y"])
                _edit(record, who, case, About(lesion_id=found.id, place=(view, x, y)))
    st.caption("Click on the body to put the lesion there.")


def _edit(record: Record, who: Who, case: Case, about: About) -> None:
    try:
        erased = edit(record, who.within(case.lesion.group_name), about)
    except RecordError as e:
        st.error(widgets.escape(str(e), 400), icon=":material/error:")
        return
    if erased:
        st.toast(said_erased(erased))
    st.rerun()
