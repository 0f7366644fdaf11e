"""Train one experiment: `python -m training.train CONFIG --data DIR [--stored-aspect 4:3] [--set key=value]`.

The run lives in $DERMLENS_RUNS/<run_id>/. The same command with `--run RUN_ID` goes on from the last finished epoch,
as if it had never stopped.
"""

import argparse
import contextlib
import dataclasses
import os
import re
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import pandas as pd

from dermlens.dataset.ham10000 import SPLIT_TABLE, check_rows, data_root, load_split
from dermlens.errors import ConfigError, DataError, DermlensError
from dermlens.files.documents import read_object, write_object
from dermlens.image.preprocess import STORED_ASPECTS
from dermlens.models import registry
from dermlens.models.runs import runs_dir
from dermlens.server.hardware import processor
from training import origin
from training import run as runs
from training.architectures import build, load_archive
from training.artefact import load_model
from training.backend import policy, precision
from training.config import Config, from_dict, load_config, override
from training.dataset import HAM10000, data_hash, located, select_rows
from training.drawn_data import draw
from training.folders import alone
from training.labelled import NOT_COMPARED, held_out, labelled_hash, labelled_rows
from training.loop.averaging import set_weights
from training.loop.phase import Task, train_phase
from training.loop.state import State

_ID = re.compile(r"[a-zA-Z0-9][\w.-]{0,99}", re.ASCII)


def smoke(config: Config) -> Config:
    """Return `config` shrunk to 28 images of 32 px and one epoch a phase, with everything else as it is."""
    phases = tuple(dataclasses.replace(p, epochs=1, size=32) for p in config.phases)
    alone = dataclasses.replace(config, isic2017_share=0.0, bcn20000_share=0.0, epoch_images=0)
    return dataclasses.replace(alone, phases=phases, batch_size=8, max_images=28, weights="none")


def start(config: Config, args: argparse.Namespace, held: contextlib.ExitStack) -> Task:
    """Check the data and open or make the run's folder, which is this process' own until `held` is closed.

    Raises:
        DataError: for what is wrong with the data, all of it at once; or the split leaves nothing to train on or to
            choose an epoch by.
        ConfigError: the run exists with other settings or data, or is being trained, or its id is not valid; or a
            model that it starts with is another now, or may have seen images to measure with.
    """
    name = Path(args.config).stem
    run_id = checked_id(args.run) if args.run else new_id(name)
    folder = runs_dir() / run_id
    record_file = folder / "run.json"
    began, is_new = record_file.exists(), not folder.exists()
    if not is_new:
        held.enter_context(alone(folder))
    table = load_split(args.split)
    rows = select_rows(table, config)
    own = rows[rows["source"] == HAM10000]
    for split in ("train", "validation"):
        if split not in set(own["split"]):
            raise DataError(f"{args.split} has no image to use in {split}. Training needs both train and validation.")
    extra = None
    if args.labelled:
        measured_with = held_out(table, args.data, args.stored_aspect, args.external)
        extra = labelled_rows(args.labelled, measured_with, config.leave_out)
        if args.external is None:
            print(NOT_COMPARED, flush=True)
    data = {"sha256": data_hash(rows), "stored_aspect": args.stored_aspect}
    data["labelled"] = "" if extra is None else labelled_hash(extra)
    counts: dict[str, Any] = {"images": {k: int(v) for k, v in rows["split"].value_counts().items()}}
    if extra is not None:
        counts["images"]["labelled"] = len(extra)
        counts["labelled_compared_with_archives"] = args.external is not None
    if began:
        record = read_object(record_file)
        if record.get("interpolated"):
            raise ConfigError(f"Run {run_id} is interpolated, not trained. Choose another --run, or none.")
        then = dataclasses.asdict(from_dict(record["config"]))
        now = dataclasses.asdict(config)
        changed = [key for key in now if then[key] != now[key] and key != "precision"] + [
            k for k in data if record["data"].get(k, "") != data[k]
        ]
        if changed:
            raise ConfigError(f"Run {run_id} exists with another {', '.join(changed)}. Choose another --run, or none.")
        origin.check_unchanged(config, record, folder)
        check_rows(args.data, own)
        now_on = {
            "backend": keras.backend.backend(),
            "precision": precision(config),
            "processor": processor(),
            "git_commit": runs.commit(),
        }
        if not record.get("finished"):
            record["resumed"] = [*record.get("resumed", []), {"when": _now(), **now_on}]
    else:
        used = {"start": config.start, "teacher": config.teacher}
        unknown = {role: [] if args.smoke else origin.check_split(name, table) for role, name in used.items()}
        for role, found in unknown.items():
            if found:
                print(f"What {', '.join(found)}, behind {used[role]}, trained on was not noted.", flush=True)
        check_rows(args.data, own, decode=True)
        record = {
            "id": run_id,
            "config_name": name,
            "config": dataclasses.asdict(config),
            "measured_weights": "EMA" if config.ema_momentum else "raw",
            "chosen_by": "cross-entropy",
            "data": {**data, **counts},
            "seed": config.seed,
            "precision": precision(config),
            "started": _now(),
            **origin.hashes(config),
            "earlier_runs": origin.earlier_runs(config.start),
            **{f"{role}_not_compared": found for role, found in unknown.items()},
            "test_evaluations": [],
            **runs.environment(),
        }
    images = located(rows, args.data, args.stored_aspect, args.external)
    if extra is not None:
        images = pd.concat([images, extra], ignore_index=True)
    if is_new:
        folder.mkdir(parents=True, exist_ok=True)
        held.enter_context(alone(folder))
    if record_file.exists() != began:
        raise ConfigError(f"Run {run_id} has just been begun by another process. Choose another --run, or none.")
    write_object(record_file, record)
    print(f"run {run_id} in {folder}", flush=True)
    return Task(config, folder, images)


