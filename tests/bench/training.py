"""A training epoch against the same steps on batches that are in memory as the network takes them."""

import functools
from collections.abc import Callable, Iterator

import numpy as np

from tests.bench.case import Case

SIZE = 160
BATCH = 32
STEPS = 2


@functools.cache
def prepare() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return a stretch of an epoch as training does it, and the same steps on ready batches."""
    from training.architectures import build
    from training.augmentation import augmented_batches
    from training.backend import runner
    from training.config import Config, Phase
    from training.dataset import one_hot
    from training.loop.epoch import fit_epoch
    from training.loop.phase import make_optimizer
    from training.losses import ClassHits, make_loss

    config = Config(architecture="efficientnetv2b0", phases=(Phase(1, 1e-4, size=SIZE),))
    model, tally = runner(build(config.architecture, SIZE), config), ClassHits()
    model.compile(make_optimizer(config, config.phases[0]), make_loss(config, np.ones(7, int)), metrics=[tally])
    rng = np.random.default_rng(0)
    pixels = list(rng.integers(0, 256, (BATCH * STEPS, SIZE, round(SIZE * 4 / 3), 3)).astype(np.uint8))
    y = one_hot(np.arange(len(pixels)) % 7)

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order = rng.permutation(len(y))
        return augmented_batches(pixels, y, order, BATCH, SIZE, config.augment, seed=int(rng.integers(2**31)))

    ready = list(batches())

    def epoch() -> object:
        return fit_epoch(model, tally, batches(), [1e-4] * STEPS, [], 0.0, "epoch")

    def steps() -> object:
        return fit_epoch(model, tally, ready, [1e-4] * STEPS, [], 0.0, "ready batches")

    return epoch, steps


def cases() -> Iterator[Case]:
    """Training may be a tenth slower for reading and augmenting its images."""
    name = f"training epoch / ready batches, EfficientNetV2B0 {SIZE} px"
    yield Case(name, lambda: prepare()[0](), lambda: prepare()[1](), limit=1 / 0.9, repeats=7)
