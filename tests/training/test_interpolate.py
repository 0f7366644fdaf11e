import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermlens.files.documents import read_object
from dermlens.models import registry
from dermlens.models.runs import HISTORY, find_runs
from tests import fake_ham10000
from tests.conftest import publish_toy
from training import train
from training.architectures import build, feature_layer
from training.config import Config, Phase
from training.finished import best_model
from training.interpolate import interpolate, main

SIZE = 16
CONFIG = Config(architecture="baseline_cnn", phases=(Phase(1, 1e-3, size=SIZE),), weights="none", start="base")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that went on from the published model "base"."""
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("DERMLENS_RUNS", str(tmp_path / "runs"))
    begun = build("baseline_cnn", SIZE)
    publish_toy(tmp_path / "models" / "base", begun, architecture="baseline_cnn", feature_layer=feature_layer(begun))
    folder = tmp_path / "runs" / "more"
    (folder / "checkpoints").mkdir(parents=True)
    build("baseline_cnn", SIZE).save_weights(folder / "checkpoints" / "best.weights.h5")
    pd.DataFrame([dict.fromkeys(HISTORY, 1)]).to_csv(folder / "history.csv", index=False)
    note(folder, CONFIG, registry.source_hash(registry.find(tmp_path / "models", "base")))
    return folder


def note(folder: Path, config: Config, start_sha256: str | None) -> None:
    record: dict[str, object] = {"id": folder.name, "config": asdict(config), "start_sha256": start_sha256}
    record |= {"finished": "then", "best_epoch": 1, "best_validation": {"val_loss": 1.0}}
    (folder / "run.json").write_text(json.dumps(record))


def test_weights_lie_between_those_before_and_after(run: Path) -> None:
    for share in (0.0, 0.25, 1.0):
        assert main(["more", f"between-{share:g}", "--share", str(share)]) == 0
    after = best_model(run).get_weights()
    first, between, last = (best_model(run.parent / f"between-{name}").get_weights() for name in ("0", "0.25", "1"))
    assert any(not np.allclose(a, b) for a, b in zip(first, last, strict=True))
    for a, b, c, d in zip(first, between, last, after, strict=True):
        np.testing.assert_array_equal(c, d)
        np.testing.assert_allclose(b, 0.75 * a + 0.25 * c, atol=1e-6)
    record = json.loads((run.parent / "between-0.25" / "run.json").read_text())
    assert record["id"] == "between-0.25"
    assert record["interpolated"].pop("git_commit"), "of the code that made these weights"
    assert record["interpolated"] == {"run": "more", "start": "base", "share": 0.25}
    assert (run.parent / "between-1" / "history.csv").read_bytes() == (run / "history.csv").read_bytes()
    assert "best_validation" not in record, "that is of other weights"
    found, _ = find_runs(run.parent, run.parent / "nowhere")
    assert {r.id: r.interpolated for r in found} == {
        "more": "",
        **dict.fromkeys(("between-0", "between-0.25", "between-1"), "more"),
    }
    assert len({r.group for r in found}) == 4, "none of them is a further seed of another"


def test_interpolated_weights_are_not_trained_on(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["more", "between", "--share", "0.5"]) == 0
    folder = run.parent / "between"
    before = {file.name: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    data = run.parents[1] / "data"
    fake_ham10000.write(data)
    sets = ["--set", "start=base", "--set", f"phases=[{asdict(CONFIG.phases[0])}]"]
    where = ["--data", str(data), "--split", str(data / "split.csv")]
    assert train.main(["baseline_cnn", *where, *sets, "--run", "between"]) == 2
    assert "Run between is interpolated, not trained. Choose another --run" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_a_network_answers_at_the_size_that_its_config_names(run: Path) -> None:
    assert best_model(run).input_shape == (None, SIZE, SIZE, 3)
    note(run, replace(CONFIG, answer_size=24), None)
    larger = best_model(run)
    assert larger.input_shape == (None, 24, 24, 3)
    assert larger.count_params() == build("baseline_cnn", SIZE).count_params()


def test_the_size_of_the_answers_may_be_another_one(run: Path) -> None:
    interpolate(run, 0.5, run.parent / "small", size=24)
    record = read_object(run.parent / "small" / "run.json")
    assert record["config"] == {**read_object(run / "run.json")["config"], "answer_size": 24}
    assert best_model(run.parent / "small").input_shape[1] == 24


def test_what_cannot_be_interpolated_is_a_sentence(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(share: str = "0.5", new: str = "new") -> str:
        assert main(["more", new, "--share", share]) == 2
        return capsys.readouterr().err

    assert "0 to 1, not 1.5" in said("1.5")
    assert "not nan" in said("nan")
    assert "There is a run more already" in said(new="more")
    assert "A run's id" in said(new="../x")
    note(run, CONFIG, "0" * 64)
    assert "went on from another base" in said()
    note(run, replace(CONFIG, start=""), None)
    assert "did not go on from a published model" in said()
    assert not (run.parent / "new").exists()
