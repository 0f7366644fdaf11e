import json
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import h5py  # type: ignore[import-untyped]
import numpy as np
import pandas as pd
import pytest
from tensorboardX.proto.event_pb2 import Event

from dermlens.dataset import isic2019
from dermlens.dataset.ham10000 import check_rows, image_path, load_split
from dermlens.errors import ConfigError, ModelError
from dermlens.labels import CLASSES
from dermlens.models.runs import ELSEWHERE, HISTORY
from tests import fake_ham10000, fake_isic2019
from tests.conftest import publish_toy
from training import run as runs
from training.architectures import build, feature_layer
from training.config import Config, Phase, load_config
from training.dataset import select_rows
from training.drawn_data import LESIONS, draw
from training.folders import alone
from training.origin import earlier_runs
from training.train import first_network, main, new_id, smoke

ROOT = Path(__file__).parents[2]
SIZE = 16
PHASES = [
    {"epochs": 2, "learning_rate": 3e-3, "unfreeze": 2, "size": SIZE, "schedule": "plateau"},
    {"epochs": 6, "learning_rate": 0.1, "unfreeze": 1, "size": SIZE, "warmup_epochs": 0.5},
]
SETTINGS = ["ema_momentum=0.8", "patience=2", "plateau_patience=0", "batch_size=16", "augment.mixup_alpha=0.2"]
# Each life is a process of its own that kills itself with SIGKILL in the middle of its n-th epoch; 0 lives on.
LIVES = """
import os, signal, sys
from training import train
from training.loop import phase

original, started = phase.augmented_batches, 0

def deadly(*arguments):
    global started
    started += 1
    for step, batch in enumerate(original(*arguments)):
        if started == last_epoch and step == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        yield batch

phase.augmented_batches = deadly
for run, last_epoch in [life.split(":") for life in sys.argv[1].split(",")]:
    last_epoch, child = int(last_epoch), os.fork()  # TensorFlow is imported, but has not begun to work
    if not child:
        status = train.main([*sys.argv[2:], "--run", run])
        sys.stdout.flush()
        os._exit(status)
    print("life", run, last_epoch, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """One run in a single life, and the same run killed in its 2nd, 3rd and 4th epoch; the test split is garbage."""
    base = tmp_path_factory.mktemp("training")
    data, weights = base / "data", base / "weights.npz"
    for row in fake_ham10000.write(data).itertuples():
        if row.split == "test":
            image_path(data, row.image_id).write_bytes(b"garbage")
    layers = [x for x in build("baseline_cnn", SIZE).layers if x.name not in ("logits", "block5_bn")]
    np.savez(weights, **{f"{x.name}/{v.name}": v.numpy() for x in layers for v in x.weights})
    sets = [f"phases={PHASES}", f"weights={weights}", *SETTINGS]
    arguments = ["baseline_cnn", "--data", str(data), "--split", str(data / "split.csv"), "--deterministic"]
    arguments += [word for pair in sets for word in ("--set", pair)]
    lives = "whole:0,broken:2,broken:2,broken:2,broken:0"  # each life of "broken" begins with the epoch of the last
    done = subprocess.run(
        [sys.executable, "-c", LIVES, lives, *arguments],
        cwd=ROOT,
        env={**os.environ, "DERMLENS_RUNS": str(base / "runs")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(base=base, data=data, arguments=arguments, runs=base / "runs", log=done.stdout + done.stderr)


def history(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "history.csv", keep_default_na=False)


def test_a_run_killed_three_times_is_bit_by_bit_the_run_that_was_not(trained: SimpleNamespace) -> None:
    lives = [line.split()[1:] for line in trained.log.splitlines() if line.startswith("life ")]
    assert [life[2] for life in lives] == ["0", "-9", "-9", "-9", "0"], trained.log
    whole, broken = trained.runs / "whole", trained.runs / "broken"
    pd.testing.assert_frame_equal(history(broken).drop(columns="seconds"), history(whole).drop(columns="seconds"))
    (ours, state), (theirs, expected) = (runs.load_state(f / "checkpoints" / "last.npz") for f in (broken, whole))
    assert state.finished
    for one in (state, expected):
        for row in one.history:
            row.pop("seconds")
    assert state == expected
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        np.testing.assert_array_equal(ours[key], value, err_msg=key)
    best = [h5_values(f / "checkpoints" / "best.weights.h5") for f in (broken, whole)]
    assert best[0].keys() == best[1].keys()
    for key, value in best[1].items():
        np.testing.assert_array_equal(best[0][key], value, err_msg=key)


def h5_values(file: Path) -> dict[str, np.ndarray]:
    found = {}
    with h5py.File(file) as f:
        f.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def test_it_went_over_the_phases_and_stopped_early(trained: SimpleNamespace) -> None:
    table = history(trained.runs / "whole")
    assert tuple(table.columns) == HISTORY
    assert table["epoch"].tolist() == list(range(1, len(table) + 1))
    assert table["phase"].tolist() == [1, 1] + [2] * (len(table) - 2)
    entropy = table["val_cross_entropy"]
    assert 4 <= len(table) < 8
    assert entropy[: len(table) - 2].min() <= entropy.iloc[-2:].min()  # two epochs without a better one, and it stopped
    for column in ("accuracy", "val_accuracy", "balanced_accuracy", "val_balanced_accuracy", "val_melanoma_recall"):
        assert table[column].between(0, 1).all()
    for column in ("loss", "val_loss", "val_cross_entropy", "seconds", "learning_rate"):
        assert (table[column] > 0).all()
    _, state = runs.load_state(trained.runs / "whole" / "checkpoints" / "last.npz")
    assert state.stopped_early


def test_run_json_tells_what_was_done(trained: SimpleNamespace) -> None:
    record = json.loads((trained.runs / "broken" / "run.json").read_text())
    assert record["id"] == "broken"
    assert record["config"]["phases"][1]["unfreeze"] == 1
    assert record["chosen_by"] == "cross-entropy"
    assert record["config"]["deterministic"] is True
    assert record["measured_weights"] == "EMA"
    assert record["weights_missing"] == [f"block5_bn/{v}" for v in ("gamma", "beta", "moving_mean", "moving_variance")]
    assert record["data"]["images"] == {"train": 77, "validation": 14}
    assert len(record["resumed"]) == 3
    assert record["precision"] == "float32"
    for later in record["resumed"]:
        assert (later["backend"], later["precision"]) == (record["backend"], "float32")
        assert later["when"] >= record["started"]
        assert later["processor"] == record["hardware"]["processor"]
    table = history(trained.runs / "broken")
    assert record["best_epoch"] == table["epoch"][table["val_cross_entropy"].idxmin()]
    assert record["best_validation"]["val_loss"] == pytest.approx(table["val_loss"][record["best_epoch"] - 1], rel=1e-4)
    assert record["test_evaluations"] == []
    assert len(record["git_commit"].removesuffix("-dirty")) in (40, len("unknown"))
    assert "holds all but 4 variables of the backbone: block5_bn/gamma" in trained.log


def test_the_best_weights_are_those_of_the_best_epoch(trained: SimpleNamespace) -> None:
    from training.dataset import load_images, located
    from training.loop.epoch import forward, measure
    from training.losses import make_loss

    folder, rows = trained.runs / "whole", load_split(trained.data / "split.csv")
    model = build("baseline_cnn", SIZE)
    model.load_weights(folder / "checkpoints" / "best.weights.h5")
    images = load_images(located(rows[rows["split"] == "validation"], trained.data, "as-is"), SIZE, for_training=False)
    found = measure(forward(model, images.pixels), images.y, make_loss(load_config("baseline_cnn")[0], np.ones(7, int)))
    best = history(folder).sort_values("val_cross_entropy", kind="stable").iloc[0]
    for name in ("val_balanced_accuracy", "val_accuracy", "val_cross_entropy"):
        assert found[name] == pytest.approx(best[name], rel=1e-3)


def events(folder: Path) -> dict[tuple[str, int], float]:
    """Read TensorBoard's records: length (8 bytes), its checksum (4), an Event, its checksum (4)."""
    found = {}
    for file in sorted((folder / "events").iterdir()):
        data, at = file.read_bytes(), 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 8], "little")
            event = Event.FromString(data[at + 12 : at + 12 + length])
            found.update({(v.tag, event.step): v.simple_value for v in event.summary.value})
            at += 16 + length
    return found