def checked_id(run_id: str) -> str:
    """Return the id of a run; raises ConfigError if it cannot be the name of its folder."""
    if not _ID.fullmatch(run_id):
        raise ConfigError(
            f"A run's id is made of letters, digits, -, _ and ., and begins with a letter or digit; got {run_id!r}."
        )
    return run_id


def new_id(name: str) -> str:
    """Return an id that no run has: the name and the time, and a number where a clock was set back or is too coarse."""
    stem = f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    ids = [stem, *(f"{stem}-{i}" for i in range(2, 1000))]
    return next(i for i in ids if not (runs_dir() / i).exists())


def train(task: Task) -> None:
    """Start a run, or go on with it; writes its files as it goes.

    Args:
        task: the run; its folder holds run.json.

    Raises:
        DermlensError: for data, settings or a checkpoint that do not fit.
    """
    config = task.config
    phases = config.phases
    folder = task.folder

    # Stage 1: what is already done.
    checkpoint = folder / "checkpoints" / "last.npz"
    checkpoint.parent.mkdir(exist_ok=True)
    arrays, state = runs.load_state(checkpoint) if checkpoint.exists() else ({}, State())
    runs.remove_partial(folder)
    runs.write_history(folder / "history.csv", state.history)
    runs.settle_best(checkpoint.parent, len(state.history))
    if state.finished:
        print("This run is finished. Start another with another --run, or none.")
        return

    # Stage 2: what the run's randomness and precision come from.
    keras.mixed_precision.set_global_policy(policy(config))
    keras.utils.set_random_seed(config.seed)
    if config.deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()

    # Stage 3: phases, from the one the checkpoint stands in.
    weights = [arrays[f"model/{i}"] for i in range(sum(key.startswith("model/") for key in arrays))]
    if state.phase < len(phases) and state.epoch_in_phase == phases[state.phase].epochs:
        state.begin_phase(state.phase + 1)
    with contextlib.closing(runs.open_events(folder / "events")) as events:
        while state.phase < len(phases) and not state.stopped_early:
            if weights:
                model = build(config.architecture, phases[state.phase].size, dropout=config.dropout)
                set_weights(model, weights)
            else:
                model, missing = first_network(config)
                _add_to_record(folder, weights_missing=missing)
            train_phase(task, model, state, arrays if state.epoch_in_phase else {}, events)
            weights = model.get_weights()

    # Stage 4: the end.
    best = state.best_row()
    of_best = {} if best is None else {"best_epoch": best["epoch"], "best_validation": best}
    _add_to_record(folder, finished=_now(), **of_best)
    state.finished = True
    runs.save_state(checkpoint, {"model": weights}, state)


