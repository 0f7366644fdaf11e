"""One entry in the browser's history for each step of a person: another page, another tab, another case of the record.

Streamlit adds one for whatever the server writes into the link, an empty one before every other page among them, and
none for a tab.
"""

import streamlit as st

SCRIPT = """
if (!window.stepsAreKept) {
  window.stepsAreKept = true;
  const push = history.pushState.bind(history), replace = history.replaceState.bind(history);
  let seen = location.href;
  const differ = (url, names) => {
    const now = new URLSearchParams(location.search);
    return names.some(name => now.get(name) !== url.searchParams.get(name));
  };
  const write = (names, state, title, to) => {
    const url = new URL(to ?? location.href, location.href);
    (differ(url, names) ? push : replace)(state, title, to);
  };
  addEventListener('click', () => { seen = location.href; }, true);
  history.replaceState = (state, title, to) => write(['show', 'compare', 'part'], state, title, to);
  history.pushState = (state, title, to) => {
    if (new URL(to, location.href).pathname === location.pathname) { write(['case'], state, title, to); return; }
    if (new URL(seen).pathname === location.pathname) { replace({}, '', seen); }
    push(state, title, to);
  };
}
""".strip()
"""Runs in the page; its hash is in the policy of ui.access.middleware. A person's choices reach the link by
replaceState, the server's by pushState; `seen` is the link at the last click, which is that of the page being left."""


def keep() -> None:
    """Have the browser keep steps from now on."""
    st.html(f"<script>{SCRIPT}</script>", unsafe_allow_javascript=True)
