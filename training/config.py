"""The settings of one experiment; an unknown one is refused."""

import ast
import dataclasses
import importlib
from dataclasses import dataclass, field
from typing import Any, Literal

from dermlens.errors import ConfigError


@dataclass(frozen=True)
class Phase:
    """One stretch of training with its own learning rate, image size and set of trainable stages."""

    epochs: int
    learning_rate: float
    unfreeze: int | Literal["all"] = "all"
    """Number of last backbone stages that train besides the head; 0 trains the head alone."""
    size: int = 160
    """Side of the network's square, in pixels."""
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    warmup_epochs: float = 0.0
    cached_views: int = 0
    """If positive, the frozen stages run once over this many augmented views, and training reads their output."""


@dataclass(frozen=True)
class Augment:
    """Random changes of a training image; 0 or False leaves one out. Ranges are as in the Keras layer of that name."""

    flip: bool = True
    rotation_degrees: float = 180.0
    zoom: float = 0.15
    translation: float = 0.05
    brightness: float = 0.1
    contrast: float = 0.15
    saturation: float = 0.1
    hue: float = 0.02
    mixup_alpha: float = 0.0
    erasing: float = 0.0


@dataclass(frozen=True)
class Config:
    """Everything that decides a run's result, apart from the data."""

    architecture: str
    phases: tuple[Phase, ...]
    weights: str = "imagenet"
    dropout: float = 0.3
    batch_size: int = 32
    seed: int = 1
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    ema_momentum: float = 0.0
    """Share of the old value kept at each step in the averaged weights; 0 switches averaging off."""
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    label_smoothing: float = 0.0
    focal_alpha: float = 1.0
    focal_gamma: float = 2.0
    class_weight_power: float = 0.0
    """Loss weight of a class is its number of images to the power of minus this (mean weight 1)."""
    sampling_power: float = 0.0
    """Images are drawn by class size to the power of minus this; 1 is balanced, 0 visits each image once an epoch."""
    logit_adjustment: float = 0.0
    """The factor tau of Menon et al., "Long-tail learning via logit adjustment", ICLR 2021."""
    patience: int = 0
    """Epochs of the last phase without a better validation balanced accuracy before stopping; 0 never stops."""
    plateau_patience: int = 2
    leave_out: str = ""
    """A diagnosis left out of training (to measure how a network meets what it does not know)."""
    deterministic: bool = False
    max_images: int = 0
    """If positive, only so many images of each split are used."""
    augment: Augment = field(default_factory=Augment)


def load_config(name: str) -> tuple[Config, str]:
    """Return the config `training/configs/<name>.py` and its docstring; raises ConfigError if there is none."""
    stem = name.removesuffix(".py").replace("/", ".").removeprefix("training.configs.")
    try:
        module = importlib.import_module(f"training.configs.{stem}")
    except ModuleNotFoundError as e:
        if e.name != f"training.configs.{stem}":
            raise
        raise ConfigError(f"No config {name!r} in training/configs.") from e
    return module.CONFIG, module.__doc__ or ""


def override(config: Config, assignments: list[str]) -> Config:
    """Return `config` with `key=value` assignments applied; keys are dotted (`phases.0.epochs=3`, `augment.flip=0`).

    Raises:
        ConfigError: for an unknown key or a value of another type.
    """
    values = dataclasses.asdict(config)
    for assignment in assignments:
        key, sep, text = assignment.partition("=")
        if not sep:
            raise ConfigError(f"--set wants key=value, got {assignment!r}.")
        *path, last = key.split(".")
        place: Any = values
        for part in path:
            place = _step(place, part, key)
        _step(place, last, key)
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        place[int(last) if isinstance(place, (list, tuple)) else last] = value
    return from_dict(values)


def from_dict(values: dict[str, Any]) -> Config:
    """Build a Config from plain values as they stand in run.json; raises ConfigError for what does not fit."""
    values = dict(values)
    phases = values.pop("phases", None)
    if not phases:
        raise ConfigError("A config needs at least one phase.")
    built = [_checked(Phase, p, f"phases.{i}") for i, p in enumerate(phases)]
    augment = _checked(Augment, values.pop("augment", {}), "augment")
    return _checked(Config, {**values, "phases": tuple(built), "augment": augment}, "config")


def _step(place: Any, part: str, key: str) -> Any:
    try:
        return place[int(part)] if isinstance(place, (list, tuple)) else place[part]
    except (KeyError, IndexError, ValueError, TypeError) as e:
        known = ", ".join(place) if isinstance(place, dict) else f"0 to {len(place) - 1}"
        raise ConfigError(f"Unknown setting {key!r}: {part!r} is not one of {known}.") from e


def _checked(kind: type, values: dict[str, Any], where: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    unknown = [k for k in values if k not in fields]
    if unknown:
        raise ConfigError(f"Unknown setting {', '.join(unknown)} in {where}; known are {', '.join(fields)}.")
    for name, value in values.items():
        kind_name = str(fields[name].type)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if fields[name].type in (int, float) and not (isinstance(value, fields[name].type) or (number and fields[name].type is float)):
            raise ConfigError(f"{where}.{name} must be a {fields[name].type.__name__}, got {value!r}.")
        if fields[name].type is bool and value not in (True, False, 0, 1):
            raise ConfigError(f"{where}.{name} must be true or false, got {value!r}.")
        if kind_name.startswith("typing.Literal") and value not in fields[name].type.__args__:
            raise ConfigError(f"{where}.{name} must be one of {fields[name].type.__args__}, got {value!r}.")
        if number and value < 0 and name != "seed":
            raise ConfigError(f"{where}.{name} must not be negative, got {value!r}.")
    try:
        return kind(**values)
    except TypeError as e:
        raise ConfigError(f"{where}: {e}.") from e