def first_network(config: Config) -> tuple[keras.Model, list[str]]:
    """Return the network a run starts with, and the variables that its archive of weights did not fill.

    Args:
        config: of the run.

    Raises:
        ConfigError: an archive or published model does not fit. ModelError: there is no such published model, or its
            file is not the one that its card lists.
    """
    size = config.phases[0].size
    if config.start:
        return _published_network(config), []
    if config.weights in ("none", "imagenet"):
        return build(config.architecture, size, config.weights, config.dropout), []  # type: ignore[arg-type]
    model = build(config.architecture, size, dropout=config.dropout)
    missing = load_archive(model, Path(config.weights))
    colon = ":" if missing else ""
    print(f"{config.weights} holds all but {len(missing)} variables of the backbone{colon}", *missing)
    return model, missing


def _published_network(config: Config) -> keras.Model:
    """Return a published model, to be trained on.

    A shift in the head of an older one (`logit_adjustment` of its card) is unlearned with the class mix it was of.
    """
    entry = registry.find(registry.models_dir(), config.start)
    card = entry.card or {}
    network = load_model(entry.folder / "model.keras", registry.source_hash(entry))
    if card.get("architecture") != config.architecture:
        raise ConfigError(f"{config.start} is {card.get('architecture')}, not {config.architecture}.")
    model = build(config.architecture, config.phases[0].size, dropout=config.dropout)
    set_weights(model, network.weights)
    return model


def _add_to_record(folder: Path, **entries: Any) -> None:
    """Add entries to the run.json of a run."""
    write_object(folder / "run.json", {**read_object(folder / "run.json"), **entries})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def main(argv: list[str] | None = None) -> int:
    """Start or resume a run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__.splitlines()[0])
    parser.add_argument("config", help="name of a file in training/configs")
    parser.add_argument("--data", type=Path, help="HAM10000 folder (default: HAM10000_DIR)")
    parser.add_argument("--stored-aspect", choices=STORED_ASPECTS, default="as-is")
    parser.add_argument("--external", type=Path, help="folder of ISIC 2019's training set, where the config wants it")
    parser.add_argument("--split", type=Path, help=f"split table (default: {SPLIT_TABLE.name})")
    parser.add_argument("--labelled", type=Path, help="folder with labels.csv and pictures/, to train on as well")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments")
    parser.add_argument("--leave-out", default="", metavar="DX", help="train without one diagnosis")
    parser.add_argument("--run", help="run id; an existing one is resumed (default: a new one)")
    parser.add_argument(
        "--smoke", action="store_true", help="the whole pipeline on a few tiny images, drawn ones without --data"
    )
    parser.add_argument("--deterministic", action="store_true", help="bit-equal repeats with TensorFlow, slower")
    args = parser.parse_args(argv)
    drawn = args.smoke and args.data is None
    if drawn and args.split:
        parser.error("--split is of images of --data: pass both, or none to try the pipeline on drawn images")
    args.data, args.split = args.data or data_root(), args.split or SPLIT_TABLE
    if args.data is None and not drawn:
        parser.error("pass --data DIR or set HAM10000_DIR")
    assignments = list(args.assignments)
    if args.leave_out:
        assignments.append(f"leave_out={args.leave_out}")
    if args.deterministic:
        assignments.append("deterministic=True")
    try:
        config = override(load_config(args.config)[0], assignments)
        with tempfile.TemporaryDirectory(prefix="dermlens-") as folder, contextlib.ExitStack() as held:
            if drawn:
                args.data, args.split = Path(folder), draw(Path(folder))
            train(start(smoke(config) if args.smoke else config, args, held))
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    except OSError as e:
        print(f"Training stopped: {e}. Finished epochs are kept; mend this and go on with --run.", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
