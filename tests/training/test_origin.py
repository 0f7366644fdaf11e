"""A run goes on from a network that has seen none of the images it measures with, and from no other one meanwhile."""

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermlens.dataset import isic2019
from dermlens.dataset.ham10000 import load_split
from dermlens.errors import ConfigError, DataError
from dermlens.evaluation.predictions import EXTERNAL_FILE, make_predictions, write_predictions
from dermlens.models import registry
from tests import fake_ham10000, fake_isic2019
from tests.conftest import publish_toy
from training.architectures import build, feature_layer
from training.config import CONFIGS, Config, Phase, load_config
from training.dataset import data_hash, select_rows
from training.model_card.elsewhere import _seen
from training.model_card.recipe import recipe, training_data
from training.model_card.write import note_hash
from training.origin import check_external_table, check_split, check_unchanged, hashes
from training.train import main

PUBLISHED = Path(registry.__file__).parents[2] / "models"
PLAIN = Config(architecture="baseline_cnn", phases=(Phase(1, 1e-3, size=16),), weights="none")
SIZE = 16


@pytest.fixture
def table() -> pd.DataFrame:
    found = fake_ham10000.table(lesions=6)
    found["split"] = np.resize(["train", "train", "validation", "test"], len(found))
    return found


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of a published model, without what it was trained on."""
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path / "models"))
    folder = tmp_path / "models" / "base"
    folder.mkdir(parents=True)
    (folder / "card.json").write_text(json.dumps({"name": "Base", "files": {}}))
    return folder


def note(folder: Path, sha256: str, config: Config = PLAIN, earlier: tuple[dict, ...] = ()) -> None:
    record = {"id": "b", "config": asdict(config), "data": {"sha256": sha256}, "earlier_runs": list(earlier)}
    (folder / "run.json").write_text(json.dumps(record))


def asked(folder: Path, rows: pd.DataFrame, name: str = "predictions.csv", split: str = "test") -> None:
    found = make_predictions(rows["image_id"], rows["lesion_id"], split, np.zeros(len(rows)), np.zeros((len(rows), 7)))
    write_predictions(folder / name, found)
    note_hash(folder, name)


def test_a_model_of_the_same_split_is_gone_on_from(base: Path, table: pd.DataFrame) -> None:
    note(base, data_hash(select_rows(table, PLAIN)))
    assert check_split("base", table) == []
    assert check_split("", table) == []
    moved = table.replace({"split": {"test": "train", "train": "test"}})
    with pytest.raises(ConfigError, match="base was trained with another split: 32 of the images to measure with"):
        check_split("base", moved[moved["split"] != "validation"].head(48))


def test_of_an_ensemble_every_member_is_looked_at(base: Path, table: pd.DataFrame) -> None:
    note(base, data_hash(select_rows(table, PLAIN)))
    other = base.parent / "other"
    shutil.copytree(base, other)
    both = base.parent / "both"
    both.mkdir()
    card = json.loads((PUBLISHED / "ensemble" / "card.json").read_text())
    shares = {"base": 0.5, "other": 0.5}
    changed = {"id": "both", "members": shares, "member_hashes": dict.fromkeys(shares, "0" * 64)}
    (both / "card.json").write_text(json.dumps({**card, **changed}))
    assert check_split("both", table) == []
    note(other, "of another split")
    with pytest.raises(ConfigError, match="other was trained with another split"):
        check_split("both", table)


def test_a_model_of_another_split_is_gone_on_from_if_it_answered_all_that_is_measured_with(
    base: Path, table: pd.DataFrame
) -> None:
    note(base, "0" * 64)
    measured_with = table[table["split"] != "train"]
    with pytest.raises(ConfigError, match=f"{len(measured_with)} of the images to measure with"):
        check_split("base", table)
    more = pd.concat([measured_with, table[table["split"] == "train"].head(3)])  # these train only now
    asked(base, more)
    assert check_split("base", table) == []
    asked(base, more.iloc[1:])
    with pytest.raises(ConfigError, match=f": 1 of the images .*, {more['image_id'].iloc[0]} first. Learn from"):
        check_split("base", table)


def test_a_model_trained_on_archives_must_have_answered_what_they_hold_out(
    base: Path, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = fake_isic2019.table()
    monkeypatch.setattr(isic2019, "load_external", lambda: others)
    share = {"config": {"isic2017_share": 0.2, "bcn20000_share": 0.0}, "id": "a", "data": {"sha256": "1"}}
    note(base, data_hash(select_rows(table, PLAIN)), earlier=(share,))
    held_back = isic2019.held_back(others)
    of_seven = held_back[held_back["split"] != "scc"]
    with pytest.raises(ConfigError, match=f"{len(of_seven)} of the images to measure with"):
        check_split("base", table)
    asked(base, of_seven, EXTERNAL_FILE, "isic2017")
    assert check_split("base", table) == []


def test_a_run_behind_it_of_the_same_images_needs_no_answers(
    base: Path, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isic2019, "load_external", fake_isic2019.table)
    sha256 = data_hash(select_rows(table, PLAIN))
    share = {"config": {"isic2017_share": 0.2, "bcn20000_share": 0.0}, "id": "a", "data": {"sha256": sha256}}
    note(base, sha256, earlier=(share,))
    assert check_split("base", table) == []
    note(base, sha256, earlier=(share, {**share, "data": {"sha256": "1"}}))
    with pytest.raises(ConfigError, match="of the images to measure with"):
        check_split("base", table)
    note(base, "0" * 64, earlier=({**share, "data": {"sha256": "0" * 64}},))
    with pytest.raises(ConfigError, match="of the images to measure with"):
        check_split("base", table)


def test_runs_of_which_nothing_was_noted_are_named(base: Path, table: pd.DataFrame) -> None:
    noted = {"id": "n", "data": {"sha256": "1"}, "config": {}}
    note(base, data_hash(select_rows(table, PLAIN)), earlier=({"id": "old"}, noted))
    assert check_split("base", table) == ["old"]


@pytest.mark.parametrize("name", ["baseline_cnn", "efficientnetv2b0", "resnet50"])
def test_the_published_models_can_be_gone_on_from(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMLENS_MODELS", str(PUBLISHED))
    check_split(name, load_split())


@pytest.mark.parametrize("name", sorted(f.stem for f in CONFIGS.glob("[!_]*.py")))
def test_every_config_starts_from_and_is_taught_by_what_is_published(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERMLENS_MODELS", str(PUBLISHED))
    config = load_config(name)[0]
    found = hashes(config)
    assert [role for role in ("start", "teacher") if getattr(config, role)] == [k.partition("_")[0] for k in found]
    assert all(re.fullmatch("[0-9a-f]{64}", sha256) for sha256 in found.values())


def test_what_was_published_anew_is_noticed_while_it_is_still_to_be_asked(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERMLENS_MODELS", str(published))
    config = Config(architecture="toy", phases=(Phase(1, 1e-3),), start="toy", teacher="toy")
    now = registry.source_hash(registry.find(published, "toy"))
    right, wrong = ({"id": "r", "start_sha256": sha, "teacher_sha256": sha} for sha in (now, "0" * 64))
    check_unchanged(config, right, tmp_path)
    with pytest.raises(ConfigError, match="toy was published anew after run r had begun with it"):
        check_unchanged(config, wrong, tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.npz").touch()
    with pytest.raises(ConfigError, match="published anew"):
        check_unchanged(config, wrong, tmp_path)
    (tmp_path / "teacher.npy").touch()
    check_unchanged(config, wrong, tmp_path)
    (tmp_path / "checkpoints" / "last.npz").unlink()
    with pytest.raises(ConfigError, match="published anew"):
        check_unchanged(config, wrong, tmp_path)


def test_a_run_goes_on_from_a_model_of_its_split_alone_and_not_from_one_that_replaced_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("DERMLENS_RUNS", str(tmp_path / "runs"))
    fake_ham10000.write(tmp_path / "data")
    split = tmp_path / "data" / "split.csv"
    rows = load_split(split)

    def publish(seed: int, sha256: str) -> None:
        network = build("baseline_cnn", SIZE)
        network.layers[-1].bias.assign(np.full(7, seed, np.float32))
        shutil.rmtree(tmp_path / "models" / "base", ignore_errors=True)
        card = {"architecture": "baseline_cnn", "feature_layer": feature_layer(network)}
        folder = publish_toy(tmp_path / "models" / "base", network, **card).folder
        record = {"id": "b", "config_name": "c", "config": asdict(PLAIN), "data": {"sha256": sha256}}
        (folder / "run.json").write_text(json.dumps(record))

    phases = [{"epochs": 1, "learning_rate": 1e-3, "size": SIZE}]
    arguments = ["baseline_cnn", "--data", str(tmp_path / "data"), "--split", str(split), "--run", "on"]
    arguments += ["--set", "start=base", "--set", f"phases={phases}"]
    publish(1, "0" * 64)
    assert main(arguments) == 2
    assert "base was trained with another split" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    publish(1, data_hash(select_rows(rows, PLAIN)))
    assert main(arguments) == 0
    record = json.loads((tmp_path / "runs" / "on" / "run.json").read_text())
    assert record["earlier_runs"][0]["data"] == {"sha256": data_hash(select_rows(rows, PLAIN))}
    publish(2, data_hash(select_rows(rows, PLAIN)))
    assert main(arguments) == 0, "its weights are in the checkpoint"
    (tmp_path / "runs" / "on" / "checkpoints" / "last.npz").unlink()
    assert main(arguments) == 2
    assert "base was published anew after run on had begun with it" in capsys.readouterr().err


def test_the_card_names_what_the_networks_before_were_trained_on(tmp_path: Path) -> None:
    record = json.loads((PUBLISHED / "resnet50" / "run.json").read_text())
    record["config"] |= {"isic2017_share": 0.0, "bcn20000_share": 0.0}
    assert "continues from a network that" not in training_data(record)[0]
    last = {**record["earlier_runs"][-1], "config": {"isic2017_share": 0.1, "bcn20000_share": 0.2}}
    changed = {**record, "earlier_runs": [*record["earlier_runs"][:-1], last]}
    said = (
        "It continues from a network that was trained on images of ISIC 2017 and BCN20000 (`data/splits/external.csv`)"
    )
    assert f"{said} as well." in training_data(changed)[0]
    labelled = {**last, "data": {"labelled": "12ab"}}
    more = f"{said} and on further images, labelled by its makers"
    unlike = "(**not compared with the test images of other archives**)"
    assert f"{more} {unlike}, as well." in training_data({**changed, "earlier_runs": [labelled]})[0]
    labelled["data"]["labelled_compared_with_archives"] = True
    assert f"{more}, as well." in training_data({**changed, "earlier_runs": [labelled]})[0]
    own = {**changed, "config": {**record["config"], "isic2017_share": 0.1}}
    own["data"] = {**record["data"], "images": {**record["data"]["images"], "external_validation": 3}}
    assert "was trained on images of BCN20000 (" in training_data(own)[0]
    later = {"when": "x", "precision": "float32", "backend": "torch", "processor": "P", "git_commit": "12ab"}
    changed = {**record, "start_not_compared": ["effnet-b"], "resumed": [later, later]}
    text = "\n".join(recipe(PUBLISHED / "resnet50", changed))
    assert "With which split `effnet-b` trained was not noted." in text
    assert text.count("Resumed in float32 by torch on P, code at commit `12ab`.") == 1
    taught = {**record, "config": {**record["config"], "teacher": "ensemble"}, "teacher_not_compared": ["resnet-c"]}
    assert "With which split `resnet-c` trained was not noted." in "\n".join(recipe(PUBLISHED / "resnet50", taught))


def test_a_network_of_another_table_is_not_asked_about_other_archives() -> None:
    record = json.loads((PUBLISHED / "resnet50" / "run.json").read_text())
    check_external_table(record)
    changed = {**record, "data": {**record["data"], "sha256": "0" * 64}}
    for wrong in (changed, {**record, "earlier_runs": [{**changed, "config": {"isic2017_share": 0.1}}]}):
        with pytest.raises(DataError, match=r"another external\.csv"):
            check_external_table(wrong)
    check_external_table({**changed, "config": {**record["config"], "isic2017_share": 0.0, "bcn20000_share": 0.0}})


@pytest.mark.parametrize("folder", sorted(p.parent for p in PUBLISHED.glob("*/card.json")), ids=lambda p: p.name)
def test_every_published_card_cites_what_it_was_trained_on(folder: Path) -> None:
    members = json.loads((folder / "card.json").read_text()).get("members") or {folder.name: 1}
    runs = [json.loads((PUBLISHED / name / "run.json").read_text()) for name in members]
    configs = [one.get("config") or {} for run in runs for one in (run, *run.get("earlier_runs", []))]
    text = (folder / "README.md").read_text()
    for setting, paper in {"isic2017_share": "arXiv:1710.05006", "bcn20000_share": "arXiv:1908.02288"}.items():
        assert (paper in text) is any(config.get(setting) for config in configs)
        assert paper in (PUBLISHED / "LICENSE.md").read_text()


def test_looks_at_other_archives_with_the_networks_before_are_counted_once(tmp_path: Path) -> None:
    def note(run: str, when: str, *splits: str) -> dict:
        return {"when": when, "run": run, "splits": list(splits)}

    def said(own: list[dict], *earlier: list[dict]) -> str:
        behind = [{"id": str(i), "external_evaluations": notes} for i, notes in enumerate(earlier)]
        record = {"id": "me", "external_evaluations": own, "earlier_runs": behind}
        (tmp_path / "run.json").write_text(json.dumps(record))
        return _seen(tmp_path, ["isic2017", "bcn20000"])

    (tmp_path / "card.json").write_text("{}")
    first, second = note("a", "1", "isic2017"), note("b", "2", "bcn20000", "scc")
    mine = note("me", "3", "isic2017")
    assert said([]) == "How often this network was asked about them was not noted."
    assert said([mine]) == "They were predicted 1 time with this network (3)."
    assert said([first, mine], [first], [first, second]) == (
        "They were predicted 1 time with this network (3), and 1 time with those published under its name before, and "
        "1 time with the networks that it continues from."
    )
    assert said([note("0", "1", "isic2017"), mine], []).endswith(
        "(3), and 1 time with the networks that it continues from."
    )
    assert said([mine], [first, note("a", "4", "scc")], [first, second]).endswith(
        "(3), and 2 times with the networks that it continues from."
    )
