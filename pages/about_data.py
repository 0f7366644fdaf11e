"""About the data: what the networks learned from, how it was split, and what each model card says."""

from collections.abc import Iterator

import pandas as pd
import streamlit as st

from dermlens.charts import data as charts
from dermlens.dataset.ham10000 import SPLITS, moved
from dermlens.dataset.isic2019 import uses
from dermlens.evaluation.slices import group_names, in_order
from dermlens.wording import counted, percent
from ui import cache, widgets
from ui.about_data import leakage
from ui.metrics import slices
from ui.pages import ABOUT_DATA

SOURCE = """
**HAM10000**: Tschandl, Rosendahl, Kittler, *The HAM10000 dataset, a large collection of multi-source dermatoscopic
images of common pigmented skin lesions*, Scientific Data 5:180161, 2018,
[doi:10.7910/DVN/DBW86T](https://doi.org/10.7910/DVN/DBW86T). Images licensed
[CC BY-NC 4.0](https://creativecommons.org/licenses/by-nc/4.0/): not for commercial use. They come from two clinics, in
Vienna and in Queensland, and most of them show light skin.
"""
ELSEWHERE = """
**ISIC 2017** (Codella et al., [arXiv:1710.05006](https://arxiv.org/abs/1710.05006)) and **BCN20000** (Combalia et al.,
[arXiv:1908.02288](https://arxiv.org/abs/1908.02288)), as in the training set of ISIC 2019, licensed CC BY-NC 4.0. All
images of a lesion serve for one thing. A model card says whether its network learned from those for training; none
learns from invasive squamous cell carcinoma, none of the seven, which shows what becomes of such a lesion.
"""
LICENCES = """
The weights, predictions and metrics in `models/` were made from these images and carry the same licence, CC BY-NC 4.0.
The program itself is under the MIT licence. The images are not part of this project.
"""


def page() -> None:
    widgets.head(ABOUT_DATA)
    st.markdown(SOURCE)
    result = cache.split_table()
    if result.value is None:
        widgets.nothing_here("The split table cannot be read.", widgets.escape(result.sentence, 400))
    else:
        split(result.value)
        leakage.section(cache.audit())
        for told in _measured_before(result.value):
            st.markdown(told)
        subgroups(result.value)
    other_archives()
    st.header("Licences", anchor=False)
    st.markdown(LICENCES)
    st.header("Model cards", anchor=False)
    model_cards()


def split(table: pd.DataFrame) -> None:
    st.header("The split", anchor=False)
    cells = st.grid(3, min_column_width=200)
    for name in SPLITS:
        rows = table[table["split"] == name]
        with cells.cell(), st.container(border=True, gap=None):
            st.metric(name.capitalize(), counted(len(rows), "image"))
            st.caption(
                f"{counted(rows['lesion_id'].nunique(), 'lesion')}, {percent(len(rows) / len(table), 1)} of the images"
            )
    st.caption(
        "All images of a lesion are in one split. Test is for the final metrics alone, never for choosing anything."
    )
    counts = charts.class_counts(table)
    most, least = counts.sum(axis=1).max(), counts.sum(axis=1).min()
    alt = f"Images of each diagnosis in each split, from {least:,} to {most:,}"
    widgets.chart(charts.class_balance(table), alt, counts.reset_index, "class-balance")


def _measured_before(table: pd.DataFrame) -> Iterator[str]:
    """Say of each model how many of the images it was measured on are in another split now."""
    for entry in cache.entries():
        p = cache.predictions(entry).value
        if p is not None and (n := moved(p.image_id, p.split, table)):
            yield (
                f"{widgets.escape(entry.name)} was trained and measured before {counted(n, 'image')} moved to "
                "training, because another photograph of the lesion stood in another split: its metrics may flatter it."
            )


def subgroups(table: pd.DataFrame) -> None:
    st.header("Who is in the data", anchor=False)
    by = widgets.one_of("Images by", list(slices.BY), "images-by", format_func=slices.BY.__getitem__)
    names = group_names(table.replace({by: {"": "unknown"}}), by)
    figure = charts.subgroups(table, names.astype(str), f"Images by {slices.BY[by].lower()}")
    counts = pd.crosstab(names, table["split"])
    data = counts.reindex(in_order(counts.sum(axis=1).to_dict())).rename_axis(by).reset_index
    widgets.chart(figure, f"Share of each {by} in each split", data, f"subgroups-{by}")


def other_archives() -> None:
    st.header("Other archives", anchor=False)
    st.markdown(ELSEWHERE)
    result = cache.external_table()
    if result.value is None:
        widgets.nothing_here("The table of other archives cannot be read.", widgets.escape(result.sentence, 400))
    else:
        st.dataframe(uses(result.value), alt="Images of other archives by what they serve for")


def model_cards() -> None:
    found = [(entry.name, card) for entry in cache.entries() if (card := cache.model_card(entry))]
    if not found:
        st.caption("No published model has a model card.")
    for name, card in found:
        with st.expander(name, icon=":material/description:"):
            if card.value is None:
                st.text(card.sentence)
            else:
                st.markdown(card.value)


page()
