"""The rows of a query as a table."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from sqlalchemy.orm import Session


def frame(session: Session, query: Any, names: Sequence[str]) -> pd.DataFrame:
    """Return what a query selects, a column a name; all of dtype object, so that what is missing stays None."""
    return pd.DataFrame([tuple(row) for row in session.execute(query)], columns=list(names), dtype=object)