@pytest.mark.parametrize("name", ["whole", "broken"])
def test_tensorboard_has_every_figure_of_every_epoch(trained: SimpleNamespace, name: str) -> None:
    table, found = history(trained.runs / name), events(trained.runs / name)
    columns = HISTORY[2:]
    assert {key for key, _ in found} == set(columns)
    assert {step for _, step in found} == set(table["epoch"])
    for row in table.to_dict("records"):
        for column in columns:
            assert found[column, row["epoch"]] == pytest.approx(row[column], rel=1e-4)


def again(
    trained: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *more: str, cut: slice = slice(None)
) -> int:
    """Run the command of "whole" once more on a copy of its folder, with more arguments."""
    if not (tmp_path / "whole").exists():
        shutil.copytree(trained.runs / "whole", tmp_path / "whole")
    monkeypatch.setenv("DERMLENS_RUNS", str(tmp_path))
    return main([*trained.arguments[cut], "--run", "whole", *more])


def test_a_finished_run_is_left_as_it_is(trained, monkeypatch, tmp_path, capsys) -> None:
    assert again(trained, monkeypatch, tmp_path) == 0
    assert "This run is finished" in capsys.readouterr().out
    for name in ("history.csv", "checkpoints/last.npz", "checkpoints/best.weights.h5"):
        assert (tmp_path / "whole" / name).read_bytes() == (trained.runs / "whole" / name).read_bytes()


