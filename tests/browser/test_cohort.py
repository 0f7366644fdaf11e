"""The page Cohort as a person uses it: read what came out, and open a row's case."""

import hashlib
import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from dermlens.cohort.results import rows, status
from dermlens.cohort.store import place
from tests.browser.app import serve, settle, standing
from tests.cohort import folders


@pytest.fixture(scope="module")
def finished(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the images, and with the cohort "clinic" made of them."""
    base = tmp_path_factory.mktemp("cohort")
    folders.finished(base, published, 12)
    return base


def test_a_finished_cohort_is_read_and_its_riskiest_image_opened(page: Page, finished: Path, published: Path) -> None:
    settings = {"DERMLENS_MODELS": str(published), "DERMLENS_COHORTS": str(finished / "all")}
    with serve(finished / "log", settings) as address:
        page.goto(f"{address}/cohort?cohort=clinic")
        expect(page.get_by_role("heading", name="Images by risk")).to_be_visible()
        settle(page)
        expect(page.get_by_test_id("stAlert")).to_have_count(0)
        box = standing(page, page.get_by_test_id("stDataFrame").first)
        page.mouse.click(box["x"] + 16, box["y"] + 52)  # the first row's mark: a canvas has no parts to name
        expect(page.get_by_role("heading", level=1)).to_have_text("Predict")
        settle(page)
        expect(page).to_have_url(re.compile(f"image={digest(riskiest(finished))[:12]}"))
        page.go_back()
        expect(page.get_by_role("heading", name="Images by risk")).to_be_visible()


def riskiest(finished: Path) -> Path:
    """Return the image with the highest suspect probability, of those that were read."""
    output = place(finished / "all" / "clinic")
    table = rows(output, status(output, time.time()).parts).to_pandas()
    return finished / "images" / str(table.loc[table["suspect"].idxmax(), "image"])


def digest(image: Path) -> str:
    return hashlib.sha256(image.read_bytes()).hexdigest()
