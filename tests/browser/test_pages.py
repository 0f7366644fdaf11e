"""Compare, Metrics, Training curves and About the data as a person uses them, and all pages in every look."""

import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.app import PATIENCE, choose, go_to, part, settle, standing
from tests.browser.test_predict import upload
from ui import pages

SCROLLS = "[data-testid=stDataFrame], .js-plotly-plot, [role=tablist]"  # may hold more than the window shows
TOO_WIDE = (
    "[...document.querySelectorAll('[data-testid=stMain] *')]"
    f".filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('{SCROLLS}'))"
    ".map(e => e.outerHTML.slice(0, 200))"
)
PAGES = {page.title: page.heading or page.title for page in pages.PAGES}


def click_cell(page: Page, key: str, row: int, column: int) -> None:
    """Click into a cell of a matrix, off its middle."""
    marks = page.locator(f".st-key-figure-{key} .scatterlayer .point")
    expect(marks).to_have_count(49)
    box = standing(page, marks.nth(7 * row + column))
    page.mouse.click(box["x"] + box["width"] / 2 + 9, box["y"] + box["height"] / 2 + 6)


def test_a_click_on_the_matrix_lists_its_cases_and_one_opens(page: Page, dashboard: str, confused: list[str]) -> None:
    page.goto(f"{dashboard}/metrics")
    click_cell(page, "confusion", 1, 5)  # true melanoma, called nevus, in the order shown
    expect(page.get_by_text(f"melanoma, called melanocytic nevus: {len(confused)} of")).to_be_visible()
    expect(page).to_have_url(re.compile("true=Melanoma&called=Melanocytic"))

    # The menus show the cell and can change it, and the same cell can be clicked again afterwards.
    choose(page, "Called", "Dermatofibroma")
    expect(page.get_by_text("melanoma, called dermatofibroma:")).to_be_visible()
    click_cell(page, "confusion", 1, 5)
    expect(page.get_by_text("melanoma, called melanocytic nevus:")).to_be_visible()

    box = standing(page, page.get_by_test_id("stDataFrame").first)
    page.mouse.click(box["x"] + 16, box["y"] + 36 + 26)
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("true diagnosis: Melanoma")
    expect(dialog.get_by_role("img", name=re.compile("Grad-CAM by Toy toy"))).to_be_visible()
    assert any(image_id in dialog.inner_text() for image_id in confused)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)

    link = page.url
    go_to(page, "Home", "Dermlens")
    go_to(page, "Metrics")
    expect(page.get_by_text("melanoma, called melanocytic nevus:")).to_be_visible()
    page.goto(link)
    expect(page.get_by_text("melanoma, called melanocytic nevus:")).to_be_visible()


def test_figures_and_data_can_be_downloaded(page: Page, dashboard: str) -> None:
    page.goto(f"{dashboard}/metrics")
    with page.expect_download() as download:
        page.get_by_role("button", name="Data (CSV)").first.click()
    assert download.value.suggested_filename == "confusion.csv"
    with page.expect_download() as download:
        page.get_by_role("button", name="Download plot").first.click()
    assert download.value.suggested_filename == "confusion.svg"


def test_compare_on_one_image_and_on_a_split(page: Page, dashboard: str, lesion: np.ndarray) -> None:
    page.goto(f"{dashboard}/predict")
    upload(page, lesion)
    expect(page.locator("[class*=st-key-verdict]")).to_be_visible()
    go_to(page, "Compare models")
    expect(page.locator(".st-key-heat-toy")).to_be_visible()
    expect(page.locator(".st-key-heat-toy2")).to_be_visible()
    expect(page.get_by_text(re.compile("differ most on|same within"))).to_be_visible()

    page.get_by_role("tab", name="On a data split").click()
    expect(page.get_by_text("by McNemar's test")).to_be_visible()
    click_cell(page, "confusion-difference", 1, 5)
    expect(page.get_by_text(re.compile("Cell of the matrix: "))).to_be_visible()
    expect(page.get_by_role("radio", name="Cell of the matrix")).to_be_checked()


def test_training_curves_overlay_runs(page: Page, dashboard: str) -> None:
    page.goto(f"{dashboard}/training_curves?runs=run-1&runs=run-2")
    expect(page.locator(".js-plotly-plot")).to_have_count(6)
    expect(part(page, "figure-curve-balanced_accuracy").locator(".legendtext")).to_have_text(["run-1", "run-2"])
    page.get_by_text("Seeds of one config together").click()
    expect(part(page, "figure-curve-balanced_accuracy")).not_to_contain_text("run-1")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_readable_and_accessible(
    browser: Browser, dashboard: str, theme: str, lesion: np.ndarray
) -> None:
    window = {"viewport": {"width": 1400, "height": 1000}, "reduced_motion": "reduce"}
    context = browser.new_context(color_scheme=theme, **window)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(f"{dashboard}/predict")
    upload(page, lesion)
    expect(page.locator(".ytick text").first).to_be_visible()
    ground, text = page.evaluate(
        "[getComputedStyle(document.querySelector('.stApp')).backgroundColor,"
        " getComputedStyle(document.querySelector('.ytick text')).fill]"
    )
    assert (luma(ground) < luma(text)) == (theme == "dark")
    found = []
    for name, title in PAGES.items():
        go_to(page, name, title)
        settle(page)
        result = Axe().run(page).response["violations"]
        found += [
            (name, v["id"], n["html"]) for v in result if v["impact"] in ("serious", "critical") for n in v["nodes"]
        ]
    context.close()
    assert found == []


def luma(colour: str) -> float:
    """Return how light an rgb(...) colour is."""
    return sum(float(part) for part in re.findall(r"[\d.]+", colour)[:3])


def test_nothing_is_wider_than_a_phone(browser: Browser, dashboard: str, lesion: np.ndarray) -> None:
    screen = {"width": 390, "height": 844}
    context = browser.new_context(viewport=screen, has_touch=True, is_mobile=True, reduced_motion="reduce")  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(f"{dashboard}/predict")
    upload(page, lesion)
    expect(page.locator("[class*=st-key-verdict]")).to_be_visible()
    for name, title in PAGES.items():
        go_to(page, name, title)
        settle(page)
        wide = page.evaluate(TOO_WIDE)
        assert wide == [], name
    context.close()
