"""What a cohort does when its model is replaced while it runs, and when two runs write into one output."""

import ast
import errno
import fcntl
import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from dermlens.cohort import local_pool, lock, manifest, part, results, work
from dermlens.cohort.__main__ import main
from dermlens.cohort.lock import only_run
from dermlens.cohort.run import Settings, run
from dermlens.cohort.store import Place, place
from dermlens.cohort.work import Work, Worker, made_from
from dermlens.dataset.ham10000 import load_split
from dermlens.errors import DataError, ModelError
from dermlens.models import registry
from tests.cohort import folders
from tests.cohort.conftest import Drawn
from tests.cohort.kills import victims
from tests.cohort.test_run import go
from training.fits import calibration
from training.fits.subject import Subject
from training.model_card.write import note_hash

CHANGED = "toy in .* is not what this run began with: it differs in"


@pytest.fixture
def models(pair: Path, tmp_path: Path) -> Path:
    """The toy model, calibrated, and another network, in a folder that a test may change."""
    shutil.copytree(pair, tmp_path / "models")
    folder = tmp_path / "models" / "toy"
    note_hash(folder, "predictions.csv")
    for name, content in calibration.make(Subject(folder, load_split())).items():
        (folder / name).write_bytes(content)
        note_hash(folder, name)
    return tmp_path / "models"


def publish_another(models: Path) -> None:
    """Replace the toy model by the other network, under the same id."""
    shutil.rmtree(models / "toy")
    shutil.copytree(models / "toy2", models / "toy")
    card = json.loads((models / "toy" / "card.json").read_text())
    (models / "toy" / "card.json").write_text(json.dumps(card | {"id": "toy"}))


def begun(models: Path, images: Path, output: Place) -> Work:
    """Return what workers are given at the start of a run, with its list written."""
    listed, source, _ = manifest.list_images(str(images), 6)
    output.write(manifest.FILE, manifest.encode(listed))
    made = made_from(registry.find(models, "toy"), "as-is", "ham10000", False, listed.paths_sha256())
    return Work(str(models), "toy", source, output, "as-is", "ham10000", False, tuple(made.items()))


def test_a_worker_that_finds_another_model_answers_nothing(models: Path, drawn: Drawn, tmp_path: Path) -> None:
    output = place(tmp_path / "out")
    work = begun(models, drawn.folder, output)
    early = Worker(work)
    publish_another(models)
    with pytest.raises(ModelError, match=f"{CHANGED} files of the model"):
        Worker(work)
    early(0)
    rows = results.rows(output, [0]).to_pylist()
    expected = folders.bare_loop(early.model, [drawn.folder / path for path in drawn.paths[:6]])
    for row, probabilities in zip(rows, expected, strict=True):
        if probabilities is not None:
            np.testing.assert_array_equal([row[name] for name in folders.PROBABILITIES], probabilities)


def test_a_worker_without_the_calibration_that_the_run_began_with_answers_nothing(
    models: Path, drawn: Drawn, tmp_path: Path
) -> None:
    work = begun(models, drawn.folder, place(tmp_path / "out"))
    assert Worker(work).model.fitted.calibration is not None
    file = models / "toy" / "calibration.json"
    file.write_bytes(file.read_bytes() + b" ")  # the card is as it was: the model is served, without a calibration
    with pytest.raises(ModelError, match=f"{CHANGED} files of the model"):
        Worker(work)
    file.unlink()
    with pytest.raises(ModelError, match=f"{CHANGED} files of the model"):
        Worker(work)


