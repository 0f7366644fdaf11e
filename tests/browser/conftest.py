import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from dermlens.dataset.ham10000 import IMAGE_FOLDERS
from dermlens.evaluation.predictions import read_predictions
from dermlens.image.synthetic import draw_lesion
from dermlens.labels import INDEX
from tests.browser.app import PATIENCE, chromium, chromium_path, serve
from tests.dashboard import add_run

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium. Without one a browser test is skipped here, but fails where CI is set."""
    path = chromium_path()
    if path is None:
        sentence = "no Chromium found: `make browser` installs it, or name one in DERMLENS_BROWSER"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)
    expect.set_options(timeout=PATIENCE)
    with chromium(path) as running:
        yield running


@pytest.fixture(scope="session")
def confused(pair: Path) -> list[str]:
    """The ids of the melanomas that the toy model calls nevi, on validation."""
    p = read_predictions(pair / "toy" / "predictions.csv").of_split("validation")
    return list(p.image_id[(p.y_true == INDEX["mel"]) & (p.y_pred == INDEX["nv"])])


@pytest.fixture(scope="session")
def dashboard(pair: Path, confused: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A dashboard with three models, two runs and the drawn images of a few cases; returns its address."""
    root = tmp_path_factory.mktemp("dashboard")
    (root / "data" / IMAGE_FOLDERS[0]).mkdir(parents=True)
    for seed, image_id in enumerate(confused):
        drawn = draw_lesion(np.random.default_rng(seed), 90, 120)
        cv2.imwrite(str(root / "data" / IMAGE_FOLDERS[0] / f"{image_id}.jpg"), drawn[..., ::-1])
    for seed in (1, 2):
        add_run(root / "runs", f"run-{seed}", seed)
    settings = {"DERMLENS_MODELS": pair, "DERMLENS_RUNS": root / "runs", "HAM10000_DIR": root / "data"}
    with serve(root / "log", {name: str(value) for name, value in settings.items()}) as address:
        yield address


@pytest.fixture(scope="session")
def window(browser: Browser) -> Iterator[BrowserContext]:
    """A browser window that keeps the dashboard's scripts as compiled; nothing in it moves."""
    opened = browser.new_context(viewport={"width": 1400, "height": 1000}, reduced_motion="reduce")
    opened.set_default_timeout(PATIENCE)
    yield opened
    opened.close()


@pytest.fixture
def page(window: BrowserContext) -> Iterator[Page]:
    """A page in that window, which remembers nothing of the pages before."""
    opened = window.new_page()
    yield opened
    if opened.url.startswith("http"):
        opened.evaluate("localStorage.clear()")
    for left in window.pages:
        left.close()
    window.clear_cookies()
