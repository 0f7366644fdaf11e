"""What those who compare models do: bring predictions, look through errors, go back, follow a link to what is gone."""

import csv
import io
import re
import shutil
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, Response, expect

from dermlens.evaluation.predictions import read_predictions
from dermlens.image.examples import EXAMPLES
from dermlens.labels import CLASSES
from dermlens.trust.embedding_map import FILE as MAP
from tests.browser.app import choose, go_to, part, serve, settle
from tests.browser.test_downloads import fetch, rows_of

STREAMLITS_OWN = re.compile(r"/_stcore/(health|host-config)$")
"""Asked for below the page's address first, and then where they are."""


def submission(of: Path) -> dict[str, bytes]:
    """Return the validation predictions of a folder as an ISIC 2018 submission, and the truth."""
    p = read_predictions(of).of_split("validation")
    columns = [code.upper() for code in CLASSES]
    found = {}
    for name, values in (("mine.csv", p.probabilities), ("truth.csv", np.eye(len(CLASSES), dtype=int)[p.y_true])):
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["image", *columns])
        writer.writerows([image, *row] for image, row in zip(p.image_id, values.tolist(), strict=True))
        found[name] = text.getvalue().encode()
    return found


def test_predictions_are_brought_for_the_session_and_compared(page: Page, dashboard: str, pair: Path) -> None:
    files = submission(pair / "external" / "predictions.csv")
    page.goto(f"{dashboard}/compare?compare=On+a+data+split")
    bring = page.get_by_role("button", name=re.compile("Bring predictions"))

    def hand_in(*names: str) -> None:
        settle(page)
        if not page.get_by_text("Truth (CSV), for a submission").is_visible():
            bring.click()
        expect(page.locator("input[type=file]")).to_have_count(2)
        for i, name in enumerate(names):
            chosen = {"name": name, "mimeType": "text/csv", "buffer": files[name]}
            page.locator("input[type=file]").nth(i).set_input_files(chosen)
            expect(page.get_by_test_id("stFileUploader").nth(i)).to_contain_text(name)
            settle(page)
        page.get_by_role("button", name="Compare with these").click()

    hand_in("mine.csv")
    expect(page.get_by_text("does not say the truth")).to_be_visible()
    hand_in("mine.csv", "truth.csv")
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", name="Do Toy toy and mine really differ?")).to_be_visible()
    expect(page.get_by_text("each image counts as a lesion of its own")).to_be_visible()
    rows = rows_of(fetch(page, part(page, "data-model-roc").get_by_role("button")))
    assert {row["curve"] for row in rows} == {"Toy toy", "mine"}
    page.get_by_text("Calibration", exact=True).click()
    rows = rows_of(fetch(page, part(page, "data-model-calibration").get_by_role("button")))
    assert {row["model"] for row in rows} == {"Toy toy", "mine"}
    assert all(0 <= float(row["right"]) <= 1 for row in rows)
    assert not list(pair.glob("*mine*")), "nothing is written"
    page.reload()
    expect(page.get_by_text("The link names a model that is not here: mine.")).to_be_visible()


def test_the_gallery_shows_errors_as_pictures_which_open_and_can_be_tagged(
    page: Page, dashboard: str, confused: list[str]
) -> None:
    page.goto(f"{dashboard}/metrics?show=Gallery&true=Melanoma&called=Melanocytic+nevus")
    pictures = page.get_by_role("img", name=re.compile("melanoma, called melanocytic nevus"))
    expect(pictures).to_have_count(min(12, len(confused)))
    names = [str(picture.get_attribute("alt")).partition(":")[0] for picture in pictures.all()]
    assert set(names) <= set(confused)
    page.get_by_text("Disagreement", exact=True).click()
    expect(page.get_by_text("total variation distance")).to_be_visible()
    page.get_by_label("Tag").first.fill("=odd border")
    page.get_by_label("Tag").first.press("Enter")
    rows = rows_of(fetch(page, part(page, "save-tags").get_by_role("button")))
    assert [(r["tag"], r["true"], r["called"]) for r in rows] == [("'=odd border", "mel", "nv")]
    page.locator("[class*=st-key-open-ISIC] button").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("true diagnosis: Melanoma")


def test_a_click_on_a_point_of_the_map_opens_its_case(
    page: Page, pair: Path, confused: list[str], tmp_path: Path
) -> None:
    models = shutil.copytree(pair, tmp_path / "models")
    first, second = confused[:2]
    (models / "toy" / MAP).write_text(f"image_id,first,second\n{first},-1,2\n{second},3,-1\n")
    with serve(tmp_path / "log", {"DERMLENS_MODELS": str(models)}) as address:
        page.goto(f"{address}/metrics?show=Map")
        points = page.locator(".st-key-figure-embedding-map .scatterlayer .point")
        expect(points).to_have_count(2)
        settle(page)
        left = min(points.all(), key=lambda point: (point.bounding_box() or {"x": 0})["x"])
        box = left.bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text(first)
        expect(dialog).to_contain_text("true diagnosis: Melanoma")
        assert second not in dialog.inner_text()


def test_back_goes_back_a_step_and_nothing_is_asked_for_in_vain(page: Page, dashboard: str) -> None:
    """A step is another page or tab; what is chosen there comes back with it, and no step is taken twice."""
    lost: list[str] = []

    def note(response: Response) -> None:
        if response.status >= 400 and not STREAMLITS_OWN.search(response.url):
            lost.append(f"{response.status} {response.url}")

    def expect_step(heading: str, tab: str, address: str) -> None:
        expect(page.get_by_role("heading", level=1)).to_have_text(heading)
        if tab:
            expect(page.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")
        expect(page).to_have_url(re.compile(address))
        settle(page)

    page.on("response", note)
    page.goto(dashboard)
    settle(page)
    go_to(page, "Metrics")
    page.get_by_role("tab", name="Per class").click()
    expect_step("Metrics", "Per class", r"metrics\?show=Per\+class$")
    choose(page, "Model", "Toy toy2")
    expect_step("Metrics", "Per class", r"of=Toy\+toy2&show=Per\+class")
    go_to(page, "Predict", "Predict")
    page.get_by_role("button", name=EXAMPLES[0].name, exact=True).click()
    expect_step("Predict", "", r"predict\?image=\w+$")
    go_to(page, "Compare models")
    page.get_by_role("tab", name="On a data split").click()
    expect_step("Compare models", "On a data split", "compare=On")
    expect(page.get_by_text("Choose at least two models")).to_have_count(0)  # what Metrics chose is not carried over
    page.go_back()
    expect_step("Compare models", "On one image", "/compare")
    page.go_back()
    expect_step("Predict", "", r"predict\?image=\w+$")
    page.go_back()
    expect_step("Metrics", "Per class", r"of=Toy\+toy2&show=Per\+class")
    page.go_back()
    expect_step("Metrics", "Confusion matrix", "/metrics")
    page.go_forward()
    expect_step("Metrics", "Per class", "show=Per")
    page.go_back()
    expect_step("Metrics", "Confusion matrix", "/metrics")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Dermlens")
    assert lost == []
