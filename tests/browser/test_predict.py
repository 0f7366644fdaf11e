"""The path a person takes on Predict, in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from dermlens import predict, registry
from dermlens.charts.style import NAMES
from dermlens.summary import called
from tests.browser.app import serve
from tests.conftest import encode


@pytest.fixture(scope="module")
def address(pair: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(tmp_path_factory.mktemp("server") / "log", {"DERMLENS_MODELS": str(pair)}) as running:
        yield running


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    opened = browser.new_page()
    opened.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    opened.goto(f"{address}/predict")
    yield opened
    opened.close()


def test_upload_read_the_class_switch_and_start_anew(page: Page, pair: Path, lesion: np.ndarray) -> None:
    page.locator("input[type=file]").first.set_input_files(
        {"name": "lesion.png", "mimeType": "image/png", "buffer": encode(lesion)}
    )
    for model_id in ("toy", "toy2"):
        model = registry.load(registry.find(pair, model_id))
        diagnosis = called(predict.predict(model, lesion).probabilities)
        card = page.locator(f".st-key-verdict-{model_id}")
        expect(card.get_by_role("heading")).to_have_text(NAMES[diagnosis.code])
        expect(card).to_contain_text(diagnosis.group.capitalize())
        expect(card).to_contain_text("uncalibrated score")

    heat = page.locator(".st-key-heat")
    page.get_by_role("radio", name="Toy toy2").click()
    expect(heat).to_contain_text("Toy toy2: ")
    page.get_by_role("combobox", name=re.compile("Evidence for")).click()
    page.get_by_role("option", name="Melanoma (malignant)").click()
    expect(heat).to_contain_text("Toy toy2: Melanoma")
    expect(page).to_have_url(re.compile(r"class=mel"))

    link = page.url
    page.get_by_test_id("stSidebarNavLink").filter(has_text="Home").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Dermlens")
    page.get_by_test_id("stSidebarNavLink").filter(has_text="Predict").click()
    expect(page.locator(".st-key-verdict-toy")).to_be_visible()

    page.get_by_role("button", name="New case").click()
    expect(page.get_by_text("No image at hand?")).to_be_visible()
    expect(page.locator(".st-key-verdict-toy")).to_have_count(0)

    page.goto(link)
    expect(page.get_by_text("it is gone")).to_be_visible()
