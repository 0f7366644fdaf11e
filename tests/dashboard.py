"""Open pages of the dashboard without a browser, and fill a models folder with predictions like real ones."""

import json
from pathlib import Path

import numpy as np
from streamlit.testing.v1 import AppTest

from dermlens.intervals import summarise
from dermlens.labels import CLASSES
from dermlens.predictions import concatenate, make_predictions, write_predictions

HOME = Path(__file__).parents[1] / "Home.py"
SHARES = (0.033, 0.051, 0.110, 0.011, 0.111, 0.670, 0.014)  # of HAM10000, in class order


def open_page(stem: str, **query: str) -> AppTest:
    """Run Home.py and go on to one page, as a link with this query would."""
    app = AppTest.from_file(str(HOME), default_timeout=60).run()
    if stem != "home":
        app.switch_page(f"pages/{stem}.py")
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    return check(app)


def check(app: AppTest) -> AppTest:
    """Fail if the page shows a traceback; returns the app."""
    assert not app.exception, app.exception[0].message
    return app


def text(app: AppTest) -> str:
    """Return everything a person can read on the page, a line an element."""
    kinds = ("title", "subheader", "markdown", "caption", "text", "error", "warning", "info", "success")
    return "\n".join(str(element.value) for kind in kinds for element in app.get(kind))


def fill(folder: Path, seed: int = 0, n: int = 400, skill: float = 2.0, absent: str | None = None) -> None:
    """Write predictions.csv and metrics.json of a made-up model that is right more often the higher its skill.

    Two models filled with one n share images and true classes; `absent` names a class without any image.
    """
    parts = []
    noise = np.random.default_rng(seed)
    for number, split in enumerate(("validation", "test")):
        facts = np.random.default_rng(number)
        lesion = np.sort(facts.integers(0, max(1, int(n * 0.75)), n))
        shares = np.array([0 if code == absent else share for code, share in zip(CLASSES, SHARES, strict=True)])
        by_lesion = facts.choice(len(CLASSES), n, p=shares / shares.sum())
        y = by_lesion[lesion]
        logits = noise.normal(0, 1, (n, len(CLASSES))) + 1.2 * np.log(np.maximum(shares, 1e-3) / shares.max()) * 0.5
        logits[np.arange(n), y] += skill
        ids = [f"{split[:3].upper()}_{i:05}" for i in range(n)]
        parts.append(make_predictions(ids, [f"L{number}_{i:05}" for i in lesion], split, y, logits))
    predictions = concatenate(parts)
    write_predictions(folder / "predictions.csv", predictions)
    figures = {s: summarise(predictions.of_split(s), replicates=50).to_dict() for s in ("validation", "test")}
    (folder / "metrics.json").write_text(json.dumps(figures))
