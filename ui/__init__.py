"""Streamlit helpers: caches, session state and the widgets that two pages share."""

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

# Streamlit 1.67 takes a folder pages/ for its older kind of app until told otherwise, and would open a deep link
# without Home.py, and so without asking who it is. The server imports this package before it serves anyone; where there
# is no server, as in tests, a page imports it first and starts over.
_taken_for_the_older_kind = PagesManager.uses_pages_directory
PagesManager.uses_pages_directory = False
if _taken_for_the_older_kind:
    st.rerun()
