"""The submission format of the ISIC 2018 challenge, task 3: a row an image, seven probabilities."""

from collections.abc import Sequence

from dermlens.labels import INDEX

ISIC_COLUMNS = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
HEADER = ("image", *ISIC_COLUMNS)
ROW_BYTES = 80
"""Bytes of a row beside the id of the image, at most."""


def cells(image_id: str, probabilities: Sequence[float]) -> tuple[str, ...]:
    """Return the cells of a row.

    Args:
        image_id: name of the file without suffix. probabilities: (7,) in the order of labels.CLASSES.
    """
    return image_id, *(f"{probabilities[INDEX[name.lower()]]:.8f}" for name in ISIC_COLUMNS)
