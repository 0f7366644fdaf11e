"""Stored answers at one class mix: the one that the model was fitted for, or the one at which they were shown.

A row keeps the call as it was shown, at the mix that the person had set, and `probabilities` and `suspect` at the
fitted mix. What is measured goes by the fitted mix alone, as the setting of a person is no property of the model.
"""

from collections.abc import Sequence

import pandas as pd

from dermlens.labels import CLASSES, SUSPECT


def fitted_call(called: str | None, probabilities: Sequence[float] | None) -> str | None:
    """Return the diagnosis that a row calls at the fitted mix; None where it calls none.

    Args:
        called, probabilities: columns of tables.Prediction.
    """
    if called is None or probabilities is None:
        return None
    return CLASSES[max(range(len(CLASSES)), key=probabilities.__getitem__)]


def fitted_calls(table: pd.DataFrame) -> pd.Series:
    """Return `fitted_call` of each row of a table with its two columns, of dtype object."""
    calls = [fitted_call(c, p) for c, p in zip(table["called"], table["probabilities"], strict=True)]
    return pd.Series(calls, table.index, dtype=object)


def shown_shares(
    called: str | None, shown: Sequence[float] | None, probabilities: Sequence[float] | None
) -> Sequence[float] | None:
    """Return the probabilities that stand beside a call, at the mix of that call; None where nothing is called.

    Args:
        called, shown, probabilities: columns of tables.Prediction.
    """
    return None if called is None else shown or probabilities


def suspect_share(shares: Sequence[float] | None) -> float | None:
    """Return the probability of malignant and pre-malignant diagnoses together, 0..1; None of None."""
    return None if shares is None else float(sum(shares[i] for i in SUSPECT))
