"""The seven diagnoses of HAM10000: their order, names and clinical groups, defined here and nowhere else."""

from dataclasses import dataclass
from typing import Literal

Group = Literal["benign", "pre-malignant", "malignant"]


@dataclass(frozen=True)
class Diagnosis:
    """One diagnosis: its HAM10000 code, plain name and clinical group."""

    code: str
    name: str
    group: Group


DIAGNOSES: tuple[Diagnosis, ...] = (
    Diagnosis("akiec", "actinic keratosis or Bowen's disease", "pre-malignant"),
    Diagnosis("bcc", "basal cell carcinoma", "malignant"),
    Diagnosis("bkl", "benign keratosis", "benign"),
    Diagnosis("df", "dermatofibroma", "benign"),
    Diagnosis("mel", "melanoma", "malignant"),
    Diagnosis("nv", "melanocytic nevus", "benign"),
    Diagnosis("vasc", "vascular lesion", "benign"),
)
CLASSES: tuple[str, ...] = tuple(d.code for d in DIAGNOSES)
N_CLASSES = len(CLASSES)
INDEX: dict[str, int] = {code: i for i, code in enumerate(CLASSES)}
GROUPS: tuple[Group, ...] = ("benign", "pre-malignant", "malignant")
MELANOMA = INDEX["mel"]
SUSPECT: tuple[int, ...] = (
    MELANOMA,
    *(i for i, d in enumerate(DIAGNOSES) if d.group != "benign" and i != MELANOMA),
)
"""Class indices of what is malignant or pre-malignant, melanoma first: what must not be missed."""


def members(group: Group) -> tuple[int, ...]:
    """Return the class indices that belong to `group`."""
    return tuple(i for i, d in enumerate(DIAGNOSES) if d.group == group)


# Most urgent group first; inside a group the order of labels.CLASSES.
SHOWN: tuple[int, ...] = tuple(i for group in reversed(GROUPS) for i in members(group))


GROUP_TITLES = {group: group.capitalize() for group in GROUPS}


NAMES: dict[str, str] = {d.code: d.name[0].upper() + d.name[1:] for d in DIAGNOSES}


CONFIRMED: dict[str, str] = {
    "histo": "histology",
    "follow_up": "follow-up",
    "consensus": "expert consensus",
    "confocal": "confocal microscopy",
}
"""How HAM10000 says that a diagnosis was confirmed -> how it is written."""
