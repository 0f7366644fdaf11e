"""What can be taken away from a case: the report, the heat map, the ISIC table."""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial

import pandas as pd
import streamlit as st

from dermlens.case.image import CaseImage
from dermlens.case.opinion import Opinion, form
from dermlens.files.tables import plain_cell
from dermlens.interchange.report import case_report
from dermlens.labels import INDEX
from dermlens.models.model import AnyModel
from dermlens.score import ISIC_COLUMNS
from ui import state
from ui.predict import prevalence


def downloads(image: CaseImage, opinion: Opinion) -> None:
    """Offer the case report, and every image's probabilities in the ISIC format."""
    models = opinion.asked

    def report() -> bytes:
        return case_report(image, opinion, datetime.now(UTC)).encode()

    with st.container(horizontal=True, gap="small"):
        st.download_button(
            "Case report (HTML, to print)",
            report,
            f"dermlens-{image.key}.html",
            "text/html",
            icon=":material/description:",
            on_click="ignore",
        )
        for model in models:
            st.download_button(
                f"All images by {model.name} (ISIC CSV)",
                partial(isic_csv, model, models),
                f"{model.id}.csv",
                "text/csv",
                key=f"isic-csv-{model.id}",
                icon=":material/table:",
                on_click="ignore",
            )
    st.caption(
        "The report holds the image, the maps, the scores and the models' hashes, but no file name. Images that do not "
        "look like dermoscopic ones are left out of the tables. All probabilities are at the class mix that is set."
    )


def isic_table(model: AnyModel, models: Iterable[AnyModel]) -> pd.DataFrame:
    """Return the probabilities of every image of the case in the format of ISIC 2018, task 3.

    Images on which the models call nothing are left out. Files of one name are told apart by their image's key.

    Args:
        model: whose probabilities. models: all that answered.
    """
    rows = []
    for image in state.images().values():
        opinion = prevalence.at_chosen(form(models, image.answers, image.synthetic))
        if model in opinion.calling:
            probabilities = opinion.shown[model.id].probabilities
            shares = {column: float(probabilities[INDEX[column.lower()]]) for column in ISIC_COLUMNS}
            rows.append({"image": row_id(image.name), **shares, "key": image.key})
    table = pd.DataFrame(rows, columns=["image", *ISIC_COLUMNS, "key"])
    twice = table["image"].duplicated(keep=False)
    table.loc[twice, "image"] += "-" + table["key"]
    return table.drop(columns="key")


def row_id(name: str) -> str:
    """Return a file name without folder and suffix, as a spreadsheet may read it."""
    return plain_cell(name.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0])


def isic_csv(model: AnyModel, models: Iterable[AnyModel]) -> bytes:
    """Return `isic_table` as CSV."""
    return isic_table(model, models).to_csv(index=False, float_format="%.8f").encode()
