"""Every download of every page, fetched by a click in a real browser: none may be empty."""

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Dialog, Locator, Page, expect

from dermlens.case.predict import predict
from dermlens.interchange.isic import ISIC_COLUMNS
from dermlens.labels import INDEX
from dermlens.models import registry
from tests.browser.app import go_to, part, settle
from tests.browser.test_predict import upload

TABS = {
    "metrics": ("Confusion matrix", "Per class", "Curves", "Calibration", "Slices"),
    "compare": ("On one image", "On a data split"),
    "training_curves": ("",),
    "about_data": ("",),
}
"""Page -> its tabs that hold charts, where a model is published with nothing fitted to it."""


def fetch(page: Page, button: Locator) -> bytes:
    with page.expect_download() as download:
        button.click()
    return Path(download.value.path()).read_bytes()


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def check_charts(page: Page) -> int:
    """Fetch the data and the picture of every chart in sight; returns how many charts there were."""
    settle(page)
    buttons = page.get_by_test_id("stDownloadButton").get_by_role("button", name="Data (CSV)").all()
    for button in buttons:
        rows = rows_of(fetch(page, button))
        assert rows, "a header alone"
        assert any(value for row in rows for value in row.values())
    return len(buttons)


@pytest.mark.parametrize("stem", TABS)
def test_the_data_of_every_chart_has_rows(page: Page, dashboard: str, lesion: np.ndarray, stem: str) -> None:
    if stem == "compare":
        page.goto(f"{dashboard}/predict")
        upload(page, lesion)
        expect(page.locator('[class*="st-key-verdict"]')).to_be_visible()
        go_to(page, "Compare models")
    else:
        page.goto(f"{dashboard}/{stem}")
    found = 0
    for tab in TABS[stem]:
        if tab:
            page.get_by_role("tab", name=tab, exact=True).click()
        found += check_charts(page)
    assert found >= len(TABS[stem])
    if found:
        settle(page)  # a download draws the page anew
        picture = page.locator(".modebar-btn[data-title*='Download plot']").last
        picture.scroll_into_view_if_needed()
        content = fetch(page, picture)
        assert content.startswith((b"<svg", b"\x89PNG"))
        assert len(content) > 1000


def test_the_isic_table_of_predict_has_every_image(page: Page, dashboard: str, pair: Path, lesion: np.ndarray) -> None:
    pictures = [lesion, np.ascontiguousarray(lesion[:, ::-1])]
    page.goto(f"{dashboard}/predict")
    upload(page, *pictures)
    expect(page.get_by_text("2 images in this case")).to_be_visible()
    page.locator(".st-key-show-research summary").click()
    for model_id in ("toy", "toy2"):
        settle(page)
        rows = rows_of(fetch(page, part(page, f"isic-csv-{model_id}").get_by_role("button")))
        model = registry.load(registry.find(pair, model_id))
        assert [row["image"] for row in rows] == ["0", "1"]
        for row, picture in zip(rows, pictures, strict=True):
            shares = predict(model, picture).probabilities
            given = [float(row[column]) for column in ISIC_COLUMNS]
            np.testing.assert_allclose(given, [shares[INDEX[c.lower()]] for c in ISIC_COLUMNS], atol=1e-6)
    assert check_charts(page) == 1


def test_saving_the_report_ends_the_warning_that_answers_would_be_lost(
    page: Page, dashboard: str, lesion: np.ndarray
) -> None:
    page.goto(f"{dashboard}/predict")
    upload(page, lesion)
    expect(page.locator(".st-key-unsaved")).to_be_visible()
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    page.get_by_role("heading", name="Predict").click()  # a browser asks only where something was done on the page
    page.evaluate("setTimeout(() => location.reload())")
    expect(page.locator(".st-key-unsaved")).to_be_visible()
    page.locator(".st-key-report").get_by_role("button", name="Report").click()
    settle(page)
    report = fetch(page, page.get_by_role("button", name=re.compile("Save the report .HTML"))).decode()
    assert report.index("Dermlens case report") < report.index("No rules for referral") < report.index("<h2>Diagnosis")
    expect(page.locator(".st-key-unsaved")).to_have_count(0)
    assert asked == ["beforeunload"]
