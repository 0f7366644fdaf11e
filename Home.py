"""The dashboard: `streamlit run Home.py`."""

from pathlib import Path

import streamlit as st

if __name__ == "__main__":  # a session runs this file as its script
    from ui.access import frame, sign_in

    UI = Path(__file__).parent / "ui"
    st.set_page_config(page_title="Dermlens", page_icon=str(UI / "mark.svg"), layout="wide")
    st.logo(str(UI / "logo.svg"), icon_image=str(UI / "mark.svg"))
    st.html(UI / "theme.css")
    page = st.navigation(
        [
            st.Page("pages/home.py", title="Home", icon=":material/home:", default=True),
            st.Page("pages/predict.py", title="Predict", icon=":material/biotech:"),
            st.Page("pages/compare.py", title="Compare models", icon=":material/compare_arrows:"),
            st.Page("pages/metrics.py", title="Metrics", icon=":material/grid_on:"),
            st.Page("pages/training_curves.py", title="Training curves", icon=":material/show_chart:"),
            st.Page("pages/about_data.py", title="About the data", icon=":material/dataset:"),
        ],
        position="sidebar" if sign_in.admitted() else "hidden",
    )
    frame.run(page.run)
else:  # `streamlit run` imports it once, before it serves anyone
    from dermlens.server import memory
    from ui.access import middleware

    memory.keep_few_heaps()
    app = st.App(__file__, middleware=middleware.middleware())
