"""What is known of patient and lesion, and its place on a body map: shown, and corrected."""

import streamlit as st

from dermlens.charts.record import body_map
from dermlens.errors import RecordError
from dermlens.record.cases import Case
from dermlens.record.open import Record
from dermlens.record.people import Who
from dermlens.record.save import About, edit
from dermlens.record.vocabulary import SIDES, SITES, VIEWS
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
        patient = ""
        if case.patient is None and record.keys is not None and who.may("name the patient"):
            patient = st.text_input(
                "Patient", max_chars=200, autocomplete="off", help="Only a keyed hash of it is kept."
            )
        if st.form_submit_button("Keep") and who.may("save"):
            _edit(record, who, case, About(patient=patient, lesion_id=found.id, site=site, side=side, label=label))
    with right:
        for column, view in zip(st.columns(2), VIEWS, strict=True):
            at = (found.map_x, found.map_y) if found.map_view == view else None
            chosen = None if at is None or None in at else at
            said = "The lesion is marked." if chosen else "Not the lesion's side, or its place is not known."
            event = column.plotly_chart(
                widgets.style.ink(body_map(view, chosen), widgets.text_colour()),  # type: ignore[arg-type]
                key=f"{key}-{view}-{found.map_view}-{found.map_x}-{found.map_y}",
                config={"displayModeBar": False},
                on_select="rerun",
                selection_mode="points",
                alt=f"Body map, {view}. {said}",
            )
            points = event["selection"]["points"]
            if points:
                x, y = float(points[0]["x"]), float(points[0]["y"])
                _edit(record, who, case, About(lesion_id=found.id, place=(view, x, y)))
    st.caption("Click on the body to put the lesion there.")


def _edit(record: Record, who: Who, case: Case, about: About) -> None:
    try:
        edit(record, who.within(case.lesion.group_name), about)
    except RecordError as e:
        st.error(widgets.escape(str(e), 400), icon=":material/error:")
        return
    st.rerun()
