import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.app import chromium, chromium_path

HERE = Path(__file__).parent
expect.set_options(timeout=30_000)  # milliseconds; a busy machine is not a failure


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
    with chromium(path) as running:
        yield running
