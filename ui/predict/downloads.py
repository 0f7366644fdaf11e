"""What can be taken away from a case: the report, and the ISIC table of every model.

A download is made when it is asked for, outside the session: all that goes into it is handed over here.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from dermlens.case.image import CaseImage
from dermlens.case.opinion import Opinion, form
from dermlens.files.tables import plain_cell
from dermlens.interchange.report import case_report
from dermlens.labels import INDEX
from dermlens.models.model import AnyModel
from dermlens.score import ISIC_COLUMNS
from ui import cache, state
from ui.predict import prevalence, stability
from ui.predict.heat_map import GRAD_CAM


def report(image: CaseImage, opinion: Opinion) -> None:
    """Offer the case report, which has a field for notes."""
    with st.popover("Report", icon=":material/description:", key="report"):
        mapped = frozenset(m.id for m in opinion.calling if GRAD_CAM in cache.maps_offered(m))
        probes = state.probes()

        def made() -> bytes:
            steady = stability.results(image, opinion, probes)
            return case_report(image, opinion, datetime.now(UTC), mapped=mapped, steady=steady).encode()

        st.download_button(
            "Save the report (HTML, to print)",
            made,
            f"dermlens-{image.key}.html",
            "text/html",
            key="save-report",
            icon=":material/download:",
            on_click=state.note_saved,
            args=([image.key],),
        )
        st.caption(
            "One page to open in a browser and print. It holds the image, the maps, the probabilities and the models' "
            "hashes, and a field for notes to type or write into, but no file name."
        )


def tables(opinion: Opinion) -> None:
    """Offer every image's probabilities in the format of ISIC 2018, task 3, a file a model."""
    images = list(state.images().values())
    opinions = [(image, prevalence.at_chosen(form(opinion.models, image.answers, image.synthetic))) for image in images]
    with st.container(horizontal=True, gap="small"):
        for model in opinion.asked:

            def made(model: AnyModel = model) -> bytes:
                return isic_csv(isic_table(opinions, model))

            st.download_button(
                f"All images by {model.name} (ISIC CSV)",
                made,
                f"{model.id}.csv",
                "text/csv",
                key=f"isic-csv-{model.id}",
                icon=":material/table:",
                on_click=state.note_saved,
                args=([image.key for image in images],),
            )
    st.caption(
        "Images that a model does not know are left out of its table. All probabilities are at the class mix set."
    )


def isic_table(opinions: Iterable[tuple[CaseImage, Opinion]], model: AnyModel) -> pd.DataFrame:
    """Return the probabilities of images in the format of ISIC 2018, task 3.

    Images on which the model calls nothing are left out. Files of one name are told apart by their image's key.

    Args:
        opinions: of the images, at the class mix that is wanted. model: whose probabilities.
    """
    rows = []
    for image, opinion in opinions:
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


def isic_csv(table: pd.DataFrame) -> bytes:
    """Return `isic_table` as CSV."""
    return table.to_csv(index=False, float_format="%.8f").encode()