def test_a_run_may_go_on_in_another_precision(trained, monkeypatch, tmp_path, capsys) -> None:
    assert again(trained, monkeypatch, tmp_path, "--set", "precision=auto") == 0
    assert "This run is finished" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--set", "seed=5"), "seed"),
        (("--set", "phases.1.epochs=9", "--set", "dropout=0.1"), "phases, dropout"),
        (("--stored-aspect", "4:3"), "stored_aspect"),
        (("--leave-out", "mel"), "leave_out, sha256"),
    ],
)
def test_a_run_does_not_go_on_with_other_settings(trained, monkeypatch, tmp_path, capsys, more, named) -> None:
    before = (trained.runs / "whole" / "run.json").read_bytes()
    assert again(trained, monkeypatch, tmp_path, *more) == 2
    assert f"Run whole exists with another {named}. Choose another --run, or none." in capsys.readouterr().err
    assert (tmp_path / "whole" / "run.json").read_bytes() == before


def test_a_damaged_checkpoint_stops_the_run_with_a_sentence(trained, monkeypatch, tmp_path, capsys) -> None:
    shutil.copytree(trained.runs / "whole", tmp_path / "whole")
    checkpoint = tmp_path / "whole" / "checkpoints" / "last.npz"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-9])
    assert again(trained, monkeypatch, tmp_path) == 2
    assert "last.npz is damaged. Delete it to start the run again" in capsys.readouterr().err


