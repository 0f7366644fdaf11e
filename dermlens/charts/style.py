"""What all figures share: colours, class order, wrapping, and the frame of a figure.

Text and grid lines take the page's theme. Every colour set here has at least 3:1 contrast with the white and with the
dark page (WCAG 2.2, 1.4.11), and no two things are told apart by colour alone.
"""

import base64

import cv2
import numpy as np
import plotly.graph_objects as go

from dermlens.intervals import Figure
from dermlens.labels import CLASSES, DIAGNOSES, GROUPS, members

# Okabe & Ito's colour-blind-safe hues (jfly.uni-koeln.de/color), the pale ones darkened.
COLOURS = ("#0079b8", "#d55e00", "#009467", "#b8659a", "#8c6d1f", "#6f7f87")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
PATTERNS = ("", "/", ".", "x", "-", "|")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "cross")
NEUTRAL = "#7b8a91"
COUNTS = "cividis"

# Most urgent group first; inside a group the order of labels.CLASSES.
SHOWN: tuple[int, ...] = tuple(i for group in reversed(GROUPS) for i in members(group))
GROUP_TITLES = {group: group.capitalize() for group in GROUPS}
NAMES: dict[str, str] = {d.code: d.name[0].upper() + d.name[1:] for d in DIAGNOSES}
SHORT = {**NAMES, "akiec": "Actinic keratosis<br>or Bowen's disease", "mel": "Melanoma", "nv": "Nevus"}


def nth(values: tuple[str, ...], i: int) -> str:
    """Return the colour, dash, pattern or symbol of the i-th thing; they repeat past the last."""
    return values[i % len(values)]


def bar_marker(i: int) -> dict:
    """Return the look of the i-th model's bars: its own colour and its own pattern."""
    pattern = {"shape": nth(PATTERNS, i), "fillmode": "overlay", "fgcolor": "#ffffff", "fgopacity": 0.5, "size": 6}
    return {"color": nth(COLOURS, i), "pattern": {**pattern, "solidity": 0.25}}


def short_names(codes: tuple[str, ...] = CLASSES) -> list[str]:
    """Return axis labels of classes, wrapped by <br>."""
    return [SHORT[c].replace(" ", "<br>", 1) if "<br>" not in SHORT[c] else SHORT[c] for c in codes]


def frame(figure: go.Figure, title: str, height: int, **layout: object) -> go.Figure:
    """Give a figure its title, height and quiet frame; returns the same figure."""
    figure.update_layout(
        title={
            "text": title,
            "x": 0,
            "xanchor": "left",
            "yref": "container",
            "y": 1,
            "yanchor": "top",
            "pad": {"t": 8},
        },
        title_font_size=15,
        height=height,
        margin={"l": 8, "r": 12, "t": 56, "b": 8},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "title": {"text": ""}},
        hoverlabel={"align": "left"},
        dragmode=False,
        uirevision=title,
    )
    figure.update_layout(**layout)
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return figure


def ink(figure: go.Figure, colour: str) -> go.Figure:
    """Write titles, axes and legend in the page's text colour; Streamlit's own grey is too pale to read easily."""
    figure.update_layout(font_color=colour, title_font_color=colour, legend_font_color=colour)
    figure.update_annotations(font_color=colour, selector=lambda a: a.font.color is None)
    figure.update_xaxes(tickfont_color=colour, title_font_color=colour)
    return figure.update_yaxes(tickfont_color=colour, title_font_color=colour)


def message(text: str, height: int = 160) -> go.Figure:
    """Return an empty figure that says why there is nothing to draw."""
    figure = go.Figure()
    figure.add_annotation(text=text, showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper")
    return frame(figure, "", height, xaxis={"visible": False}, yaxis={"visible": False})


def text_on(share: np.ndarray) -> np.ndarray:
    """Return black or white for text on the colour that cividis has at `share` (0..1), whichever reads better."""
    return np.where(np.asarray(share) > 0.52, "#111111", "#ffffff")


def data_uri(pixels: np.ndarray, quality: int = 90) -> str:
    """Encode (h, w, 3) uint8 RGB as a JPEG data URI."""
    done, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"cannot encode an image of shape {pixels.shape}")
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def percent(share: float, digits: int = 0) -> str:
    """Return a share as a person reads it: "7 %", "<1 %" for what would round to nothing, "n/a" for NaN."""
    if np.isnan(share):
        return "n/a"
    smallest = 10.0**-digits
    value = 100 * share
    if 0 < value < smallest / 2:
        return f"<{smallest:g} %"
    if 100 - smallest / 2 < value < 100:
        return f">{100 - smallest:g} %"
    return f"{value:.{digits}f} %"


def interval(figure: Figure, digits: int = 1) -> str:
    """Return the 95 % interval of a share as a person reads it: "78.1 to 83.4 %"."""
    if np.isnan(figure.low) or np.isnan(figure.high):
        return "n/a"
    return f"{100 * figure.low:.{digits}f} to {100 * figure.high:.{digits}f} %"
