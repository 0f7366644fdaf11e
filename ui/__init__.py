"""Streamlit helpers: caches, session state and the widgets that two pages share."""

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

if PagesManager.uses_pages_directory:
    # Until st.navigation has run once, Streamlit 1.67 takes pages/ for its older kind of app and opens a deep link
    # without Home.py. Every page imports this package first: say once that it is the new kind, and start over.
    PagesManager.uses_pages_directory = False
    st.rerun()
