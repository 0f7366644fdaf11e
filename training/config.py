"""The settings of one experiment; an unknown one is refused."""

import ast
import dataclasses
import importlib
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dermlens.errors import ConfigError
from dermlens.labels import CLASSES
from dermlens.models.runs import without_removed

SHARES = {"ISIC 2017": "isic2017_share", "BCN20000": "bcn20000_share"}
"""Name of another archive -> the setting that says how much of an epoch is drawn from it."""
CONFIGS = Path(__file__).parent / "configs"
MAX_SIZE = 2048
"""Longest side of a network's square, in pixels."""
# Smallest and largest value of numbers that 0 to infinity would not do for.
LIMITS: dict[str, tuple[float, float]] = {
    "epochs": (1, math.inf),
    "batch_size": (1, math.inf),
    "seed": (0, 4_000_000),
    "size": (8, MAX_SIZE),
    "dropout": (0, 0.99),
    "ema_momentum": (0, 0.99999),
    "label_smoothing": (0, 0.99),
    "rotation_degrees": (0, 180),
    "zoom": (0, 0.9),
    "translation": (0, 1),
    "hue": (0, 0.5),
    "contrast": (0, 1),
    "saturation": (0, 1),
    "brightness": (0, 1),
    "erasing": (0, 1),
    "gain": (0, 0.9),
    "gamma": (0, 10),
    "blur": (0, 1),
    "jpeg": (0, 1),
    "low_resolution": (0, 1),
    "mixup_alpha": (0, 1),
    "teacher_share": (0, 0.5),
    "isic2017_share": (0, 0.4),
    "bcn20000_share": (0, 0.4),
}


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


@dataclass(frozen=True)
class Augment:
    """Random changes of a training image; 0 or False leaves one out."""

    flip: bool = True
    """Mirror each axis with a probability of one half."""
    rotation_degrees: float = 180.0
    """Turn by up to this angle either way; 180 is any angle."""
    zoom: float = 0.15
    """Show between 1 - zoom and 1 + zoom times the extent, on both axes alike."""
    translation: float = 0.05
    """Shift each axis by up to this share of the square's side."""
    brightness: float = 0.1
    """Add up to this share of the full range, either way."""
    contrast: float = 0.15
    """Scale by between 1 - contrast and 1 + contrast about the image's mean colour."""
    saturation: float = 0.1
    """Scale the distance from grey by between 1 - saturation and 1 + saturation."""
    hue: float = 0.02
    """Turn the hue by up to this share of the circle, either way."""
    gain: float = 0.0
    """Scale each channel by its own factor between 1 - gain and 1 + gain: the light of another dermatoscope."""
    gamma: float = 0.0
    """Raise values, as shares of the full range, to a power between 1 / (1 + gamma) and 1 + gamma."""
    blur: float = 0.0
    """Probability of a defocus: a Gaussian of up to 1 % of the side."""
    jpeg: float = 0.0
    """Probability of another JPEG compression, of quality 40 to 95."""
    low_resolution: float = 0.0
    """Probability of a picture that was shrunk to between 64 px and full size and enlarged again."""
    mixup_alpha: float = 0.0
    """Blend pairs of images and labels by weights from Beta(alpha, alpha)."""
    erasing: float = 0.0
    """Probability of painting one rectangle in the mean colour."""

    @classmethod
    def none(cls) -> "Augment":
        """Return settings that change nothing."""
        return cls(False, *([0.0] * (len(dataclasses.fields(cls)) - 1)))


@dataclass(frozen=True)
class Config:
    """Everything that decides a run's result, apart from the data."""

    architecture: str
    phases: tuple[Phase, ...]
    weights: str = "imagenet"
    """Of the backbone: "imagenet" (fetched by Keras), "none", or an archive (see architectures.load_archive)."""
    start: str = ""
    """A published model of this architecture to go on from, its head included; `weights` is then not looked at."""
    dropout: float = 0.3
    batch_size: int = 32
    seed: int = 1
    precision: Literal["float32", "mixed_bfloat16", "auto"] = "float32"
    """"auto" computes in bfloat16 where the processor or accelerator has units for it (see training.backend)."""
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
    isic2017_share: float = 0.0
    """Share of an epoch's images drawn from the training part of ISIC 2017."""
    bcn20000_share: float = 0.0
    """Share of an epoch's images drawn from the training part of BCN20000."""
    answer_size: int = 0
    """Side of the square at which the finished network is measured and published; 0 is the last size it trained at. A
    larger one often helps (Touvron et al., "Fixing the train-test resolution discrepancy", arXiv:1906.06423)."""
    epoch_images: int = 0
    """Images drawn in an epoch, whatever the archives hold; 0 is as many as HAM10000 trains with."""
    teacher: str = ""
    """A published model whose answers to the training images, computed once through the serving path, are mixed into
    the labels (Hinton, Vinyals & Dean, "Distilling the knowledge in a neural network", arXiv:1503.02531)."""
    teacher_share: float = 0.5
    """Share of the teacher in the labels; at most one half, so that the true class stays the likeliest."""
    patience: int = 0
    """Epochs of the last phase without a lower validation cross-entropy before stopping; 0 never stops."""
    plateau_patience: int = 2
    """Epochs in a row without a lower validation loss that schedule "plateau" lets pass; the next one costs 70 %."""
    leave_out: str = ""
    """A diagnosis left out of training (to measure how a network meets what it does not know)."""
    deterministic: bool = False
    max_images: int = 0
    """If positive, only so many images of each split are used."""
    augment: Augment = field(default_factory=Augment)


