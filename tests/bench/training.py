"""A training epoch against the same steps on batches that are in memory as the network takes them."""

import functools
from collections.abc import Callable, Iterator

import numpy as np

from tests.bench.case import Case

SIZE, BATCH, STEPS = 160, 32, 2


@functools.cache
def prepare() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return a stretch of an epoch as training does it, and the same steps on ready batches."""
    import keras

    from training.architectures import build
    from training.augmentation import augmenter
    from training.config import Augment, Config, Phase
    from training.dataset import one_hot
    from training.loop.epoch import fit_epoch
    from training.loop.inputs import augmented, prepared
    from training.loop.phase import make_optimizer
    from training.losses import ClassHits, make_loss

    config = Config(architecture="efficientnetv2b0", phases=(Phase(1, 1e-4, size=SIZE),))
    model, tally = build(config.architecture, SIZE), ClassHits()
    model.compile(make_optimizer(config, config.phases[0]), make_loss(config, np.ones(7, int)), metrics=[tally])
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (BATCH * STEPS, SIZE, round(SIZE * 4 / 3), 3)).astype(np.uint8)
    y = one_hot(np.arange(len(pixels)) % 7)
    change = augmented(augmenter(Augment(), SIZE))
    ready = [
        (keras.ops.convert_to_numpy(x), labels) for x, labels in prepared(pixels, y, np.arange(len(y)), BATCH, change)
    ]

    def epoch() -> object:
        data = prepared(pixels, y, rng.permutation(len(y)), BATCH, change)
        return fit_epoch(model, tally, data, [1e-4] * STEPS, [], 0.0, "epoch")

    def steps() -> object:
        return fit_epoch(model, tally, ready, [1e-4] * STEPS, [], 0.0, "ready batches")

    return epoch, steps


def cases() -> Iterator[Case]:
    """Training may be a tenth slower for reading and augmenting its images."""
    name = f"training epoch / ready batches, EfficientNetV2B0 {SIZE} px"
    yield Case(name, lambda: prepare()[0](), lambda: prepare()[1](), limit=1 / 0.9, repeats=7)
