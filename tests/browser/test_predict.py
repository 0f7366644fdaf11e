"""The path a person takes on Predict, in a real browser."""

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from dermlens.case import predict
from dermlens.case.summary import called
from dermlens.labels import NAMES
from dermlens.models import registry
from tests.browser.app import choose, go_to, part, settle, standing
from tests.conftest import encode
from ui.predict.triage import HEAD, ROW, ROWS

VERDICT = '[class*="st-key-verdict"]'


def upload(page: Page, *pictures: np.ndarray) -> None:
    files = [{"name": f"{i}.png", "mimeType": "image/png", "buffer": encode(p)} for i, p in enumerate(pictures)]
    page.locator("input[type=file]").first.set_input_files(files)


@pytest.fixture
def opened(page: Page, dashboard: str) -> Page:
    page.goto(f"{dashboard}/predict")
    return page


def test_upload_read_the_class_switch_and_start_anew(opened: Page, pair: Path, lesion: np.ndarray) -> None:
    page = opened
    upload(page, lesion)
    model = registry.load(registry.find(pair, "toy"))
    diagnosis = called(predict.predict(model, lesion))
    card = page.locator(VERDICT)
    expect(card.get_by_role("heading", level=3)).to_contain_text(NAMES[diagnosis.code])
    expect(card).to_contain_text(diagnosis.group.capitalize())
    expect(card).to_contain_text("Uncalibrated score by Toy toy")
    expect(page.locator(".st-key-models")).to_contain_text("Toy toy2")

    heat = part(page, "heat")
    page.get_by_role("radio", name="Toy toy2").click()
    expect(heat).to_contain_text("Toy toy2: ")
    choose(page, "Evidence for", "Melanoma (malignant)")
    expect(heat).to_contain_text("Toy toy2: Melanoma")
    expect(page).to_have_url(re.compile(r"class=Melanoma"))

    link = page.url
    go_to(page, "Home", "Dermlens")
    go_to(page, "Predict")
    expect(page.locator(VERDICT)).to_be_visible()
    expect(part(page, "heat")).to_contain_text("Toy toy2: Melanoma")

    page.get_by_role("button", name="New case").click()
    expect(page.get_by_text("No image at hand?")).to_be_visible()
    expect(page.locator(VERDICT)).to_have_count(0)

    page.goto(link)
    expect(page.get_by_text("it is gone")).to_be_visible()


def test_many_images_are_listed_and_a_row_opens_one(opened: Page, lesion: np.ndarray) -> None:
    page = opened
    upload(page, lesion, np.ascontiguousarray(lesion[:, ::-1]))
    table = page.get_by_test_id("stDataFrame").first
    expect(table).to_be_visible()
    expect(page).to_have_url(re.compile("image="))
    box = standing(page, table)
    last = page.url
    page.mouse.click(box["x"] + 16, box["y"] + HEAD + 1.5 * ROW)  # the second row, as the riskiest is shown at first
    expect(page).not_to_have_url(last)


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_the_answer_is_in_the_first_screen_and_the_page_is_short(
    page: Page, dashboard: str, lesion: np.ndarray, width: int, height: int
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.goto(f"{dashboard}/predict")
    upload(page, lesion)
    card = page.locator(VERDICT)
    expect(card).to_be_visible()
    settle(page)
    verdict, picture = card.bounding_box(), part(page, "heat").bounding_box()
    assert verdict is not None
    assert picture is not None
    assert verdict["y"] + verdict["height"] < height
    assert picture["y"] < height
    if width > height:
        assert picture["x"] + picture["width"] <= verdict["x"], "the picture stands left of the verdict"
        assert picture["y"] + picture["height"] < height
        assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight") < 2600
    sideways = "document.querySelector('[data-testid=stMain]').scrollWidth"
    assert page.evaluate(sideways) <= width


def test_ten_of_many_images_are_seen_at_once(page: Page, dashboard: str, lesion: np.ndarray) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(f"{dashboard}/predict")
    upload(page, *(np.roll(lesion, 3 * i, axis=1) for i in range(12)))
    expect(page.get_by_text("12 images in this case")).to_be_visible()
    settle(page)
    box = page.get_by_test_id("stDataFrame").first.bounding_box()
    assert box is not None
    assert box["y"] + HEAD + ROWS * ROW <= 800
    assert box["height"] >= HEAD + ROWS * ROW


def test_the_report_is_one_file_to_print(opened: Page, lesion: np.ndarray, tmp_path: Path) -> None:
    page = opened
    upload(page, lesion)
    page.locator(".st-key-report").get_by_role("button", name="Report").click()
    with page.expect_download() as download:
        page.get_by_role("button", name=re.compile("Save the report .HTML")).click()
    file = tmp_path / "report.html"
    download.value.save_as(file)
    asked: list[str] = []
    assert page.context.browser
    page = page.context.browser.new_page()  # the dashboard's own page may still be loading its parts
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    expect(page.get_by_role("heading", level=1)).to_have_text("Dermlens case report")
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    notes = page.get_by_role("textbox", name="Notes")
    notes.fill("Left forearm")
    expect(notes).to_have_text("Left forearm")
    pages = page.pdf(format="A4", prefer_css_page_size=True).count(b"/Type /Page\n")
    assert 1 <= pages <= 3
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_an_example_can_be_tried_with_the_keyboard_alone(opened: Page) -> None:
    page = opened
    example = page.get_by_role("button", name="Red spot", exact=True)
    expect(example).to_be_visible()
    for _ in range(60):
        if example.evaluate("element => element === document.activeElement"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(VERDICT)).to_be_visible()
    settle(page)  # a menu drawn anew meanwhile would lose the focus
    page.get_by_role("combobox", name=re.compile("Evidence for")).focus()
    page.keyboard.type("Dermatofibroma")
    expect(page.get_by_role("option")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(part(page, "heat")).to_contain_text("Dermatofibroma")
    slider = page.get_by_role("slider", name="Opacity")
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile("opacity=65"))


def test_a_whole_folder_can_be_given(opened: Page, lesion: np.ndarray, tmp_path: Path) -> None:
    page = opened
    folder = tmp_path / "case"
    folder.mkdir()
    (folder / "a.png").write_bytes(encode(lesion))
    (folder / "b.png").write_bytes(encode(np.ascontiguousarray(lesion[::-1])))
    (folder / "notes.txt").write_text("text")
    page.get_by_role("radio", name="A folder").click()
    page.locator("input[type=file][webkitdirectory]").set_input_files(folder)
    expect(page.get_by_text("2 images in this case")).to_be_visible()
    page.get_by_role("button", name="Add images").click()
    expect(page.get_by_text("1 file of the folder is not an image")).to_be_visible()
