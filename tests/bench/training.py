"""A training epoch against the same steps on batches that are in memory as the network takes them."""

import atexit
import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import numpy as np

from tests.bench.case import Case

SIZE = 160
BATCH = 32
STEPS = 2
TORCH_SIZE = 224


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


def torch_steps(name: str) -> Callable[[str], Callable[[], object]]:
    """Return what gives a training step of a network by its kind (`torch_steps`); they run in another process."""
    command = [sys.executable, "-m", "tests.bench.torch_steps", name, str(TORCH_SIZE), str(BATCH)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    atexit.register(child.kill)
    assert child.stdin is not None
    assert child.stdout is not None
    asked, answered = child.stdin, child.stdout
    here, plain = (int(n) for n in answered.readline().split())
    assert abs(here - plain) < 0.01 * plain, f"{name} has {here} parameters here and {plain} in plain torch"

    def step(which: str) -> None:
        asked.write(f"{which}\n")
        asked.flush()
        assert answered.readline() == "done\n"

    return lambda which: functools.partial(step, which)


def tensorflow_step(name: str) -> Callable[[], object]:
    """Return a training step of a network on TensorFlow, in float32, as training takes it here."""
    from training.architectures import build
    from training.config import Config, Phase
    from training.loop.phase import make_optimizer
    from training.losses import make_loss

    phase = Phase(1, 1e-4, size=TORCH_SIZE)
    config = Config(architecture=name, phases=(phase,))
    model = build(name, TORCH_SIZE)
    model.compile(make_optimizer(config, phase), make_loss(config, np.ones(7, int)))
    x = np.random.default_rng(0).uniform(0, 255, (BATCH, TORCH_SIZE, TORCH_SIZE, 3)).astype(np.float32)
    y = np.eye(7, dtype=np.float32)[np.arange(BATCH) % 7]
    return lambda: model.train_on_batch(x, y)


def cases() -> Iterator[Case]:
    """Training may be a tenth slower for reading its images, and on torch reach 0.7 of what plain torch does.

    The backend and the precision that training on torch takes here are no slower than the others.
    """
    name = f"training epoch / ready batches, EfficientNetV2B0 {SIZE} px"
    yield Case(name, lambda: prepare()[0](), lambda: prepare()[1](), limit=1 / 0.9, repeats=7)
    if find_spec("torch") is None:
        print("training on torch: left out, torch is not installed (make torch-test installs it)")
        return
    for network in ("resnet50", "efficientnetv2b0"):
        step, of = torch_steps(network), f"{network} {TORCH_SIZE} px"
        ours = step("ours")
        yield Case(f"training step on torch / plain torch, {of}", ours, step("plain"), 1 / 0.7, repeats=7)
        yield Case(f"training step on torch / in float32, {of}", ours, step("float32"), 1.1, repeats=5)
        yield Case(f"training step on torch / on TensorFlow, {of}", ours, tensorflow_step(network), 1.0, repeats=5)
