"""From a run to a published model: every number is what the published file gives, and nothing is left half-made."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dermlens.case.predict import predict
from dermlens.dataset.ham10000 import image_path
from dermlens.errors import ModelError
from dermlens.evaluation.intervals import summarise
from dermlens.evaluation.predictions import read_predictions
from dermlens.ingest.read import read_file
from dermlens.labels import CLASSES
from dermlens.models import registry
from dermlens.models.runs import best_row, read_history
from tests.fake_ham10000 import write
from training import card, evaluate, external, gains, publish, train
from training import run as runs
from training.model_card.render import render
from training.model_card.write import HASHED

PUBLISHED = Path(registry.__file__).parents[2] / "models"
RUN = "toy-run"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A drawn data set, a run trained on it, and the model published from it with test predictions."""
    root = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DERMLENS_RUNS", str(root / "runs"))
        patch.setattr("training.run.commit", lambda: "12ab" * 10)
        write(root / "data")
        where = ["--data", str(root / "data"), "--split", str(root / "data" / "split.csv")]
        smoke = ["efficientnetv2b0", "--smoke", "--set", "architecture=baseline_cnn", "--run", RUN]
        assert train.main([*smoke, *where]) == 0
        to = ["--models-dir", str(root / "models")]
        shutil.copytree(root / "runs" / RUN, root / "runs" / "untouched")
        assert publish.main([RUN, "toy", "--test", "--name", "Toy", *where, *to]) == 0
        yield SimpleNamespace(root=root, where=where, to=to, run=root / "runs" / RUN, folder=root / "models" / "toy")


@pytest.fixture
def copy(world: SimpleNamespace, tmp_path: Path) -> Path:
    return Path(shutil.copytree(world.folder, tmp_path / "toy"))


@pytest.fixture
def fresh(world: SimpleNamespace) -> Iterator[Path]:
    """A copy of the run as training left it."""
    folder = Path(shutil.copytree(world.root / "runs" / "untouched", world.root / "runs" / "fresh"))
    yield folder
    shutil.rmtree(folder)


def read(file: Path) -> dict:
    return json.loads(file.read_text(encoding="utf-8"))


def test_evaluation_of_the_best_epoch_repeats_what_training_measured(world: SimpleNamespace, fresh: Path) -> None:
    assert evaluate.main(["fresh", "--views", "1", *world.where]) == 0
    found, best = read(fresh / "metrics.json"), best_row(read_history(fresh / "history.csv"))
    assert set(found) == {"views", "validation"}
    assert found["validation"]["accuracy"]["value"] == pytest.approx(best["val_accuracy"], abs=1e-5)
    assert found["validation"]["balanced_accuracy"]["value"] == pytest.approx(best["val_balanced_accuracy"], abs=1e-5)
    assert found["validation"]["cross_entropy"]["value"] == pytest.approx(best["val_cross_entropy"], abs=1e-3)
    assert read_predictions(fresh / "predictions.csv").splits == ("validation",)
    assert read(fresh / "run.json")["test_evaluations"] == []