def test_a_model_that_is_replaced_only_while_it_is_loaded_is_noticed(
    models: Path, drawn: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = begun(models, drawn.folder, place(tmp_path / "out"))
    shutil.copytree(models / "toy", tmp_path / "kept")
    find, load = registry.find, registry.load_any

    def replaced(*given: object) -> object:
        publish_another(models)
        return find(*given)  # type: ignore[arg-type]

    def put_back(*given: object) -> object:
        found = load(*given)  # type: ignore[arg-type]
        shutil.rmtree(models / "toy")
        shutil.copytree(tmp_path / "kept", models / "toy")
        return found

    monkeypatch.setattr(registry, "find", replaced)
    monkeypatch.setattr(registry, "load_any", put_back)
    with pytest.raises(ModelError, match=f"{CHANGED} files of the model"):
        Worker(work)


def test_a_worker_with_other_packages_answers_nothing(
    models: Path, drawn: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = begun(models, drawn.folder, place(tmp_path / "out"))
    monkeypatch.setattr("dermlens.cohort.work.version", lambda package: "0.1")
    with pytest.raises(ModelError, match=f"{CHANGED} versions of packages"):
        Worker(work)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_command_stops_with_the_sentence_when_its_workers_find_another_model(
    models: Path,
    drawn: Drawn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    workers: str,
) -> None:
    start = local_pool.run

    def late(work: Work, shards: Sequence[int], workers: int, tell: Callable[[int], object]) -> None:
        publish_another(models)
        start(work, shards, workers, tell)

    monkeypatch.setattr(local_pool, "run", late)
    monkeypatch.setattr(manifest, "SHARD_ROWS", 6)
    command = ["run", "--model", "toy", "--models-dir", str(models), "--input", str(drawn.folder)]
    assert main([*command, "--output", str(tmp_path / "out"), "--workers", workers]) == 2
    assert "Not done: toy in " in (said := capsys.readouterr().err)
    assert "is not what this run began with: it differs in files of the model." in said
    assert "Traceback" not in said
    assert results.present(place(tmp_path / "out")) == []


def test_workers_that_take_the_place_of_killed_ones_do_not_go_on_with_another_model(
    models: Path, drawn: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = place(tmp_path / "out")
    expected = folders.bare_loop(folders.load(models, "toy"), [drawn.folder / path for path in drawn.paths])
    start = local_pool.run

    def killing(work: Work, shards: Sequence[int], workers: int, tell: Callable[[int], object]) -> None:
        def kill(rows: int) -> None:
            if results.present(output) and (models / "toy" / "calibration.json").exists():
                for worker in victims(os.getpid())["worker"]:
                    os.kill(worker, signal.SIGKILL)
                publish_another(models)

        start(work, shards, workers, kill)

    monkeypatch.setattr(local_pool, "run", killing)
    with pytest.raises(ModelError, match=f"{CHANGED} files of the model"):
        go(models, drawn.folder, output, workers=2, shard_rows=2)
    found = results.present(output)
    assert 0 < len(found) < 20
    for row in results.rows(output, found).to_pylist():
        if (probabilities := expected[row["row"]]) is not None:
            np.testing.assert_array_equal([row[name] for name in folders.PROBABILITIES], probabilities)


def test_parts_or_a_list_of_another_run_are_not_counted_exported_or_shown(
    pair: Path, drawn: Drawn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = place(tmp_path / "one"), place(tmp_path / "two")
    for output, model in ((one, "toy"), (two, "toy2")):
        run(registry.find(pair, model), Settings(str(drawn.folder), output, "ham10000", workers=1, shard_rows=6), "")
    shutil.copy(Path(two.address, part.name_of(3)), Path(one.address, part.name_of(3)))
    for command in (["status", one.address], ["export", one.address, "--to", str(tmp_path / "rows.csv")]):
        assert main(command) == 2
        said = capsys.readouterr().err
        assert "part-000003.parquet was made with another model, files of the model." in said
    assert not (tmp_path / "rows.csv").exists()
    listed, _, _ = manifest.list_images(str(drawn.folder), 7)
    two.write(manifest.FILE, manifest.encode(listed))
    with pytest.raises(DataError, match=r"manifest\.parquet is not the list of images that the cohort was made from"):
        results.status(two, 0.0)


def test_a_second_run_into_one_output_is_refused_while_the_first_writes(
    published: Path, drawn: Drawn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = place(tmp_path / "out")
    command = ["run", "--model", "toy", "--models-dir", str(published), "--input", str(drawn.folder)]
    with only_run(output):
        assert main([*command, "--output", output.address]) == 2
        assert f"Not done: Another run is writing into {output.address}." in capsys.readouterr().err
        assert os.listdir(output.address) == [lock.FILE]
    assert os.listdir(output.address) == []
    Path(output.address, lock.FILE).touch()  # as a kill leaves it
    go(published, drawn.folder, output)
    folders.check_rows(output, drawn.paths, drawn.expected)
    assert lock.FILE not in os.listdir(output.address)


def test_a_lock_that_is_removed_while_it_is_taken_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, first = fcntl.flock, iter([True])

    def removed(file: int, how: int) -> None:
        flock(file, how)
        if next(first, False):
            (tmp_path / lock.FILE).unlink()

    monkeypatch.setattr(fcntl, "flock", removed)
    with only_run(place(tmp_path)):
        with pytest.raises(DataError, match="Another run"), only_run(place(tmp_path)):
            pass
        assert (tmp_path / lock.FILE).exists()


def test_a_disk_without_locks_is_written_all_the_same(
    published: Path, drawn: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", without)
    go(published, drawn.folder, place(tmp_path / "out"))
    folders.check_rows(place(tmp_path / "out"), drawn.paths, drawn.expected)


def imported(module: str, found: dict[str, set[str]]) -> None:
    """Add to `found` a module of dermlens and those that it imports: name -> the packages of others that it imports."""
    file = work.PACKAGE.parent / f"{module.replace('.', '/')}.py"
    if module in found or not file.is_file():
        return
    found[module] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.startswith("dermlens."):
                imported(name, found)
            else:
                found[module].add(name.partition(".")[0])


def test_a_part_says_the_version_of_all_that_computes_a_row() -> None:
    found: dict[str, set[str]] = {}
    for module in ("dermlens.cohort.answer", "dermlens.ingest.worker"):
        imported(module, found)
    hashed = {str(file.relative_to(work.PACKAGE)) for file in work._modules()}
    others = {file for m in found if (file := m.removeprefix("dermlens.").replace(".", "/") + ".py") not in hashed}
    no_numbers = ("dataset/", "errors.py", "estimate.py", "files/", "server/", "wording.py", "child_process.py")
    assert sorted(file for file in others if not file.startswith((*no_numbers, "sandbox.py"))) == []
    assert "evaluation/class_mix.py" in hashed
    assert "labels.py" in hashed
    assert not set(work.COMPARES) & hashed, "old rows may be compared by newer code"
    assert all((work.PACKAGE / file).is_file() for file in work.COMPARES)
    distributions = metadata.packages_distributions()
    packages = {
        distributions[name][0].lower().replace("_", "-")
        for names in found.values()
        for name in names
        if name in distributions
    }
    others_need = {"pandas", "pyarrow", "scipy"}  # tables, and what is fitted
    assert sorted(packages - set(work.PACKAGES) - others_need) == []
