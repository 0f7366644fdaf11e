import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermlens.dataset.ham10000 import SPLIT_TABLE, SPLITS, load_split
from dermlens.dataset.isic2019 import load_external
from dermlens.dataset.split_audit import fingerprint
from dermlens.evaluation.predictions import read_predictions, write_predictions
from tests.dashboard import fill, open_page, text
from tests.dataset.test_split_audit import content


@pytest.fixture(autouse=True)
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page reads a copy of the split table, with no audit beside it."""
    copy = tmp_path / "ham10000.csv"
    shutil.copy(SPLIT_TABLE, copy)
    monkeypatch.setattr("ui.cache.SPLIT_TABLE", copy)
    monkeypatch.setattr("ui.cache.AUDIT", tmp_path / "audit.json")
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path / "models"))
    return copy


def test_the_split_is_counted(table: Path) -> None:
    app = open_page("about_data")
    rows = load_split(table)
    counted = {m.label: m.value for m in app.metric}
    assert counted == {s.capitalize(): f"{(rows['split'] == s).sum():,} images" for s in SPLITS}
    assert "CC BY-NC 4.0" in text(app)
    assert "has not been checked" in text(app)
    assert "No published model has a model card." in text(app)


def test_the_audit_is_shown_against_a_naive_split(table: Path) -> None:
    audit = content(table_sha256=fingerprint(load_split(table)))
    table.with_name("audit.json").write_text(json.dumps(audit))
    app = open_page("about_data")
    assert "**Nothing leaks in the split as it is now.**" in text(app)
    assert "would put 1,000 lesions" in text(app)
    assert not app.warning
    assert "Already seen in training" in str([c.proto for c in app.get("plotly_chart")])


def test_an_audit_of_another_table_and_a_leak_are_told(table: Path) -> None:
    table.with_name("audit.json").write_text(json.dumps(content(exact_duplicates={"across_splits": 2})))
    app = open_page("about_data")
    assert "another split table" in app.warning[0].value
    assert "**Something leaks.**" in text(app)


def test_other_archives_are_counted_by_what_they_serve_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown = open_page("about_data").dataframe[0].value
    table = load_external()
    assert shown.to_numpy().sum() == len(table)
    assert shown["test"].to_dict()["BCN20000"] == table["split"].eq("bcn20000").sum() - carcinomas(table)
    monkeypatch.setattr("ui.cache.EXTERNAL_TABLE", tmp_path / "none.csv")
    assert "table of other archives cannot be read" in text(open_page("about_data"))


def carcinomas(table: pd.DataFrame) -> int:
    return int((table["split"].eq("bcn20000") & table["dx"].eq("scc")).sum())


def write_card(table: Path, content: bytes) -> None:
    folder = table.parent / "models" / "toy"
    folder.mkdir(parents=True)
    (folder / "README.md").write_bytes(content)
    (folder / "predictions.csv").write_text("image_id\n")


def test_model_cards_are_shown(table: Path) -> None:
    write_card(table, b"# Card of the toy\n")
    assert "# Card of the toy" in text(open_page("about_data"))


def test_a_link_of_a_model_card_that_leads_to_no_page_is_its_text(table: Path) -> None:
    write_card(table, b"Of [other](../other/README.md), [a paper](https://example.org/a).\n")
    assert "Of other, [a paper](https://example.org/a)." in text(open_page("about_data"))


def test_a_model_card_that_cannot_be_read_is_named(table: Path) -> None:
    write_card(table, b"\xff\xfe")
    assert "models/toy/README.md, line 1, byte 1: this is not UTF-8 text" in text(open_page("about_data"))


def test_a_deep_link_chooses_the_subgroups(table: Path) -> None:
    app = open_page("about_data", **{"images-by": "Sex"})
    assert app.segmented_control(key="images-by").value == "sex"
    assert "Images by sex" in str([c.proto for c in app.get("plotly_chart")])


def test_shares_are_written_with_a_space(table: Path) -> None:
    shown = text(open_page("about_data"))
    train = load_split(table)["split"].eq("train").mean()
    assert f"{100 * train:.1f} % of the images" in shown
    assert not re.search(r"\d%", shown)


def test_a_missing_split_table_is_told(table: Path) -> None:
    table.unlink()
    assert "cannot be read" in text(open_page("about_data"))


def test_a_model_that_was_measured_on_images_which_have_moved_is_named(table: Path) -> None:
    folder = table.parent / "models" / "made-up"
    folder.mkdir(parents=True)
    fill(folder)
    app = open_page("about_data")
    assert "moved to training" not in text(app)
    p = read_predictions(folder / "predictions.csv")
    split = load_split()
    trained = split.loc[split["split"] == "train", "image_id"].to_numpy(object)[:7]
    write_predictions(folder / "predictions.csv", replace(p, image_id=np.r_[trained, p.image_id[7:]]))
    assert "before 7 images moved to training" in text(open_page("about_data"))
