"""The nastiest files and names through a real browser: nothing runs, nothing hangs, and a good image is still read."""

import numpy as np
import pytest
from playwright.sync_api import Dialog, FilePayload, Page, expect

from tests.corpus.case import NAMES, Case
from tests.corpus.corpus import corpus
from tests.image_files import picture, saved

REFUSED = (  # a few at a time, so that each is written out on the page
    ("svg", "html", "gif and javascript", "pdf and jpeg"),
    ("png header 20000 x 20000", "webp canvas 20000 x 20000", "jpeg header 65500 x 65500", "png bomb over the limit"),
    ("noise that begins like a HEIC", "dicom without pixels", "dicom film", "nan tiff", "png with a bomb for a text"),
)
ACCEPTED = ("png with html inside", "jpeg and html", "dicom with hostile tags", "program and dicom", "heic")
RUNS = '<img src=x onerror="window.hostile = true">'


def hand_in(page: Page, *files: tuple[str, bytes]) -> None:
    chooser = page.locator("input[type=file]").first
    payload: list[FilePayload] = [{"name": name, "mimeType": "image/png", "buffer": data} for name, data in files]
    chooser.set_input_files(payload)


def anew(page: Page) -> None:
    page.get_by_role("button", name="New case").click()
    expect(page.get_by_text("No image at hand?")).to_be_visible()


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    return {case.name: case for case in corpus()}


@pytest.fixture
def opened(page: Page, dashboard: str) -> Page:
    """The page Predict, which fails a test on any dialog."""

    def refuse(dialog: Dialog) -> None:
        pytest.fail(f"a dialog opened: {dialog.message}")

    page.on("dialog", refuse)
    page.goto(f"{dashboard}/predict")
    return page


def unharmed(page: Page) -> bool:
    return page.evaluate("window.hostile === undefined && document.title.length > 0")


def test_hostile_files_are_refused_in_sentences_and_the_good_one_among_them_is_answered(
    opened: Page, cases: dict[str, Case]
) -> None:
    page = opened
    for names in REFUSED:
        good = ("good.png", saved(picture(), "PNG"))
        hand_in(page, *((f"{name}.png", cases[name].data) for name in names), good)
        expect(page.locator("[class*=st-key-verdict]")).to_be_visible()
        page.get_by_role("button", name="Add images").click()
        for name in names:
            shown = page.get_by_test_id("stAlert").filter(has_text=f"{name}.png")
            expect(shown).to_contain_text(cases[name].says)
        page.keyboard.press("Escape")
        assert unharmed(page)
        anew(page)


def test_files_of_two_natures_are_nothing_but_pictures(opened: Page, cases: dict[str, Case]) -> None:
    page = opened
    hand_in(page, *((f"{name}.html", cases[name].data) for name in ACCEPTED))
    expect(page.get_by_text(f"{len(ACCEPTED)} images in this case")).to_be_visible()
    expect(page.locator("[class*=st-key-verdict]")).to_be_visible()
    assert unharmed(page)


def test_hostile_names_are_shown_as_text(opened: Page) -> None:
    page = opened
    names = (RUNS, "[click](javascript:window.hostile=1)", "../../../etc/passwd", NAMES[7], "a" * 200)
    bad = [(f"{name}.png", b"no image") for name in names]
    endless = ("a" * 10_000 + ".png", b"no image")  # the server does not take it in, and the others go on
    hand_in(page, *bad, endless, ("good.png", saved(np.ascontiguousarray(picture()[::-1]), "PNG")))
    expect(page.locator("[class*=st-key-verdict]")).to_be_visible()
    page.get_by_role("button", name="Add images").click()
    alerts = page.get_by_test_id("stAlert").filter(has_text="begin like any known image")
    expect(alerts).to_have_count(len(bad))
    expect(alerts.locator("img, a, script")).to_have_count(0)
    assert all("\u202e" not in text and len(text) < 400 for text in alerts.all_inner_texts())
    assert unharmed(page)
