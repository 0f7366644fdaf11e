"""What is known of patient and lesion, and its place on a body map: shown, and corrected."""

from typing import Any

import streamlit as st

from dermlens.charts.case import body_map
from dermlens.charts.style import ink
from dermlens.errors import RecordError
from dermlens.record.cases import Case
from dermlens.record.open import Record
from dermlens.record.people import Who
from dermlens.record.save import About, Seen, edit, said_erased
from dermlens.record.vocabulary import CONSENTS, SIDES, SITES, VIEWS
from ui import widgets
from ui.record.fields import NO_CHOICE

TOLD = "record_told"
"""Why a change of a case was not kept, to be said once."""


def _index(known: tuple[str, ...], value: str | None) -> int | None:
    return known.index(value) if value in known else None


def show(record: Record, who: Who, case: Case) -> None:
    """Draw the fields with what is kept, and the body map; a click on it puts the lesion there."""
    found = case.lesion
    seen = Seen(found.site, found.side, found.label)
    key = f"lesion-{found.id}-{hash(seen)}"
    left, right = st.columns([2, 3], gap="medium")
    with left, st.form(key, border=False):
        st.selectbox("Site", SITES, _index(SITES, found.site), str.capitalize, f"{key}-site", placeholder=NO_CHOICE)
        st.selectbox("Side", SIDES, _index(SIDES, found.side), str.capitalize, f"{key}-side", placeholder=NO_CHOICE)
        st.text_input("Label", found.label or "", 60, f"{key}-label", placeholder="No name of a person")
        if case.patient is None and record.keys is not None and who.may("name the patient"):
            st.text_input(
                "Patient", "", 200, f"{key}-patient", autocomplete="off", help="Only a keyed hash of it is kept."
            )
            st.selectbox(
                "The patient agreed to",
                list(CONSENTS),
                None,
                CONSENTS.__getitem__,
                f"{key}-consent",
                placeholder=NO_CHOICE,
            )
            if any(image.picture for image in case.images):
                st.caption(
                    "Once a patient is named who has not agreed to keep pictures, those of this case are erased."
                )
        st.form_submit_button("Keep", on_click=_keep, args=(record, who, found.id, seen, key))
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
                if _edit(record, who, About(lesion_id=found.id, place=(view, x, y))):
                    st.rerun()
                st.error(widgets.escape(st.session_state.pop(TOLD), 600), icon=":material/error:")
    st.caption("Click on the body to put the lesion there.")


def _keep(record: Record, who: Who, number: int, seen: Seen, key: str) -> None:
    """Keep what stands in the fields; `seen` is what the person saw in them at first."""
    given = {name: st.session_state.get(f"{key}-{name}") for name in ("site", "side", "label", "patient", "consent")}
    about = About(
        patient=given["patient"] or "",
        consent=given["consent"],
        lesion_id=number,
        site=given["site"] or "",
        side=given["side"] or "",
        label=given["label"] or "",
    )
    _edit(record, who, about, seen)


def _edit(record: Record, who: Who, about: About, seen: Seen | None = None) -> bool:
    """Return whether it was kept; if not, TOLD says why."""
    try:
        erased = edit(record, who, about, seen=seen)
    except RecordError as e:
        st.session_state[TOLD] = str(e)
        return False
    if erased:
        st.toast(said_erased(erased))
    return True
