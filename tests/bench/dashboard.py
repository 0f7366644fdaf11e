"""The dashboard against the time it may take: on the server without a browser, and in a browser if there is one.

Where a limit is an absolute time, the baseline is a pause of that length and the limit is 1.
"""

import functools
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from streamlit.testing.v1 import AppTest

from dermlens.evaluation.predictions import LOGITS
from dermlens.image.examples import EXAMPLES
from dermlens.image.synthetic import draw_lesion
from dermlens.labels import CLASSES
from dermlens.models import registry
from tests.bench.case import Case
from tests.browser.app import chromium, chromium_path, serve
from tests.conftest import encode
from tests.dashboard import check, open_page
from tests.visitor import Visitor
from ui.widgets import class_name

MODES = ("row", "column", "count")


def cases() -> Iterable[Case]:
    """Yield the cases; models without serving files are left out."""
    data = encode(draw_lesion(np.random.default_rng(0)), ".jpg")
    if any(e.has_weights and not e.problem for e in registry.discover(registry.models_dir())):
        yield from _predict_page()
        yield from _in_the_browser(data)
    for rows, files, seconds in ((10_000, 5, 0.5), (1_000_000, 1, 3.0)):
        name = f"metrics page: {rows:,} rows x {files}, another cell"
        yield Case(name, _metrics_page(rows, files), _pause(seconds), 1.0, repeats=3)


def _pause(seconds: float) -> Callable[[], None]:
    return lambda: time.sleep(seconds)


def _predict_page() -> Iterable[Case]:
    """Switch what is shown of a case, over the real protocol: as in a browser, a part of the page is drawn anew."""
    classes = itertools.cycle(map(class_name, CLASSES))
    opacities = itertools.cycle(range(20, 60, 5))
    log = Path(tempfile.mkdtemp()) / "log"
    with serve(log) as address, Visitor(address, "predict") as visitor:
        visitor.press(EXAMPLES[0].name)
        visitor.settle()
        switches: dict[str, Callable[[], object]] = {
            "class": lambda: visitor.choose("selectbox", "Evidence for", string_value=next(classes)),
            "opacity": lambda: visitor.choose("slider", "Opacity", double_array_value={"data": [next(opacities)]}),
        }

        def another(name: str) -> None:
            before = visitor.answer()
            switches[name]()
            assert visitor.answer() != before, f"another {name} changed nothing"

        for name in switches:
            yield Case(f"predict page: another {name}", functools.partial(another, name), _pause(0.3), 1.0, repeats=9)


def _metrics_page(rows: int, files: int) -> Callable[[], object]:
    """Return a rerun of the page with another kind of cell, on made-up predictions of many images."""
    folder = Path(tempfile.mkdtemp())
    rng = np.random.default_rng(0)
    y = rng.integers(0, len(CLASSES), rows)
    for i in range(files):
        logits = rng.normal(0, 1, (rows, len(CLASSES)))
        logits[np.arange(rows), y] += 2
        table = pd.DataFrame(logits.round(3), columns=list(LOGITS))
        table.insert(0, "y_true", np.array(CLASSES)[y])
        table.insert(0, "split", "validation")
        table.insert(0, "lesion_id", [f"L{n // 2}" for n in range(rows)])
        table.insert(0, "image_id", [f"I{n}" for n in range(rows)])
        (folder / str(i)).mkdir()
        table.to_csv(folder / str(i) / "predictions.csv", index=False)
    before = os.environ.get("DERMLENS_MODELS")
    os.environ["DERMLENS_MODELS"] = str(folder)
    app = open_page("metrics", patience=600)
    turn = itertools.count()

    def another() -> AppTest:
        os.environ["DERMLENS_MODELS"] = str(folder)
        app.radio(key="cells").set_value(MODES[next(turn) % 3])
        return check(app.run())

    if before is None:
        del os.environ["DERMLENS_MODELS"]
    else:
        os.environ["DERMLENS_MODELS"] = before
    return another


def _in_the_browser(data: bytes) -> Iterable[Case]:
    path = chromium_path()
    if path is None:
        print("browser: upload to answer: left out, there is no Chromium (make browser installs it)")
        return
    log = Path(tempfile.mkdtemp()) / "log"
    with serve(log) as address, chromium(path) as browser:
        page = browser.new_page()
        page.goto(f"{address}/predict")
        first = page.locator("[class*=st-key-verdict-]").first

        def upload() -> None:
            file = {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": data}
            page.locator("input[type=file]").first.set_input_files(file)
            first.wait_for()

        def new_case() -> None:
            if first.is_visible():
                page.get_by_role("button", name="New case").click()
                first.wait_for(state="detached")
            page.locator("input[type=file]").first.wait_for(state="attached")

        yield Case("browser: upload to answer", upload, _pause(0.6), 1.0, repeats=7, before=new_case)