def test_bad_data_stops_a_run_before_it_begins(trained, monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setenv("DERMLENS_RUNS", str(tmp_path / "runs"))
    shutil.copytree(trained.data, tmp_path / "data")
    rows = load_split(trained.data / "split.csv")
    train, validation = (rows.loc[rows["split"] == s, "image_id"].iloc[0] for s in ("train", "validation"))
    image_path(tmp_path / "data", train).write_bytes(b"garbage")
    image_path(tmp_path / "data", validation).unlink()
    arguments = [a.replace(str(trained.data), str(tmp_path / "data")) for a in trained.arguments]
    assert main([*arguments, "--run", "new"]) == 2
    said = capsys.readouterr().err
    assert f"1 x missing image: {validation}" in said
    assert f"1 x unreadable image: {train}" in said
    assert not (tmp_path / "runs").exists()


def test_two_processes_do_not_train_one_run(trained, monkeypatch, tmp_path, capsys) -> None:
    shutil.copytree(trained.runs / "whole", tmp_path / "whole")
    before = (tmp_path / "whole" / "run.json").read_bytes()
    with alone(tmp_path / "whole"):
        assert again(trained, monkeypatch, tmp_path) == 2
    assert "Run whole is being trained by another process. Wait for its end" in capsys.readouterr().err
    assert (tmp_path / "whole" / "run.json").read_bytes() == before
    assert again(trained, monkeypatch, tmp_path) == 0


def test_unknown_settings_and_configs_are_refused_by_the_command(trained, capsys) -> None:
    assert main([*trained.arguments, "--set", "spin=1"]) == 2
    assert "Unknown setting 'spin'" in capsys.readouterr().err
    assert main(["nonsense", "--data", str(trained.data)]) == 2
    assert "No config 'nonsense'" in capsys.readouterr().err


def test_a_run_goes_on_from_a_published_model(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path))
    network = build("baseline_cnn", SIZE)
    card = {"architecture": "baseline_cnn", "feature_layer": feature_layer(network)}
    publish_toy(tmp_path / "base", network, **card)
    config = Config(architecture="baseline_cnn", phases=(Phase(1, 1e-3, size=2 * SIZE),), weights="none", start="base")
    begun, missing = first_network(config)
    assert missing == []
    assert begun.input_shape == (None, 2 * SIZE, 2 * SIZE, 3)
    for own, then in zip(begun.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_allclose(own, then, atol=1e-3)  # kernels were halved
    with pytest.raises(ConfigError, match="base is baseline_cnn, not resnet18"):
        first_network(replace(config, architecture="resnet18"))
    with pytest.raises(ModelError, match="no model 'absent'"):
        first_network(replace(config, start="absent"))


def test_a_run_that_goes_on_keeps_what_came_before(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path))
    assert earlier_runs("") == []
    oldest = {"id": "a", "test_evaluations": [{"when": "then", "by": "training.publish"}], "weights": "none"}
    record = {"id": "b", "config_name": "c", "git_commit": "12ab", "weights_missing": ["x"], "test_evaluations": []}
    more = {"config": {"weights": "imagenet"}, "earlier_runs": [oldest], "seed": 1}
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "card.json").write_text("{}")
    (tmp_path / "base" / "run.json").write_text(json.dumps({**record, **more}))
    none = {"isic2017_share": 0.0, "bcn20000_share": 0.0}
    assert earlier_runs("base") == [oldest, {**record, "weights": "imagenet", "config": none}]
    looked = {"external_evaluations": [{"when": "then", "run": "b", "splits": ["isic2017"]}]}
    more = {**more, "data": {"sha256": "1" * 64}, "config": {"weights": "imagenet", "isic2017_share": 0.2}}
    (tmp_path / "base" / "run.json").write_text(json.dumps({**record, **more, **looked}))
    found = earlier_runs("base")[1]
    assert found["config"] == {**none, "isic2017_share": 0.2}
    assert (found["data"], found["external_evaluations"]) == (more["data"], looked["external_evaluations"])
    (tmp_path / "base" / "run.json").unlink()
    with pytest.raises(ModelError, match=r"run\.json"):
        earlier_runs("base")


def test_rows_of_a_run_are_never_of_the_test_split() -> None:
    table = fake_ham10000.table(lesions=20)
    table["split"] = np.resize(["train", "validation", "test"], len(table))
    config = Config(architecture="baseline_cnn", phases=(Phase(1, 1e-3),))
    rows = select_rows(table.iloc[::-1], config)
    assert set(rows["split"]) == {"train", "validation"}
    assert rows["image_id"].is_monotonic_increasing
    assert len(rows) == (table["split"] != "test").sum()
    left = select_rows(table, smoke(config))
    assert left.groupby(["split", "dx"]).size().tolist() == [4] * 2 * len(CLASSES)
    without = select_rows(table, Config(architecture="x", phases=config.phases, leave_out="vasc"))
    assert set(without["dx"]) == set(CLASSES) - {"vasc"}


