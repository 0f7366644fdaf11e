"""Test-time views: the flips and turns a network is shown, and the way back for its maps."""

import numpy as np

from dermlens.errors import ConfigError

# (transpose, flip rows, flip columns), applied in this order. The first four leave rows and columns as they are.
_DIHEDRAL = tuple((t, r, c) for t in (False, True) for r in (False, True) for c in (False, True))
VIEWS = (1, 4, 8)


def expand(square: np.ndarray, views: int) -> np.ndarray:
    """Return the views of one square image.

    Args:
        square: (S, S, channels), any dtype.
        views: 1 (as it is), 4 (both flips and the half turn) or 8 (all flips and quarter turns).

    Returns:
        (views, S, S, channels); the first is the image as it is.

    Raises:
        ConfigError: `views` is another number.
    """
    return np.stack([_forth(square, *view) for view in _chosen(views)])


def restore(maps: np.ndarray, views: int) -> np.ndarray:
    """Turn the maps of `expand`'s views back, so that all of them lie as the image does.

    Args:
        maps: (views, h, h, ...), one map per view in `expand`'s order, any dtype.
        views: as given to `expand`.

    Returns:
        (views, h, h, ...).
    """
    chosen = _chosen(views)
    if len(maps) != len(chosen):
        raise ConfigError(f"{views} views have {views} maps, got {len(maps)}.")
    return np.stack([_back(one, *view) for one, view in zip(maps, chosen, strict=True)])


def _chosen(views: int) -> tuple[tuple[bool, bool, bool], ...]:
    if views not in VIEWS:
        raise ConfigError(f"views must be one of {', '.join(map(str, VIEWS))}, got {views!r}.")
    return _DIHEDRAL[:views]


def _forth(image: np.ndarray, transpose: bool, rows: bool, columns: bool) -> np.ndarray:
    image = image.swapaxes(0, 1) if transpose else image
    return image[:: -1 if rows else 1, :: -1 if columns else 1]


def _back(image: np.ndarray, transpose: bool, rows: bool, columns: bool) -> np.ndarray:
    image = image[:: -1 if rows else 1, :: -1 if columns else 1]
    return image.swapaxes(0, 1) if transpose else image
