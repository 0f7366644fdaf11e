"""How a share and its interval are written wherever a person reads them."""

import numpy as np

from dermlens.estimate import Estimate


def percent(share: float, digits: int = 0) -> str:
    """Return a share as a person reads it: "7 %", "<1 %" for what would round to nothing, "n/a" for NaN."""
    if np.isnan(share):
        return "n/a"
    smallest = 10.0**-digits
    value = 100 * share
    if 0 < value < smallest / 2:
        return f"<{smallest:g} %"
    if 100 - smallest / 2 < value < 100:
        return f">{100 - smallest:g} %"
    return f"{value:.{digits}f} %"


def interval(figure: Estimate, digits: int = 1) -> str:
    """Return the 95 % interval of a share as a person reads it: "78.1 to 83.4 %"."""
    if np.isnan(figure.low) or np.isnan(figure.high):
        return "n/a"
    return f"{100 * figure.low:.{digits}f} to {100 * figure.high:.{digits}f} %"


def short_percent(share: float) -> str:
    """Return a share that somebody chose, such as a level or a wanted sensitivity: "95 %", "97.5 %"."""
    return f"{round(100 * share, 1):g} %"
