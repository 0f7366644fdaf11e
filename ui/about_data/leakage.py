"""What of the test split is also in training; part of the page About the data."""

import pandas as pd
import streamlit as st

from dermlens.charts import data as charts
from dermlens.dataset.split_audit import Audit
from dermlens.wording import percent
from ui import cache, widgets


def section(result: cache.Result[Audit]) -> None:
    """Show what the audit of the split found, beside what a split at random would leak."""
    st.header("Is any of the test split also in training?", anchor=False)
    audit = result.value
    if audit is None:
        widgets.nothing_here("The split has not been checked on the images.", widgets.escape(result.sentence, 400))
        return
    if not audit.fits_table:
        st.warning("This audit is of another split table. Run `python -m data.audit` again.", icon=":material/warning:")
    verdict = "**Something leaks.**" if audit.leaks() else "**Nothing leaks in the split as it is now.**"
    st.markdown(
        f"{verdict} Checked on the images: lesions in more than one split: {audit.lesions_in_more_than_one_split}; "
        f"duplicates across splits: {audit.exact_across_splits} exact, {audit.near_across_splits} near. A split that "
        f"deals single images at random would put {audit.naive_lesions_in_more_than_one_split:,.0f} lesions into "
        f"more than one split (mean of {audit.naive_draws} draws), and its test metrics would look better than they "
        "are."
    )
    ours, naive = "this split", "images dealt at random"
    rows = {
        "Test images whose lesion<br>is in training": {ours: audit.test_seen, naive: audit.naive_test_seen},
        "Test melanomas whose<br>lesion is in training": {
            ours: audit.melanomas_seen,
            naive: audit.naive_melanomas_seen,
        },
    }

    def data() -> pd.DataFrame:
        return pd.DataFrame(rows).T.rename_axis("share").reset_index().replace("<br>", " ", regex=True)

    here, at_random = percent(audit.test_seen, 1), percent(audit.naive_test_seen, 1)
    alt = f"Share of test images whose lesion is in training: {here} here, {at_random} at random"
    widgets.chart(charts.leakage(rows), alt, data, "leakage")
