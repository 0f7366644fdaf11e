"""The browser's own question before a page with unsaved answers is closed or reloaded."""

import streamlit as st

SCRIPT = (
    "window.onbeforeunload = event => {"
    " if (document.querySelector('.st-key-unsaved')) { event.preventDefault(); event.returnValue = true; } };"
)
"""Runs in the page; its hash is in the policy of ui.access.middleware, so no other script does."""


def warn() -> None:
    """Have the browser ask for as long as an element with the key "unsaved" is on the page."""
    st.html(f"<script>{SCRIPT}</script>", unsafe_allow_javascript=True)
