"""`python -m tests.bench.torch_steps NAME SIZE BATCH`: answers every line once a training step of its kind is done.

"ours" is a step as training takes it here, "float32" the same in float32, "plain" one of plain torch. A process of its
own, as Keras takes one backend a process. Parameters are counted first: all are the same network.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial

os.environ["KERAS_BACKEND"] = "torch"

import numpy as np
import torch

from tests.bench.plain_torch import NETWORKS
from training.architectures import build
from training.backend import has_bfloat16, runner
from training.config import Config, Phase
from training.loop.phase import make_optimizer
from training.losses import make_loss


def main(name: str, size: int, batch: int) -> None:
    """Serve steps until the other side hangs up."""
    phase = Phase(1, 1e-4, size=size)
    config = Config(architecture=name, phases=(phase,), precision="auto")
    network = build(name, size)
    trained = {}
    for which, chosen in {"ours": config, "float32": replace(config, precision="float32")}.items():
        trained[which] = runner(network, chosen)
        trained[which].compile(make_optimizer(chosen, phase), make_loss(chosen, np.ones(7, int)))
    plain = NETWORKS[name]().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(plain.parameters(), 1e-4, weight_decay=1e-2)
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (batch, size, size, 3)).astype(np.float32)
    y = np.eye(7, dtype=np.float32)[np.arange(batch) % 7]
    there = torch.from_numpy(x / 127.5 - 1).permute(0, 3, 1, 2)
    labels = torch.from_numpy(y)

    def plain_step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):
            logits = plain(there)
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()

    steps: dict[str, Callable[[], object]] = {"plain": plain_step}
    for which, model in trained.items():
        steps[which] = partial(model.train_on_batch, x, y)
    counts = (
        sum(int(np.prod(v.shape)) for v in network.trainable_variables),
        sum(p.numel() for p in plain.parameters()),
    )
    print(*counts, flush=True)
    for line in sys.stdin:
        steps[line.strip()]()
        print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
