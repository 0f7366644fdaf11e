"""Weights between those a run went on from and those it came to: `python -m training.interpolate RUN NEW --share 0.5`.

Of a network taught more things, the mean of its weights before and after often keeps what it knew and most of what it
learned (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022, arXiv:2109.01903). NEW is a run like any
other, to be measured (training.evaluate, training.gains) and published; the share is chosen on validation, and so is
the size at which the network answers, where it is another than the config's.
"""

import argparse
import dataclasses
import os
import shutil
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from dermlens.errors import ConfigError, DermlensError
from dermlens.files.documents import read_object, write_object
from dermlens.models import registry
from dermlens.models.runs import runs_dir
from training.config import from_dict
from training.finished import best_model, find_run
from training.folders import whole
from training.run import commit
from training.train import checked_id, first_network

OF_THE_RUN = ("best_validation",)
"""What run.json says of the run's own weights alone. Its history stays, to say how it was trained."""


def interpolate(run: Path, share: float, target: Path, size: int = 0) -> None:
    """Write a run whose best epoch has weights between the first and the best ones of another run.

    Args:
        run: folder of a run that went on from a published model.
        share: of the run's best weights, 0..1; the rest are those it began with.
        target: folder of the new run, which must not exist.
        size: side of the square at which the network answers; 0 leaves what the run's config says.

    Raises:
        ConfigError: the run did not go on from a published model, or that is another one now, or the share is not
            0..1, or the size is out of range, or the new run exists. DataError, ModelError: a file of either is missing
            or damaged.
    """
    record = read_object(run / "run.json")
    config = from_dict({**record["config"], **({"answer_size": size} if size else {})})
    if not 0 <= share <= 1:
        raise ConfigError(f"The share of a run's weights is 0 to 1, not {share}.")
    if not config.start:
        raise ConfigError(f"{run.name} did not go on from a published model: there is nothing to interpolate with.")
    if target.exists():
        raise ConfigError(f"There is a run {target.name} already: choose another name.")
    if record["start_sha256"] != registry.source_hash(registry.find(registry.models_dir(), config.start)):
        raise ConfigError(f"{run.name} went on from another {config.start} than the one that is published now.")
    first, model = first_network(config)[0], best_model(run)
    model.set_weights(
        [
            share * np.asarray(after) + (1 - share) * np.asarray(before)
            for before, after in zip(first.get_weights(), model.get_weights(), strict=True)
        ]
    )
    with whole(target) as folder:
        (folder / "checkpoints").mkdir()
        model.save_weights(folder / "checkpoints" / "best.weights.h5")
        shutil.copyfile(run / "history.csv", folder / "history.csv")
        between = {"run": record["id"], "start": config.start, "share": share, "git_commit": commit()}
        own = {key: value for key, value in record.items() if key not in OF_THE_RUN}
        own["config"] = dataclasses.asdict(config)
        write_object(folder / "run.json", {**own, "id": target.name, "interpolated": between})


def main(argv: list[str] | None = None) -> int:
    """Write the new run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.interpolate", description=__doc__.partition("\n")[0])
    parser.add_argument("run", help="id or folder of a run that went on from a published model")
    parser.add_argument("new", help="id of the run to write")
    parser.add_argument("--share", type=float, required=True, help="of the run's weights, 0 to 1")
    parser.add_argument("--size", type=int, default=0, help="side at which it answers (default: as the run)")
    args = parser.parse_args(argv)
    try:
        interpolate(find_run(args.run), args.share, runs_dir() / checked_id(args.new), args.size)
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
