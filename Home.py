"""The dashboard: `streamlit run Home.py`."""

from pathlib import Path

import streamlit as st

from ui.streamlit_internals import keep_pages_within_home, where_no_page_runs

keep_pages_within_home()
if __name__ == "__main__":  # a session runs this file as its script
    from ui.access import frame, sign_in
    from ui.pages import HOME, shown

    UI = Path(__file__).parent / "ui"
    st.set_page_config(page_title="Dermlens", page_icon=str(UI / "mark.svg"), layout="wide")
    st.logo(str(UI / "logo.svg"), icon_image=str(UI / "mark.svg"))
    st.html(UI / "theme.css")
    chosen = st.navigation(
        [st.Page(page.path, title=page.title, icon=page.icon, default=page is HOME) for page in shown()],
        position="sidebar" if sign_in.admitted() else "hidden",
    )
    frame.run(chosen.run)
else:  # `streamlit run` imports it once, before it serves anyone
    from dermlens.errors import ConfigError

    with where_no_page_runs():
        from ui.access import lifespan, middleware

    lifespan.prepare()
    try:
        layers = middleware.middleware()
    except ConfigError as e:
        raise SystemExit(f"Not started: {e}") from e
    app = st.App(__file__, middleware=layers, lifespan=lifespan.lifespan)