def test_smoke_runs_the_whole_pipeline_from_the_command_line_without_a_data_set(tmp_path: Path) -> None:
    environment = {**os.environ, "DERMLENS_RUNS": str(tmp_path / "runs"), "HAM10000_DIR": ""}
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(
        [sys.executable, "-m", "training.train", "baseline_cnn", "--smoke"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 60
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("baseline_cnn-2")
    made = {"run.json", "history.csv", "progress.json", "events", "checkpoints"}
    assert {p.name for p in folder.iterdir()} == made
    assert len(history(folder)) == 1
    assert "epoch 1: loss" in done.stdout
    record = json.loads((folder / "run.json").read_text())
    assert record["best_epoch"] == 1
    assert record["data"]["images"] == {"train": 28, "validation": 28}


def test_drawn_data_is_the_same_every_time_and_whole(tmp_path: Path) -> None:
    first, second = draw(tmp_path / "a"), draw(tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    rows = load_split(first)
    check_rows(tmp_path / "a", rows, decode=True)
    assert rows.groupby(["split", "dx"]).size().tolist() == [LESIONS] * 2 * len(CLASSES)
    with pytest.raises(SystemExit):
        main(["baseline_cnn", "--smoke", "--split", str(first)])


@pytest.mark.parametrize("empty", ["train", "validation"])
def test_a_split_without_images_is_refused_before_anything_is_made(tmp_path, monkeypatch, capsys, empty) -> None:
    monkeypatch.setenv("DERMLENS_RUNS", str(tmp_path / "runs"))
    split = draw(tmp_path / "data")
    table = pd.read_csv(split)
    table.replace({"split": {empty: "test"}}).to_csv(split, index=False)
    assert main(["baseline_cnn", "--data", str(tmp_path / "data"), "--split", str(split)]) == 2
    assert f"split.csv has no image to use in {empty}. Training needs both" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "a b", "x" * 101, "-x", "ä"])
def test_a_run_gets_no_name_that_leads_elsewhere(tmp_path, monkeypatch, capsys, name) -> None:
    monkeypatch.setenv("DERMLENS_RUNS", str(tmp_path / "runs"))
    assert main(["baseline_cnn", "--smoke", f"--run={name}"]) == 2
    assert f"got {name!r}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments that train for an epoch on a drawn HAM10000 and two other archives, all but their folder."""
    fake_ham10000.write(tmp_path / "data")
    table = fake_isic2019.table(lesions=6)
    fake_isic2019.write(tmp_path / "other", table)
    monkeypatch.setattr(isic2019, "load_external", lambda: table)
    monkeypatch.setenv("DERMLENS_RUNS", str(tmp_path / "runs"))
    phases = [{"epochs": 1, "learning_rate": 1e-3, "size": SIZE}]
    sets = ["isic2017_share=0.3", "bcn20000_share=0.2", "epoch_images=40", "batch_size=8", f"phases={phases}"]
    data = ["--data", str(tmp_path / "data"), "--split", str(tmp_path / "data" / "split.csv"), "--run", "several"]
    return ["baseline_cnn", *data, *[word for one in sets for word in ("--set", one)]]


def test_a_run_on_several_archives_measures_each_kind_of_validation(archives: list[str], tmp_path: Path) -> None:
    assert main([*archives, "--external", str(tmp_path / "other")]) == 0
    folder = tmp_path / "runs" / "several"
    table = pd.read_csv(folder / "history.csv")
    assert tuple(table.columns) == (*HISTORY, *ELSEWHERE)
    assert table[["external_balanced_accuracy", "external_melanoma_auc"]].iloc[0].between(0, 1).all()
    assert table["external_cross_entropy"].iloc[0] > 0
    assert {key for key, _ in events(folder)} == {*HISTORY[2:], *ELSEWHERE}
    record = json.loads((folder / "run.json").read_text())
    other = isic2019.load_external()
    used = other[(other["dx"] != "scc") & other["split"].isin(["train", "validation"])]["split"].value_counts()
    assert record["data"]["images"] == {
        "train": 77 + used["train"],
        "validation": 14,
        "external_validation": used["validation"],
    }
    assert record["best_validation"]["external_cross_entropy"] == pytest.approx(
        table["external_cross_entropy"].iloc[0], rel=1e-4
    )


def test_a_run_on_several_archives_does_not_begin_without_one_of_their_images(
    archives: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(archives) == 2
    assert "pass --external DIR" in capsys.readouterr().err
    isic2019.image_path(tmp_path / "other", "ISIC_0000000").unlink()
    assert main([*archives, "--external", str(tmp_path / "other")]) == 2
    assert "Image ISIC_0000000 is not in" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_new_run_never_gets_the_folder_of_another_whatever_the_clock_says(tmp_path: Path, monkeypatch) -> None:
    class Stopped(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    monkeypatch.setattr("training.train.datetime", Stopped)
    monkeypatch.setenv("DERMLENS_RUNS", str(tmp_path))
    for expected in ("x-20260102-030405", "x-20260102-030405-2", "x-20260102-030405-3"):
        assert new_id("x") == expected
        (tmp_path / expected).mkdir()
