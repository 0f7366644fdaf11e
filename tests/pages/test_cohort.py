import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from dermlens.cohort import part
from tests.cohort import folders
from tests.dashboard import check, open_page, text
from ui.cohort import table as module


@pytest.fixture(scope="module")
def finished(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one cohort of 40 images, "clinic"; images lie beside it."""
    base = tmp_path_factory.mktemp("cohorts")
    folders.finished(base, published, 40)
    return base


@pytest.fixture
def cohorts(finished: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(finished / "all", tmp_path / "all")
    monkeypatch.setenv("DERMLENS_MODELS", str(published))
    monkeypatch.setenv("DERMLENS_COHORTS", str(tmp_path / "all"))
    return tmp_path / "all"


def metrics(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def test_without_a_cohort_the_page_says_how_to_make_one(cohorts: Path) -> None:
    shutil.rmtree(cohorts)
    assert "dermlens.cohort run" in text(open_page("cohort"))


def test_a_finished_cohort_is_counted_drawn_and_listed_by_risk(cohorts: Path) -> None:
    app = open_page("cohort")
    shown = metrics(app)
    assert shown["Not readable"] == "5"
    assert (shown["No diagnosis"], shown["A rule for referral applies"]) == ("n/a", "n/a"), "toy has no such parts"
    assert shown["Poor pictures"].startswith("35 ")
    assert "Time left" not in shown
    assert "Toy toy" in text(app)
    listed = app.dataframe[0].value
    assert len(listed) == 25
    assert listed["suspect"].is_monotonic_decreasing
    broken = next(t.value for t in app.dataframe if "code" in t.value)
    assert set(broken["code"]) == {"unreadable"}
    assert len(broken) == 5
    figures = [str(chart.proto) for chart in app.get("plotly_chart")]
    assert len(figures) == 3, "calls, probabilities, and the pictures against validation"
    assert "Against validation" in text(app)
    compared = next(t.value for t in app.dataframe if "quantity" in t.value).set_index("quantity")
    assert compared.loc["Brightness", "images"] == 35
    assert "Calls: " in text(app), "why they are not compared: the toy model has no predictions"


def changed(file: Path, number: int, **values: object) -> str:
    """Change values of one of the images of a part that were read; returns its name."""
    table = pq.read_table(file)
    at = [i for i, error in enumerate(table["error"].to_pylist()) if error is None][number]
    for name, value in values.items():
        column = table[name].to_pylist()
        column[at] = value
        field = table.schema.field(name)
        table = table.set_column(table.schema.get_field_index(name), field, pa.array(column, field.type))
    pq.write_table(table, file)
    return str(table["image"][at])


def test_the_ranking_reads_no_probability_as_certain(cohorts: Path) -> None:
    file = cohorts / "clinic" / part.name_of(0)
    name = changed(file, 0, suspect=0.9997)
    changed(file, 1, suspect=0.99)
    ranked = open_page("cohort").dataframe[0]
    assert ranked.value["image"].iloc[0] == name
    assert ranked.value["suspect"].iloc[:2].tolist() == pytest.approx([99.9, 99.0], abs=1e-4)
    assert json.loads(ranked.proto.columns)["suspect"]["type_config"]["format"] == "%.1f %%"


def test_refused_images_stand_apart_and_their_numbers_count_nowhere(cohorts: Path) -> None:
    file = cohorts / "clinic" / part.name_of(0)
    name = changed(file, 0, refused=True, call=None, suspect=0.97)
    table = pq.read_table(file)
    pq.write_table(
        table.replace_schema_metadata({**table.schema.metadata, b"dermlens.refused": b"1", b"dermlens.gated": b"35"}),
        file,
    )

    app = open_page("cohort")
    ranked, *others = [t.value for t in app.dataframe if "image" in t.value]
    assert name not in [*ranked["image"]]
    assert ranked["suspect"].max() < 97
    (apart,) = others
    assert apart["image"].tolist() == [name]
    assert not {"suspect", "call"} & set(apart)
    assert "1 image without a diagnosis" in [e.label for e in app.expander]
    assert metrics(app)["No diagnosis"] == "1 (2.9 %)", "of the 35 images that could be read"
    assert metrics(app)["Poor pictures"] == "35 (100.0 %)"
    calls, suspect = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")][:2]
    assert calls["data"][0]["text"][-1] == "1 (2.9 %)", "one count has one share"
    assert sum(n for _, n in suspect["data"][0]["customdata"]) == 34
    assert "compared without 1 refused image" in text(app)


def test_a_row_opens_its_case_and_says_so_where_the_file_is_gone(
    cohorts: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page("cohort")
    first = app.dataframe[0].value["image"].iloc[0]
    opened: list[str] = []
    monkeypatch.setattr(module.state, "hand_in", lambda data, name: opened.append(name))
    monkeypatch.setattr(module.st, "session_state", {"cohort-table": None})
    record = {"input": str(finished / "images"), "stored_aspect": "4:3"}
    found = module.Status(record, 1, 1, 1, (), {}, 1.0, 0.0, "finished")
    module._open(found, first)
    assert opened == [Path(first).name]
    assert module.st.session_state["cohort-opened"] == ""
    assert module.st.session_state[module.state.STORED_ASPECT] == "4:3", "it is read as its row was"
    module._open(found, "gone.png")
    assert "gone.png cannot be read: No such file" in module.st.session_state["cohort-opened"]


def test_an_unfinished_cohort_says_how_far_it_is(cohorts: Path) -> None:
    for number in (1, 3):
        (cohorts / "clinic" / part.name_of(number)).unlink()
    app = open_page("cohort")
    assert "24 of 40 images: running" in str(app.get("progress")[0].proto)
    assert "Time left" in metrics(app)
    assert len(app.dataframe[0].value) <= 24


def test_a_damaged_cohort_is_a_sentence(cohorts: Path) -> None:
    (cohorts / "clinic" / "manifest.parquet").write_bytes(b"damaged")
    app = open_page("cohort")
    assert "manifest" in str(app.error[0].value)
    (cohorts / "clinic" / "cohort.json").write_text("[")
    assert "cohort" in str(check(app.run()).error[0].value)


def test_a_cohort_with_parts_of_another_model_is_a_sentence(cohorts: Path) -> None:
    record = json.loads((cohorts / "clinic" / "cohort.json").read_text())
    (cohorts / "clinic" / "cohort.json").write_text(json.dumps(record | {"model": "another"}))
    assert "was made with another model" in str(open_page("cohort").error[0].value)


def test_a_cohort_of_a_model_that_is_not_here_is_shown_without_comparison(
    cohorts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path / "none"))
    app = open_page("cohort")
    assert "not among those published here" in text(app)
    assert np.isfinite(app.dataframe[0].value["suspect"]).all()


def test_a_cohort_is_not_compared_with_another_model_that_took_the_name_of_its_own(
    cohorts: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(published, tmp_path / "models")
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path / "models"))
    assert any("quantity" in t.value for t in open_page("cohort").dataframe)
    card = tmp_path / "models" / "toy" / "card.json"
    values = json.loads(card.read_text())
    values["files"]["model.keras"] = "0" * 64
    card.write_text(json.dumps(values))
    app = open_page("cohort")
    assert "has other files now than when it answered, so there is nothing to compare with" in text(app)
    assert len(app.get("plotly_chart")) == 2
    card.write_text("{")
    assert "cannot be used, so there is nothing to compare with" in text(open_page("cohort"))
