"""Record: the cases that were kept, one of them in full, and what the record is for."""

import streamlit as st

from dermlens.errors import RecordError
from ui import settings, widgets
from ui.pages import RECORD


def page() -> None:
    widgets.head(RECORD)
    if not settings.keeps_record():
        widgets.nothing_here("No record is kept here.", "The README says how to switch it on.")
        return
    from ui.record import case_list, case_page, exchange, second_look, session, upkeep

    record, who = session.record(), session.who()
    if record.notice:
        st.warning(widgets.escape(record.notice, 600), icon=":material/key:")
    upkeep.expire(record)
    with record.database.reading() as database:  # one session a run
        case = st.query_params.get("case", "")
        if case:
            case_page.show(database, record, who, case)
            return
        session.choose_group()
        sections = {
            "Cases": lambda: case_list.section(database, record, who),
            "Worth a second look": lambda: second_look.section(database, record, who),
            "In and out": lambda: exchange.section(database, record, who),
            "Upkeep": lambda: upkeep.section(database, record, who),
        }
        tabs = st.tabs(list(sections), key="part", on_change="rerun", bind="query-params")
        for tab, show in zip(tabs, sections.values(), strict=True):
            if tab.open:
                with tab:
                    try:
                        show()
                    except RecordError as e:
                        st.info(widgets.escape(str(e), 400), icon=":material/lock:")


page()
