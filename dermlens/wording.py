"""How shares, numbers and their intervals are written wherever a person reads them, and what scores are called."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from dermlens.estimate import Estimate

CALIBRATED = "calibrated probability"
UNCALIBRATED = "uncalibrated score"


def counted(number: int, noun: str) -> str:
    """Return a number of things as a person reads it: "1 image", "2,345 images", "7 diagnoses"."""
    plural = f"{noun[:-2]}es" if noun.endswith("is") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def rests_on(estimate: Estimate) -> str:
    """Return what an estimate was measured on: "1,511 images of 1,117 lesions", "1 image of 1 lesion"."""
    return f"{counted(estimate.n_images, 'image')} of {counted(estimate.n_lesions, 'lesion')}"


def duration(seconds: float) -> str:
    """Return a length of time as a person reads it: "40 s", "12 min", "3.5 h", "2.0 days", "n/a" for NaN."""
    if np.isnan(seconds):
        return "n/a"
    for unit, length, digits, most in (("s", 1, 0, 120), ("min", 60, 0, 120), ("h", 3600, 1, 48)):
        if seconds / length < most:
            return f"{seconds / length:.{digits}f} {unit}"
    return f"{seconds / 86400:.1f} days"


def joined(names: Sequence[str]) -> str:
    """Return names as a person reads them: "A", "A and B", "A, B and C"."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def percent(share: float, digits: int = 0) -> str:
    """Return a share as a person reads it: "7 %", "n/a" for NaN.

    Only none of something is "0 %" and only all of it "100 %"; what would round to them is "<1 %" and ">99 %".
    """
    return "n/a" if np.isnan(share) else f"{_in_percent(share, digits)} %"


def column_percents(shares: ArrayLike, digits: int = 1) -> np.ndarray:
    """Return shares in percent for a column of numbers, which sorts by them and writes them with so many decimals.

    As in `percent`, only none of something reads "0.0 %" and only all of it "100.0 %"; what would round to them is the
    next number that can be written. None and NaN become NaN.
    """
    values, step = 100 * np.asarray(shares, float), 10.0**-digits
    return np.where((values > 0) & (values < 100), np.clip(values, step, 100 - step), values)


def interval(estimate: Estimate, digits: int = 1) -> str:
    """Return the 95 % interval of a share as a person reads it: "78.1 to 83.4 %", "n/a" if there is none."""
    if np.isnan(estimate.low) or np.isnan(estimate.high):
        return "n/a"
    return f"{_in_percent(estimate.low, digits)} to {_in_percent(estimate.high, digits)} %"


def percent_with_interval(estimate: Estimate, digits: int = 1) -> str:
    """Return a share and its 95 % interval: "80.2 % (78.1 to 83.4 %)", "n/a" if it is not defined."""
    return _both(percent(estimate.value, digits), interval(estimate, digits))


def points_with_interval(estimate: Estimate) -> str:
    """Return a difference of shares in percentage points and its 95 % interval: "+3.1 (-0.4 to +6.6)"."""
    return _both(points(estimate.value), points_interval(estimate))


def points(difference: float) -> str:
    """Return a difference of shares in percentage points: "+3.1", "−0.4", "0.0", "n/a" for NaN."""
    if np.isnan(difference):
        return "n/a"
    written = f"{100 * difference:+.1f}"
    return "0.0" if float(written) == 0 else written.replace("-", "−")


def points_interval(estimate: Estimate) -> str:
    """Return the 95 % interval of a difference of shares in points: "−0.4 to +6.6", "n/a" if there is none."""
    low, high = points(estimate.low), points(estimate.high)
    return "n/a" if "n/a" in (low, high) else f"{low} to {high}"


def number(value: float, digits: int = 3) -> str:
    """Return a number that is not a share in percent: "1.250", "n/a" for NaN.

    As with `percent`, what would round to 0 is "<0.001", and what is below 1 and would round to it ">0.999".
    """
    if np.isnan(value):
        return "n/a"
    written, step = f"{value:.{digits}f}", 10.0**-digits
    if digits and value > 0 and float(written) == 0:
        return f"<{step:g}"
    if digits and value < 1 and float(written) == 1:
        return f">{1 - step:g}"
    return written


def number_interval(estimate: Estimate, digits: int = 3) -> str:
    """Return the 95 % interval of a number that is not a share: "1.100 to 1.380", "n/a" if there is none."""
    if np.isnan(estimate.low) or np.isnan(estimate.high):
        return "n/a"
    return f"{number(estimate.low, digits)} to {number(estimate.high, digits)}"


def number_with_interval(estimate: Estimate, digits: int = 3) -> str:
    """Return a number that is not a share, and its interval: "1.250 (1.100 to 1.380)", "n/a" if it is not defined."""
    return _both(number(estimate.value, digits), number_interval(estimate, digits))


def short_percent(share: float) -> str:
    """Return a share that somebody chose, such as a level or a wanted sensitivity: "95 %", "97.5 %"."""
    return f"{100 * share:g} %"


def _in_percent(share: float, digits: int) -> str:
    value, step = 100 * share, 10.0**-digits
    written = f"{value:.{digits}f}"
    if value > 0 and float(written) == 0:
        return f"<{step:g}"
    if value < 100 and float(written) == 100:
        return f">{100 - step:g}"
    return written


def _both(value: str, span: str) -> str:
    return "n/a" if value == "n/a" else f"{value} ({'no interval' if span == 'n/a' else span})"
