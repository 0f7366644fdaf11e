"""Pieces that several pages share: the head of a page, the case in the side bar, charts with downloads, notices."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from dermlens.case.image import shown_name, thumbnail
from dermlens.case.summary import DISCLAIMER
from dermlens.charts import style
from dermlens.evaluation.prediction_formats import ASSUMED
from dermlens.evaluation.predictions import Predictions
from dermlens.files.tables import plain_cell
from dermlens.labels import CLASSES, DIAGNOSES, GROUP_TITLES, INDEX, NAMES, Diagnosis
from dermlens.models.registry import Entry
from dermlens.trust.fitted import command_for
from dermlens.trust.thresholds import CASE_SENSITIVITY, SENSITIVITIES
from dermlens.wording import counted, percent, short_percent
from ui import cache, leaving, state
from ui.cache import Problem
from ui.pages import Page
from ui.streamlit_internals import keep_pages_within_home

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

GROUP_LOOKS = {  # icon and colour go with the written word, never instead of it; green would sound like an all-clear
    "malignant": (":material/priority_high:", "red"),
    "pre-malignant": (":material/error_outline:", "orange"),
    "benign": (":material/radio_button_unchecked:", "gray"),
}
SHARE = "%.1f %%"
"""How a column of numbers that wording.column_percents gives is written."""
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~$:<>&@])")


def head(page: Page) -> None:
    """Draw a page's heading, its one sentence, the one disclaimer, and the case in the side bar.

    If the page was opened by a link to an image of another session, it says that the image is gone.
    """
    keep_pages_within_home()  # one that Streamlit opened by itself starts over
    st.title(page.heading or page.title, anchor=False)
    st.caption(f"{page.lede} {DISCLAIMER}")
    if state.link_is_dead():
        st.info(
            "This link was to an image of an earlier session. Images live only in the session that uploaded them, so "
            "it is gone; upload it again to see it.",
            icon=":material/link_off:",
        )
    _case_in_side_bar()


def _case_in_side_bar() -> None:
    image = state.current()
    if image is None:
        return
    with st.sidebar, st.container(border=True, key="case"):
        st.image(thumbnail(image.pixels, 280), width="stretch", alt="Thumbnail of the current image")
        count = len(state.images())
        st.caption(
            ("Synthetic drawing. " if image.synthetic else "")
            + (f"{count} images in this case" if count > 1 else "One image in this case")
        )
        st.button(
            "New case",
            icon=":material/restart_alt:",
            on_click=state.new_case,
            width="stretch",
            help="Forgets every image and result of this case.",
        )
        if state.unsaved():
            with st.container(key="unsaved"):
                st.caption("Not saved. Closing or reloading this page loses the answers.")
        leaving.warn()


def escape(text: str, longest: int = 60) -> str:
    """Return a name from outside as Markdown that shows it literally, shortened in its middle."""
    return _MARKDOWN.sub(r"\\\1", shown_name(text, longest))


def chart(figure: go.Figure, alt: str, data: Callable[[], pd.DataFrame], name: str, **options: Any) -> Any:
    """Draw a figure with its downloads: the figure as SVG in its tool bar, its data as CSV below it.

    Args:
        figure: with a title.
        alt: what the figure shows, in words, for a screen reader.
        data: makes the table behind the figure; called only for a download.
        name: file name of both downloads without extension, and the key.
        options: further arguments of st.plotly_chart, such as on_select.
    """
    config: dict[str, Any] = {
        "displaylogo": False,
        "displayModeBar": True,
        "modeBarButtons": [["toImage"]],
        "toImageButtonOptions": {"format": "svg", "filename": name},
    }
    with st.container(gap="xsmall", key=f"chart-{name}"):
        event = st.plotly_chart(
            style.ink(figure, text_colour()), key=f"figure-{name}", config=config, alt=alt, **options
        )
        st.download_button(
            "Data (CSV)",
            lambda: _csv(data()),
            f"{name}.csv",
            "text/csv",
            key=f"data-{name}",
            icon=":material/download:",
            type="tertiary",
            on_click="ignore",
        )
    return event


def side_by_side(figures: Mapping[str, tuple[go.Figure, str]], data: Callable[[], pd.DataFrame]) -> None:
    """Draw figures with their downloads two a row, one below the other where the window is narrow.

    Args:
        figures: name -> figure and alternative text. name, text, data: as of `chart`; the data are those of them all.
    """
    cells = st.grid(2, min_column_width=330)
    for name, (figure, alt) in figures.items():
        with cells.cell():
            chart(figure, alt, data, name)


def _csv(table: pd.DataFrame) -> bytes:
    """Return a table as CSV for people; names of models and runs come from outside."""
    texts = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    safe = {name: [plain_cell(cell) if isinstance(cell, str) else cell for cell in table[name]] for name in texts}
    return table.assign(**safe).to_csv(index=False).encode()


def clickable(
    figure: go.Figure,
    alt: str,
    data: Callable[[], pd.DataFrame],
    name: str,
    take: Callable[[list[dict]], None],
) -> None:
    """Draw a figure with downloads whose points can be clicked; `take` gets what is chosen then."""
    key = f"figure-{name}"

    def clicked() -> None:
        take(list(st.session_state[key].selection.points))

    chart(figure, alt, data, name, on_select=clicked, selection_mode="points")


def zoomable(figure: go.Figure, alt: str, key: str) -> None:
    """Draw a picture that can be zoomed, with the buttons to do it and to save it."""
    config: dict[str, Any] = {
        "displaylogo": False,
        "displayModeBar": True,
        "modeBarButtons": [["zoomIn2d", "zoomOut2d", "pan2d", "resetScale2d", "toImage"]],
        "toImageButtonOptions": {"format": "png", "filename": key},
    }
    st.plotly_chart(style.ink(figure, text_colour()), key=key, config=config, alt=alt)


def text_colour() -> str:
    """Return the text colour of the theme that the browser shows."""
    return theme_colour("textColor")


def theme_colour(name: str) -> str:
    """Return a colour, such as "backgroundColor", of the theme that the browser shows."""
    return str(st.get_option(f"theme.{st.context.theme.type or 'light'}.{name}"))


def group_badge(diagnosis: Diagnosis) -> None:
    """Write the clinical group of a diagnosis out, as a badge."""
    icon, colour = GROUP_LOOKS[diagnosis.group]
    st.badge(GROUP_TITLES[diagnosis.group], icon=icon, color=colour)  # type: ignore[arg-type]


def table(rows: pd.DataFrame, alt: str) -> None:
    """Draw a short table whole, with text that wraps, where st.dataframe hides what is wider or longer than its place.

    Cells are shown literally: st.table takes them for Markdown, which would make ">99 %" of a share to "99 %". A number
    and its "%" stay in one line.
    """

    def written(cell: object) -> str:
        return escape(cell, 1000).replace(" %", "\N{NO-BREAK SPACE}%") if isinstance(cell, str) else f"{cell:,}"

    st.table(rows.map(written).rename(columns=lambda name: escape(name, 200)), hide_index=True, alt=alt)


def share_bar(label: str | None = None, **options: Any) -> Any:
    """Return the configuration of a column of shares as bars; its numbers are those of wording.column_percents."""
    return st.column_config.ProgressColumn(label, min_value=0, max_value=100, format=SHARE, **options)


def class_name(code: str) -> str:
    """Return a class as an option of a menu: its name and group."""
    return f"{NAMES[code]} ({DIAGNOSES[INDEX[code]].group})"


def in_percent(table: pd.DataFrame, *columns: str) -> "Styler":
    """Return a table whose shares read as `percent` writes them, so that only none of something is "0 %".

    Args:
        table: at most 250,000 cells. columns: of numbers, 0..100, whose column has no format of its own; they are
            sorted by value.
    """
    there = [name for name in columns if name in table]
    return table.style.format(dict.fromkeys(there, lambda value: percent(value / 100)), na_rep="")


def one_of(label: str, options: Sequence[str], key: str, default: str | None = None, **more: Any) -> str:
    """Let a person choose one of a few options, by default the first or the one named; the choice is part of the link.

    A link that says nothing of it (`?bins=`) is taken to mean the default, which Streamlit would give None for.
    """
    if st.query_params.get(key) == "":
        del st.query_params[key]
    default = default or options[0]
    chosen = st.segmented_control(label, options, default=default, required=True, key=key, bind="query-params", **more)
    return default if chosen is None else str(chosen)


def unknown_in_link(key: str, options: Iterable[str], what: str) -> None:
    """Say where a page's link chooses something that is not here, so that another choice is shown.

    Args:
        key: of the widget, which is not drawn yet. options: as they are written in links. what: as in "a model".
    """
    if key in st.session_state:
        return
    options = set(options)
    for wanted in dict.fromkeys(st.query_params.get_all(key)):
        if wanted and wanted not in options:
            st.info(f"The link names {what} that is not here: {escape(wanted)}.", icon=":material/link_off:")


def choose_class(label: str, key: str, **options: object) -> str:
    """Let a person choose one of the seven classes; the choice is part of the link."""
    return st.selectbox(label, CLASSES, key=key, format_func=class_name, bind="query-params", **options)  # type: ignore


def assumed(predictions: Predictions, name: str = "") -> None:
    """Say what a file of predictions does not say, and what was taken to be so; `name`: of the model, where several."""
    if predictions.assumed:
        said = " ".join(ASSUMED[key] for key in predictions.assumed)
        st.caption(f":material/info: {f'{escape(name)}: ' if name else ''}{said}")


def problems(found: Iterable[Problem], what: str) -> None:
    """Say, one sentence each, what cannot be used; the rest of the page goes on."""
    found = list(found)
    if not found:
        return
    with st.expander(f"{len(found)} {what} cannot be used", icon=":material/warning:"):
        for problem in found:
            st.markdown(f"**{escape(problem.name)}**")
            st.text(problem.sentence)


def nothing_here(sentence: str, advice: str) -> None:
    """Fill an empty state: what is missing and what to do about it."""
    with st.container(border=True, horizontal_alignment="center"):
        st.markdown(f"**{sentence}**")
        st.markdown(advice)


def choose_sensitivity() -> float:
    """Let a person choose the wanted sensitivity; the choice is part of the link."""
    return st.select_slider(
        "Wanted sensitivity",
        SENSITIVITIES,
        value=CASE_SENSITIVITY,
        format_func=short_percent,
        key="sensitivity",
        bind="query-params",
        width=220,
    )


def not_fitted(entry: Entry, what: str, part: str) -> None:
    """Fill the place of what was not fitted to a model: why it is missing, and the command that makes it.

    Args:
        entry: the model. what: the part, in words. part: key of fitted.PARTS.
    """
    why = cache.fitted(entry).missing_sentence(part)
    nothing_here(f"This model has no {what}.", f"{escape(why, 400)} {fit_advice(entry, part)}")


def fit_advice(entry: Entry, part: str) -> str:
    """Return the sentence that says how to fit a part to a model; part: key of fitted.PARTS."""
    found = cache.predictions(entry).value
    if found is None or "validation" not in found.splits:
        return "They are fitted on validation, of which it has no predictions."
    return advice(entry, f"Make them with `{command_for(entry.id, cache.fitted(entry), part)}`.", part == "ood")


NO_WEIGHTS = "There are its predictions alone, and this needs its weights."


def advice(entry: Entry, sentence: str, weights: bool = True) -> str:
    """Return the sentence that says what to do about what a model lacks, or why nothing can be done.

    Args:
        entry: the model. sentence: with the command to run. weights: whether that needs a network to ask.
    """
    return NO_WEIGHTS if weights and not entry.can_be_asked else sentence


def fitted_on(record: dict) -> str:
    """Say which images thresholds come from; `record` as in thresholds.json."""
    return (
        f"Thresholds come from validation ({counted(record['n_images'], 'image')} of "
        f"{counted(record['n_lesions'], 'lesion')}); there "
        "each image is measured with thresholds from other lesions."
    )
