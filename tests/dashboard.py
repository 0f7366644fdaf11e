"""Open pages of the dashboard without a browser, and fill a models folder with predictions like real ones."""

import functools
import json
from pathlib import Path

import numpy as np
import pandas as pd
from streamlit.components.v2 import manifest_scanner
from streamlit.runtime.scriptrunner import script_runner
from streamlit.testing.v1 import AppTest

from dermlens.dataset.ham10000 import load_split
from dermlens.evaluation.intervals import summarise
from dermlens.evaluation.predictions import concatenate, make_predictions, write_predictions
from dermlens.labels import CLASSES, INDEX
from dermlens.models.runs import HISTORY

# AppTest looks through every installed package anew for each page it opens.
manifest_scanner.scan_component_manifests = functools.cache(manifest_scanner.scan_component_manifests)
# Where Keras is imported, as tests do and a server does not, each run would end with a search for garbage.
script_runner._clean_problem_modules = lambda: None

HOME = Path(__file__).parents[1] / "Home.py"
SHARES = (0.033, 0.051, 0.110, 0.011, 0.111, 0.670, 0.014)  # of HAM10000, in class order


def open_page(stem: str, patience: float = 600, **query: str) -> AppTest:
    """Run Home.py and go on to one page, as a link with this query would."""
    app = AppTest.from_file(str(HOME), default_timeout=patience).run()
    if stem != "home":
        app.switch_page(f"pages/{stem}.py")
    for name, value in query.items():
        app.query_params[name] = value
    if stem != "home" or query:  # a second run of AppTest would open the page without Home.py around it
        app.run()
    return check(app)


def check(app: AppTest) -> AppTest:
    """Fail if the page shows a traceback; returns the app."""
    assert not app.exception, app.exception[0].message
    return app


def text(app: AppTest) -> str:
    """Return everything a person can read on the page, a line an element."""
    kinds = ("title", "header", "subheader", "markdown", "caption", "text", "error", "warning", "info", "success")
    return "\n".join(str(element.value) for kind in kinds for element in app.get(kind))


def tables(app: AppTest) -> list[pd.DataFrame]:
    """Return the tables that are shown whole, as they read: st.table takes their cells for Markdown."""
    return [table.value.rename(columns=_plain).map(_plain) for table in app.table]


def _plain(cell: str) -> str:
    assert not cell.startswith((">", "#", "-")), f"Markdown would take the first sign of {cell!r} away"
    return cell.replace("\\", "").replace("\N{NO-BREAK SPACE}", " ")


def fill(folder: Path, seed: int = 0, share: float = 0.3, skill: float = 2.0, absent: str | None = None) -> None:
    """Write predictions.csv and metrics.json of a made-up model that is right more often the higher its skill.

    Images, lesions and true classes are those of the committed split table, or the first `share` of them; `absent`
    names a class to leave out. Models filled alike share their images.
    """
    table = load_split()
    noise = np.random.default_rng(seed)
    parts = []
    for split in ("validation", "test"):
        rows = table[(table["split"] == split) & (table["dx"] != absent)]
        rows = rows.head(int(share * len(rows)))
        y = rows["dx"].map(INDEX).to_numpy()
        logits = noise.normal(0, 1, (len(y), len(CLASSES))) + 0.8 * np.log(SHARES)
        logits[np.arange(len(y)), y] += noise.normal(skill, 1, len(y))
        parts.append(make_predictions(rows["image_id"], rows["lesion_id"], split, y, logits))
    predictions = concatenate(parts)
    write_predictions(folder / "predictions.csv", predictions)
    metrics = {s: summarise(predictions.of_split(s), replicates=50).to_dict() for s in ("validation", "test")}
    (folder / "metrics.json").write_text(json.dumps(metrics))


def add_run(runs: Path, run_id: str, seed: int = 1, epochs: tuple[int, ...] = (4, 8), **record: object) -> Path:
    """Write a run folder with a made-up history, one phase an entry of `epochs`; returns it."""
    folder = runs / run_id
    folder.mkdir(parents=True)
    config = {"architecture": "toy", "loss": "cross_entropy", "seed": seed, "phases": [{"epochs": n} for n in epochs]}
    config |= dict(record.pop("config", {}))  # type: ignore[call-overload]
    values = {"id": run_id, "config_name": "toy", "config": config, "measured_weights": "EMA"}
    started = {"started": f"2026-01-{seed:02}T10:00:00+00:00", "finished": "2026-01-31T10:00:00+00:00"}
    (folder / "run.json").write_text(json.dumps({**values, **started, **record}))
    rng = np.random.default_rng(seed)
    lines = [",".join(HISTORY)]
    epoch = 0
    for phase, count in enumerate(epochs, start=1):
        for step in range(count):
            epoch += 1
            rate = 1e-3 / phase * 0.5 * (1 + np.cos(np.pi * step / count))
            gain = 1 - np.exp(-epoch / 4) + rng.normal(0, 0.015)
            loss = 1.8 - 1.3 * gain
            metrics = (loss, loss + 0.15, 0.5 + 0.38 * gain, 0.48 + 0.36 * gain, 0.2 + 0.6 * gain, 0.2 + 0.55 * gain)
            more = (0.1 + 0.6 * gain, loss + 0.05, rng.normal(60, 2))
            lines.append(",".join(str(v) for v in (epoch, phase, *(f"{x:.6g}" for x in (rate, *metrics, *more)))))
    (folder / "history.csv").write_text("\n".join(lines) + "\n")
    return folder