def load_config(name: str) -> tuple[Config, str]:
    """Return the config `training/configs/<name>.py` and its docstring.

    Raises:
        ConfigError: there is none of that name, or a setting in it is unknown or out of range.
    """
    stem = Path(name).stem
    known = sorted(f.stem for f in CONFIGS.glob("[!_]*.py"))
    if stem not in known:
        raise ConfigError(f"No config {name!r} in training/configs; there are {', '.join(known)}.")
    try:
        module = importlib.import_module(f"training.configs.{stem}")
    except TypeError as e:  # a dataclass was given an unknown field
        raise ConfigError(f"training/configs/{stem}.py: {e}.") from e
    return from_dict(dataclasses.asdict(module.CONFIG)), module.__doc__ or ""


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
        if not isinstance(place, dict):
            raise ConfigError(f"--set {key}: name one of its settings, such as {key}.epochs.")
        _step(place, last, key)
        try:
            value = ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
        except (ValueError, SyntaxError):
            value = text
        place[last] = value
    return from_dict(values)


def from_dict(values: dict[str, Any]) -> Config:
    """Build a Config from plain values as they stand in run.json; raises ConfigError for what does not fit."""
    phases = values.get("phases")
    if not isinstance(phases, (list, tuple)) or not phases:
        raise ConfigError(f"A config needs at least one phase, got {phases!r}.")
    built = tuple(_checked(Phase, p, f"phases.{i}") for i, p in enumerate(phases))
    augment = _checked(Augment, values.get("augment", {}), "augment")
    config = _checked(Config, {**without_removed(values), "phases": built, "augment": augment}, "config")
    if config.leave_out not in ("", *CLASSES):
        raise ConfigError(f"leave_out must be one of {', '.join(CLASSES)}, got {config.leave_out!r}.")
    if config.leave_out and config.start:
        raise ConfigError(f"{config.start} has seen {config.leave_out}: leave_out needs a run without start.")
    if config.leave_out and config.teacher:
        raise ConfigError(f"{config.teacher} may know {config.leave_out}: leave_out needs a run without teacher.")
    low, high = LIMITS["size"]
    if config.answer_size and not low <= config.answer_size <= high:
        raise ConfigError(f"config.answer_size must be 0 or from {low} to {high}, got {config.answer_size}.")
    return config


def _step(place: Any, part: str, key: str) -> Any:
    try:
        return place[int(part)] if isinstance(place, (list, tuple)) else place[part]
    except (KeyError, IndexError, ValueError, TypeError) as e:
        known = ", ".join(place) if isinstance(place, dict) else f"0 to {len(place) - 1}"
        raise ConfigError(f"Unknown setting {key!r}: {part!r} is not one of {known}.") from e


def _checked(kind: type, values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise ConfigError(f"{where} must be a set of settings, got {values!r}.")
    fields = {f.name: f for f in dataclasses.fields(kind)}
    unknown = [k for k in values if k not in fields]
    if unknown:
        raise ConfigError(f"Unknown setting {', '.join(unknown)} in {where}; known are {', '.join(fields)}.")
    for name, value in values.items():
        wanted = fields[name].type
        if not _fits(value, wanted):
            raise ConfigError(f"{where}.{name} must be {_say(wanted)}, got {value!r}.")
        low, high = LIMITS.get(name, (0, math.inf))
        if isinstance(value, (int, float)) and not (low <= value <= high and math.isfinite(value)):
            limits = f"at least {low}" if high == math.inf else f"from {low} to {high}"
            raise ConfigError(f"{where}.{name} must be {limits}, got {value!r}.")
    try:
        return kind(**values)
    except TypeError as e:
        raise ConfigError(f"{where}: {e}.") from e


def _fits(value: Any, wanted: Any) -> bool:
    origin = typing.get_origin(wanted)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in typing.get_args(wanted))
    if origin is Literal:
        return value in typing.get_args(wanted)
    if wanted is bool:
        return value in (True, False)
    if wanted in (int, float):
        return isinstance(value, (int, wanted)) and not isinstance(value, bool)
    return isinstance(value, origin or wanted)


def _say(wanted: Any) -> str:
    if typing.get_origin(wanted) in (typing.Union, types.UnionType):
        return " or ".join(_say(one) for one in typing.get_args(wanted))
    if typing.get_origin(wanted) is Literal:
        return " or ".join(repr(one) for one in typing.get_args(wanted))
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[wanted]


def own_archives(run: Mapping[str, Any]) -> list[str]:
    """Return the names of the other archives that a share of the training images was drawn from, by run.json."""
    return [name for name, setting in SHARES.items() if (run.get("config") or {}).get(setting)]


def archives(run: Mapping[str, Any]) -> list[str]:
    """Return the names of the other archives that a network or one that it goes on from was trained on."""
    return list(dict.fromkeys(name for one in (*run.get("earlier_runs", []), run) for name in own_archives(one)))