def test_a_new_evaluation_leaves_no_answers_of_another_network(
    world: SimpleNamespace, fresh: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (fresh / "external_predictions.csv").write_text("of the epoch before\n")
    assert evaluate.main(["fresh", "--views", "1", *world.where]) == 0
    assert not (fresh / "external_predictions.csv").exists()
    (fresh / "external_predictions.csv").write_text("of nobody knows what\n")
    assert gains.main(["fresh", "fresh", *world.to]) == 2
    assert "fresh: predictions.csv and external_predictions.csv are not known to be of one" in capsys.readouterr().err


def test_evaluation_of_the_last_epoch_repeats_what_training_measured(world: SimpleNamespace, fresh: Path) -> None:
    assert evaluate.main(["fresh", "--last", "--views", "1", *world.where]) == 0
    found, last = read(fresh / "metrics.json"), read_history(fresh / "history.csv").iloc[-1]
    assert found["validation"]["cross_entropy"]["value"] == pytest.approx(last["val_cross_entropy"], abs=1e-3)


def test_the_last_epoch_of_an_unfinished_run_is_refused(
    world: SimpleNamespace, fresh: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = fresh / "checkpoints" / "last.npz"
    arrays, state = runs.load_state(checkpoint)
    model = [arrays[f"model/{i}"] for i in range(sum(name.startswith("model/") for name in arrays))]
    runs.save_state(checkpoint, {"model": model}, dataclasses.replace(state, phase=0))
    assert evaluate.main(["fresh", "--last", *world.where]) == 2
    assert "not finished" in capsys.readouterr().err
    checkpoint.unlink()
    assert evaluate.main(["fresh", "--last", *world.where]) == 2
    assert "no checkpoint of its last epoch" in capsys.readouterr().err


def test_every_look_at_the_test_split_is_noted(world: SimpleNamespace, fresh: Path) -> None:
    for times in (1, 2):
        assert evaluate.main(["fresh", "--test", *world.where]) == 0
        notes = read(fresh / "run.json")["test_evaluations"]
        assert [note["by"] for note in notes] == ["training.evaluate"] * times
    assert read_predictions(fresh / "predictions.csv").splits == ("validation", "test")


def test_another_split_than_the_one_trained_with_is_refused(
    world: SimpleNamespace, fresh: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(world.root / "data" / "split.csv", dtype=str, keep_default_na=False)
    table["split"] = table["split"].map({"train": "test", "test": "train", "validation": "validation"})
    table.to_csv(tmp_path / "other.csv", index=False)
    where = ["--data", str(world.root / "data"), "--split", str(tmp_path / "other.csv")]
    assert evaluate.main(["fresh", "--test", *where]) == 2
    assert "another split table" in capsys.readouterr().err
    assert read(fresh / "run.json")["test_evaluations"] == []


def test_weights_of_code_that_was_not_committed_are_refused(
    world: SimpleNamespace, fresh: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = read(fresh / "run.json")
    dirty = {"git_commit": f"{record['git_commit']}-dirty"}
    for where in (dirty, {"resumed": [{"git_commit": "12ab"}, dirty]}, {"interpolated": dirty}):
        (fresh / "run.json").write_text(json.dumps({**record, **where}))
        assert publish.main([fresh.name, "dirty", *world.where, *world.to]) == 2
        assert "code that was not committed" in capsys.readouterr().err
        assert not (world.root / "models" / "dirty").exists()


def test_looks_at_other_archives_of_a_run_are_kept_under_another_id(
    world: SimpleNamespace, fresh: Path, tmp_path: Path
) -> None:
    record = read(fresh / "run.json")
    (fresh / "run.json").write_text(json.dumps({**record, "id": fresh.name}))
    assert publish.main([fresh.name, "first", *world.where, "--models-dir", str(tmp_path)]) == 0
    external.note(tmp_path / "first", ["isic2017"])
    noted = read(tmp_path / "first" / "run.json")["external_evaluations"]
    assert [note["splits"] for note in noted] == [["isic2017"]]
    assert publish.main([fresh.name, "second", *world.where, "--models-dir", str(tmp_path)]) == 0
    assert read(tmp_path / "second" / "run.json")["external_evaluations"] == noted


def test_an_unknown_run_is_named(world: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["nothing", *world.where]) == 2
    assert "No run 'nothing'" in capsys.readouterr().err


def test_a_published_folder_is_whole_and_loads(world: SimpleNamespace) -> None:
    assert {f.name for f in world.folder.iterdir()} == {
        *(
            "model.keras",
            "card.json",
            "README.md",
            "run.json",
            "history.csv",
            "predictions.csv",
            "metrics.json",
            "build",
        )
    }
    assert [f.name for f in world.folder.parent.iterdir()] == ["toy"]
    model = registry.load(registry.find(world.folder.parent, "toy"))
    assert (model.name, model.views, model.architecture) == ("Toy", 4, "baseline_cnn")
    assert set(model.card["files"]) == set(HASHED)
    assert model.card["run"] == RUN
    assert [note["by"] for note in read(world.run / "run.json")["test_evaluations"]] == ["training.publish"]
    assert (world.folder / "history.csv").read_bytes() == (world.run / "history.csv").read_bytes()


def test_published_predictions_are_what_the_app_answers(world: SimpleNamespace) -> None:
    model = registry.load(registry.find(world.folder.parent, "toy"))
    p = read_predictions(world.folder / "predictions.csv")
    table = pd.read_csv(world.root / "data" / "split.csv").set_index("image_id")
    assert set(p.image_id) == set(table.index[table["split"].isin(["validation", "test"])])
    assert (p.lesion_id == table.loc[p.image_id, "lesion_id"]).all()
    assert (np.array(CLASSES)[p.y_true] == table.loc[p.image_id, "dx"]).all()
    assert (p.split == table.loc[p.image_id, "split"]).all()
    for row in (0, len(p) - 1):
        pixels = read_file(image_path(world.root / "data", p.image_id[row])).pixels
        np.testing.assert_allclose(p.logits[row], predict(model, pixels).logits, atol=1e-4)


def test_published_predictions_are_those_of_the_best_checkpoint(world: SimpleNamespace, fresh: Path) -> None:
    assert evaluate.main(["fresh", "--views", "4", *world.where]) == 0
    trained = read_predictions(fresh / "predictions.csv")
    served = read_predictions(world.folder / "predictions.csv").of_split("validation")
    assert served.image_id.tolist() == trained.image_id.tolist()
    np.testing.assert_allclose(served.probabilities, trained.probabilities, atol=5e-3)  # kernels are float16


def test_published_figures_are_those_of_the_predictions(world: SimpleNamespace) -> None:
    metrics = read(world.folder / "metrics.json")
    p = read_predictions(world.folder / "predictions.csv")
    assert metrics == {split: summarise(p.of_split(split)).to_dict() for split in ("validation", "test")}
    assert card.problems(world.folder) == []


def test_the_model_card_says_what_it_must(world: SimpleNamespace) -> None:
    text = (world.folder / "README.md").read_text(encoding="utf-8")
    for words in (
        *("not a medical device", "CC BY-NC 4.0", "doi:10.7910/DVN/DBW86T", "Tschandl", "squamous cell carcinoma"),
        *("Spitz nevus", "Nails", "mucous membranes", "dark skin", "cameras, dermatoscopes and clinics other than"),
        *("### Validation split", "### Test split", "predicted 1 time with this run", "baseline_cnn", "sampling_power"),
    ):
        assert words in text
    assert "| 2 | 1 of 1 | 32 | last 3 and head |" in text
    estimate = read(world.folder / "metrics.json")["test"]["macro_auc"]
    interval = f"({estimate['low']:.3f} to {estimate['high']:.3f})"
    assert f"| Macro AUC | at HAM10000's mix | {estimate['value']:.3f} {interval} |" in text
    assert "| Balanced accuracy | at an equal mix | " in text
    assert "Not calibrated: its scores hold for no class mix" in text


def told(folder: Path, **changes: object) -> str:
    """The model card of a folder whose run.json says something else; None takes an entry away."""
    record = {**read(folder / "run.json"), **changes}
    (folder / "run.json").write_text(json.dumps({k: v for k, v in record.items() if v is not None}), encoding="utf-8")
    return render(folder)


def test_the_model_card_says_which_archives_it_was_trained_on(copy: Path) -> None:
    record = read(copy / "run.json")
    alone = "Trained on 28 images of HAM10000, tuned on 14; split by lesion"
    assert f"{alone} (`data/splits/ham10000.csv`). Some lesions were" in told(copy)
    images = {"train": 2000, "validation": 14, "external_validation": 1500}
    shares = {**record["config"], "isic2017_share": 0.15}
    shown = told(copy, config=shares, data={**record["data"], "images": images})
    assert "Trained on 2,000 images of HAM10000 and ISIC 2017, tuned on 14 of HAM10000 and 1,500 of the others" in shown
    assert "(`data/splits/ham10000.csv`, `data/splits/external.csv`). Some lesions of HAM10000 were" in shown
    shown = told(copy, config={**shares, "bcn20000_share": 0.25})
    assert "Trained on 2,000 images of HAM10000, ISIC 2017 and BCN20000, tuned on" in shown


def test_the_model_card_says_how_much_of_the_plan_was_run(copy: Path) -> None:
    config = read(copy / "run.json")["config"]
    ran = len(config["phases"])  # one epoch each
    assert f"All {ran} planned epochs ran. The epochs took 0.0 hours on" in told(copy)
    longer = {**config, "patience": 3, "phases": [{**phase, "epochs": 4} for phase in config["phases"]]}
    early = f"Training stopped early, after {ran} of {4 * ran} planned epochs: 3 in a row without improvement."
    assert early in told(copy, config=longer)
    cut = f"Training was stopped before its planned end: {ran} of {4 * ran} planned epochs ran."
    assert cut in told(copy, config=longer, finished=None)


def test_the_model_card_says_which_epoch_was_published(copy: Path) -> None:
    best, ran = best_row(read_history(copy / "history.csv"))["epoch"], len(read_history(copy / "history.csv"))
    last = f"The last epoch, {ran} (epoch {best:.0f} has the"
    assert f"Best epoch {best:.0f} of {ran} by cross-entropy on validation, " in told(copy)
    assert f"{last} lowest cross-entropy on validation)" in told(copy, published_last_epoch=True)
    older = {"chosen_by": None, "best_epoch": 7}  # by what was chosen then, whatever its history says now
    assert f"Best epoch 7 of {ran} by balanced accuracy on validation, " in told(
        copy, **older, published_last_epoch=False
    )
    shown = told(copy, published_last_epoch=True)
    assert f"The last epoch, {ran} (epoch 7 has the highest balanced accuracy on validation)" in shown


def test_the_model_card_says_what_a_missed_melanoma_weighed(copy: Path) -> None:
    card_file = read(copy / "card.json")
    for weight, said in ((1.75, "| Melanoma weight | 1.75: a missed melanoma"), (1.0, None)):
        (copy / "card.json").write_text(json.dumps({**card_file, "melanoma_weight": weight}), encoding="utf-8")
        assert said in render(copy) if said else "Melanoma weight" not in render(copy)


def test_the_model_card_names_the_published_models_that_a_run_used(copy: Path) -> None:
    config = read(copy / "run.json")["config"]
    assert "published model" not in told(copy).partition("## Recipe")[2]
    shown = told(copy, config={**config, "start": "old"}, start_sha256="12ab" * 16)
    assert f"It continued from the published model `old` (weights with SHA-256 `{'12ab' * 16}`)" in shown
    assert "taught by" not in shown
    taught = {**config, "teacher": "wise", "teacher_share": 0.25}
    shown = told(copy, config=taught, start_sha256=None, teacher_sha256="cd34" * 16)
    assert f"It was taught by the published model `wise` (weights with SHA-256 `{'cd34' * 16}`)" in shown
    assert "a share of 0.25 of the labels" in shown
    assert "went on from" not in shown


def test_the_model_card_says_that_weights_are_interpolated(copy: Path) -> None:
    config = {**read(copy / "run.json")["config"], "start": "base"}
    text = told(copy, config=config, interpolated={"run": "more", "start": "base", "share": 0.7})
    assert "a mean of that model's, 30 % of it, and of what the run `more` came to, 70 %" in text
    assert "Weights interpolated with those of the run `more`, best epoch" in text
    assert "\nBest epoch" not in text


def test_the_model_card_names_the_runs_behind_its_first_weights(copy: Path) -> None:
    config = {**read(copy / "run.json")["config"], "start": "toy"}
    once, twice = [{"when": "then"}], [{"when": "then"}, {"when": "later"}]
    first: dict[str, object] = {"id": "a", "config_name": "c", "git_commit": "12ab-dirty", "weights": "some.npz"}
    first["note"] = "Its code is lost."
    first |= {"weights_missing": ["conv5/kernel", "conv5/bias"], "test_evaluations": once}
    second = {**first, "id": "b", "weights": "none", "weights_missing": [], "test_evaluations": twice}
    recipe = "in order: `a` (config `c`, commit `12ab-dirty`), `b` (config `c`, commit `12ab-dirty`); the "
    shown = told(copy, config=config, earlier_runs=[first, second])
    assert recipe + "backbone's first weights were `some.npz`. Of `a`: Its code is lost." in shown
    assert "archive of `a`, so trained from scratch: conv5." in shown
    assert "and 3 times with the networks that it continues from." in shown
    assert "| weights |" not in shown, "a run that goes on from a model looks at no others"
    assert "| weights |" in told(copy, config={**config, "start": ""}, earlier_runs=[])


def test_the_note_of_a_run_is_in_its_model_card(copy: Path) -> None:
    note = "Two images were taken out after the run."
    assert note not in told(copy)
    data = told(copy, note=note).partition("## Data")[2].partition("## Metrics")[0]
    assert f"\n\n{note}\n\n" in data


def test_without_the_test_flag_the_test_split_stays_untouched(world: SimpleNamespace, fresh: Path) -> None:
    assert publish.main(["fresh", "untested", "--views", "1", *world.where, *world.to]) == 0
    folder = world.root / "models" / "untested"
    try:
        assert read_predictions(folder / "predictions.csv").splits == ("validation",)
        assert set(read(folder / "metrics.json")) == {"validation"}
        assert "the test split has not been used" in (folder / "README.md").read_text(encoding="utf-8")
        assert read(folder / "card.json")["views"] == 1
        assert read(fresh / "run.json")["test_evaluations"] == []
    finally:
        shutil.rmtree(folder)


def test_a_failure_leaves_nothing_and_keeps_the_model_that_was_there(
    world: SimpleNamespace, fresh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {f: f.read_bytes() for f in world.folder.rglob("*") if f.is_file()}

    def fail(*_: object) -> None:
        raise ModelError("the serving file differs from Keras")

    monkeypatch.setattr(publish, "build", fail)
    assert publish.main(["fresh", "toy", "--replace", *world.where, *world.to]) == 2
    assert "differs from Keras" in capsys.readouterr().err
    assert publish.main(["fresh", "other", *world.where, *world.to]) == 2
    assert [f.name for f in world.folder.parent.iterdir()] == ["toy"]
    assert {f: f.read_bytes() for f in world.folder.rglob("*") if f.is_file()} == before


def test_a_model_is_replaced_only_on_request(
    world: SimpleNamespace, fresh: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "models"
    shutil.copytree(world.folder, models / "toy")
    command = ["fresh", "toy", "--name", "New", *world.where, "--models-dir", str(models)]
    assert publish.main(command) == 2
    assert "--replace" in capsys.readouterr().err
    assert read(models / "toy" / "card.json")["name"] == "Toy"
    assert publish.main([*command, "--replace"]) == 0
    assert read(models / "toy" / "card.json")["name"] == "New"
    assert [f.name for f in models.iterdir()] == ["toy"]
    assert registry.load(registry.find(models, "toy")).name == "New"
    assert read(models / "toy" / "run.json")["external_evaluations"] == []
    other_archives = {"when": "then", "run": "older", "splits": ["isic2017"]}
    run = read(models / "toy" / "run.json")
    (models / "toy" / "run.json").write_text(json.dumps({**run, "external_evaluations": [other_archives]}))
    assert publish.main([*command, "--replace"]) == 0
    assert read(models / "toy" / "run.json")["external_evaluations"] == [other_archives]


@pytest.mark.parametrize("model_id", ["Toy", "a/b", "..", "", "two words"])
def test_an_id_that_is_no_folder_name_is_refused(
    world: SimpleNamespace, fresh: Path, model_id: str, tmp_path: Path
) -> None:
    assert publish.main(["fresh", model_id, *world.where, "--models-dir", str(tmp_path / "models")]) == 2
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("name", "old", "new", "complaint"),
    [
        ("README.md", "### Test split", "### Validation split", "README.md is not what"),
        ("metrics.json", '"n_images": 14', '"n_images": 15', "predictions.csv gives 14"),
        ("predictions.csv", ",akiec,", ",bcc,", "predictions.csv gives"),
        ("run.json", '"dropout": 0.3', '"dropout": 0.4', "run.json is not the file"),
        ("history.csv", "\n1,1,", "\n9,1,", "history.csv is not the file"),
        ("card.json", '"parameters": 9', '"parameters": 8', "README.md is not what"),
    ],
)
def test_a_figure_that_was_changed_is_found(copy: Path, name: str, old: str, new: str, complaint: str) -> None:
    text = (copy / name).read_text(encoding="utf-8")
    assert old in text
    (copy / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    assert any(complaint in sentence for sentence in card.problems(copy))


def test_one_digit_typed_into_the_model_card_is_found(copy: Path) -> None:
    estimate = read(copy / "metrics.json")["test"]["accuracy"]
    text = (copy / "README.md").read_text(encoding="utf-8")
    shown = f"| Accuracy | at HAM10000's mix | {estimate['value']:.3f}"
    assert shown in text
    (copy / "README.md").write_text(text.replace(shown, "| Accuracy | at HAM10000's mix | 0.999"), encoding="utf-8")
    assert card.problems(copy) == ["README.md is not what card.json, run.json, history.csv and metrics.json give"]


def test_writing_the_card_anew_repairs_figures_and_blesses_no_other_file(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {name: (copy / name).read_bytes() for name in ("README.md", "metrics.json", "card.json")}
    (copy / "README.md").write_text("Accuracy 99 %", encoding="utf-8")
    (copy / "metrics.json").write_text("{}", encoding="utf-8")
    where = ["--models-dir", str(copy.parent)]
    assert card.main(where) == 1
    assert card.main(["toy", "--write", *where]) == 0
    assert "every number is what its files give" in capsys.readouterr().out
    assert {name: (copy / name).read_bytes() for name in good} == good
    text = (copy / "predictions.csv").read_text().replace(",validation,mel,", ",validation,nv,")
    (copy / "predictions.csv").write_text(text)
    assert card.main(["toy", "--write", *where]) == 1
    assert "predictions.csv is not the file whose hash" in capsys.readouterr().out


def test_what_was_measured_elsewhere_stays_where_its_answers_are_gone(copy: Path) -> None:
    (copy / "other_archives.json").write_text("{}")
    card.remeasure(copy)
    assert (copy / "other_archives.json").read_text() == "{}"


def test_predictions_without_weights_need_no_card(copy: Path) -> None:
    for name in ("model.keras", "card.json", "run.json", "README.md", "history.csv"):
        (copy / name).unlink()
    assert card.problems(copy) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("/home/a/w/efficientnet.npz", "efficientnet.npz"),
        ("python -m training.train x --set weights=/a/b.npz --data /a/ham10000/", None),
        ("none", "none"),
        ("MIT/X11 and 1/2", "MIT/X11 and 1/2"),
        ("https://example.org/a/b", "https://example.org/a/b"),
    ],
)
def test_paths_of_a_machine_are_not_published(given: str, expected: str | None) -> None:
    if expected is None:
        expected = "python -m training.train x --set weights=b.npz --data ham10000"
    assert publish.public({"a": [given]}) == {"a": [expected]}


@pytest.mark.parametrize("entry", registry.discover(PUBLISHED), ids=lambda entry: entry.id)
def test_every_published_model_says_what_its_files_give(entry: registry.Entry) -> None:
    assert entry.problem is None
    assert card.problems(entry.folder) == []
