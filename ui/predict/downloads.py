"""What can be taken away from a case: the report, and the ISIC table of every model.

A download is made when it is asked for, outside the session: all that goes into it is handed over here.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from dermlens.case.decision import decide
from dermlens.case.image import CaseImage
from dermlens.case.opinion import Opinion, form
from dermlens.errors import RecordError
from dermlens.files.tables import plain_cell
from dermlens.interchange import fhir, pdf
from dermlens.interchange.findings import find
from dermlens.interchange.isic import ISIC_COLUMNS
from dermlens.interchange.report import case_report
from dermlens.labels import INDEX
from dermlens.models.model import AnyModel
from dermlens.wording import counted
from ui import optional, splits, state, widgets
from ui.predict import heat_map, prevalence, similar_cases, stability


def report(image: CaseImage, opinion: Opinion) -> None:
    """Offer the case report, with who made it and notes, as HTML and as PDF."""
    with st.popover("Report", icon=":material/description:", key="report"):
        who = st.text_input("Made by", key=f"report-who-{image.key}", max_chars=80)
        notes = st.text_area("Notes", key=f"report-notes-{image.key}", max_chars=4000, height=100)
        try:
            _files(image, opinion, who, notes)
        except RecordError as e:
            st.caption(f":material/info: {widgets.escape(str(e), 400)}")


def _files(image: CaseImage, opinion: Opinion, who: str, notes: str) -> None:
    mapped = frozenset(m.id for m in heat_map.mapped(opinion))
    probes, own, decision = state.probes(), similar_cases.lesion_of(image), decide(opinion)
    elsewhere = splits.not_referred_elsewhere(decision.model.id) if decision else ""

    def html() -> str:
        now, steady = datetime.now(UTC), stability.results(image, opinion, probes)
        similar = similar_cases.of_first(opinion, own)
        return case_report(
            image,
            opinion,
            now,
            mapped=mapped,
            steady=steady,
            similar=similar,
            elsewhere=elsewhere,
            who=who,
            notes=notes,
        )

    _save("Save the report (HTML, to print)", lambda: html().encode(), "report", image, "html", "text/html")
    if pdf.available():
        paper = st.segmented_control("Paper", pdf.PAPERS, default=pdf.PAPERS[0], required=True, key="report-paper")
        _save(
            "Save the report (PDF)", lambda: pdf.make_pdf(html(), paper), "report pdf", image, "pdf", "application/pdf"
        )
    else:
        st.caption(pdf.MISSING)
    st.caption(
        "It holds the image, the maps, the probabilities and the models' hashes, and what you type here, but no "
        "file name."
    )
    if fhir.available():
        _save("Save as FHIR R4 (JSON)", lambda: as_fhir(image, opinion), "fhir", image, "json", "application/fhir+json")
        st.caption("The answers for a program to read: no picture, no name, and nothing of what you type here.")


def as_fhir(image: CaseImage, opinion: Opinion) -> bytes:
    """Return the answers to one image as a bundle of FHIR."""
    return fhir.bundle([find(image, opinion, datetime.now(UTC))])


def _save(label: str, make: Callable[[], bytes], what: str, image: CaseImage, suffix: str, mime: str) -> None:
    st.download_button(
        label,
        _noted(make, what, [image.key], image),
        f"dermlens-{image.key}.{suffix}",
        mime,
        key="save-report" if suffix == "html" else f"save-report-{suffix}",
        icon=":material/download:",
        on_click=state.note_saved,
        args=([image.key],),
    )


def _noted(
    make: Callable[[], bytes], what: str, keys: Sequence[str], image: CaseImage | None = None
) -> Callable[[], bytes]:
    """Return what makes a file, and writes down that it leaves where a record is kept; raises RecordError.

    Where it cannot be made, the images of these keys, which counted as saved from the click on, do so no longer.
    """
    ledger, saved = optional.disclosing(), state.saved()
    noted = ledger.noted(make, what, image) if ledger else make

    def made() -> bytes:
        try:
            return noted()
        except Exception:
            saved.difference_update(keys)  # outside any run of the script, so not by way of the session
            raise

    return made


def tables(opinion: Opinion) -> None:
    """Offer every image's probabilities in the format of ISIC 2018, task 3, a file a model."""
    try:
        _tables(opinion)
    except RecordError as e:
        st.caption(f":material/info: {widgets.escape(str(e), 400)}")


def _tables(opinion: Opinion) -> None:
    record = optional.record()
    every = state.images().values()
    images = [image for image in every if not (record and record.unread(image))]
    opinions = [(image, prevalence.at_chosen(form(opinion.models, image.answers, image.synthetic))) for image in images]
    with st.container(horizontal=True, gap="small"):
        for model in opinion.asked:

            def made(model: AnyModel = model) -> bytes:
                return isic_csv(isic_table(opinions, model))

            st.download_button(
                f"{'All' if len(images) == len(every) else 'Read'} images by {model.name} (ISIC CSV)",
                _noted(made, "isic", [image.key for image in images]),
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
    if unread := len(every) - len(images):
        st.caption(f"{counted(unread, 'image')} that you have not read yet: left out, as this is a study.")


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
