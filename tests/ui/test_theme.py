"""The theme of .streamlit/config.toml is readable: contrast as WCAG 2.2 defines it, at least 4.5:1 for text."""

import tomllib
from pathlib import Path

import pytest

CONFIG = tomllib.loads((Path(__file__).parents[2] / ".streamlit" / "config.toml").read_text())
CAPTION_OPACITY = 0.6  # how Streamlit 1.67 draws st.caption


def rgb(colour: str) -> list[float]:
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def luminance(colour: list[float]) -> float:
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(text: list[float], ground: list[float]) -> float:
    dark, light = sorted((luminance(text), luminance(ground)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_of_known_colours() -> None:
    assert contrast(rgb("#000000"), rgb("#ffffff")) == pytest.approx(21)
    assert contrast(rgb("#767676"), rgb("#ffffff")) == pytest.approx(4.54, abs=0.005)  # the usual example in WCAG texts


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("ground", ["backgroundColor", "secondaryBackgroundColor"])
def test_text_is_readable(theme: str, ground: str) -> None:
    colours = {name: rgb(value) for name, value in CONFIG["theme"][theme].items()}
    behind = colours[ground]
    caption = [
        CAPTION_OPACITY * t + (1 - CAPTION_OPACITY) * b for t, b in zip(colours["textColor"], behind, strict=True)
    ]
    for text in (colours["textColor"], colours["linkColor"], colours["primaryColor"], caption):
        assert contrast(text, behind) >= 4.5


def test_server_is_closed_by_default() -> None:
    assert CONFIG["server"]["address"] == "localhost"
    assert CONFIG["server"]["enableXsrfProtection"]
    assert CONFIG["server"]["enableCORS"]
    assert not CONFIG["browser"]["gatherUsageStats"]
    assert CONFIG["client"]["showErrorDetails"] == "none"
    assert "://" not in str(CONFIG), "no font, style or script comes from elsewhere"
