"""How much memory the slow heat maps leave in a server: `python -m tests.heat_map_memory --rounds 10`.

Every round draws every method by every network that is published, each in a thread of its own as a page of the
dashboard does, of a picture and class of its own. An hour of one person after the other is some 60 rounds.
"""

import argparse
import threading
from pathlib import Path
from typing import Any

import numpy as np

from dermlens.explain import gradients
from dermlens.image.synthetic import draw_lesion
from dermlens.labels import N_CLASSES
from dermlens.models import registry
from dermlens.models.model import Model
from dermlens.server.memory import give_back, keep_few_heaps, wipe_what_is_freed


def resident() -> float:
    """Return the memory of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def one_round(models: list[Model], networks: dict[str, Any], number: int, methods: list[str]) -> None:
    """Draw every method by every model once; `networks` are kept as the dashboard keeps them."""
    for model in models:
        for method in methods:
            if model.id not in networks:
                networks[model.id] = gradients.load_network(model)
            pixels = draw_lesion(np.random.default_rng(number), 450, 600)
            arguments = (method, model, networks[model.id], pixels, number % N_CLASSES)
            drawing = threading.Thread(target=gradients.explain_with, args=arguments)
            drawing.start()
            drawing.join()
            give_back(now=True)


def main(argv: list[str] | None = None) -> int:
    """Print the memory after every round; returns 1 where the last is over the limit."""
    parser = argparse.ArgumentParser(prog="python -m tests.heat_map_memory", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--models", nargs="*", default=["efficientnetv2b0", "resnet50"])
    parser.add_argument("--methods", nargs="*", default=list(gradients.METHODS), choices=list(gradients.METHODS))
    parser.add_argument("--limit", type=float, default=1200, help="MB (default: %(default)s)")
    args = parser.parse_args(argv)
    keep_few_heaps()
    wipe_what_is_freed()
    models = [registry.load(registry.find(registry.models_dir(), name)) for name in args.models]
    print(f"models loaded: {resident():,.0f} MB", flush=True)
    networks: dict[str, Any] = {}
    for number in range(args.rounds):
        one_round(models, networks, number, args.methods)
        print(f"round {number + 1}: {resident():,.0f} MB", flush=True)
    return int(resident() > args.limit)


if __name__ == "__main__":
    raise SystemExit(main())
