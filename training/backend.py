"""How a network is trained fastest where it is: which operations run it, and in which precision."""

import keras

from dermlens.server.hardware import processor_flags
from training.config import Config


def has_bfloat16() -> bool:
    """Return whether the processor, or torch's accelerator, multiplies bfloat16 in units of its own."""
    if keras.backend.backend() == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.is_bf16_supported()
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & processor_flags())


def precision(config: Config) -> str:
    """Return "float32" or "mixed_bfloat16", the second for "auto" where there are units for it and torch uses them."""
    if config.precision != "auto":
        return config.precision
    return "mixed_bfloat16" if keras.backend.backend() == "torch" and has_bfloat16() else "float32"


def policy(config: Config) -> str:
    """Return the policy of Keras' layers; on torch they are float32, and autocast does the rest."""
    return "float32" if keras.backend.backend() == "torch" else precision(config)


def runner(model: keras.Model, config: Config) -> keras.Model:
    """Return what trains a network fastest on this backend; it shares the network's variables."""
    if keras.backend.backend() != "torch":
        return model
    from training.torch_graph import TorchGraph

    return TorchGraph(model, bfloat16=precision(config) == "mixed_bfloat16")
