"""Parts of the dashboard that are imported only where the owner of the machine switched them on."""

import os
from typing import Any


def record() -> Any:
    """Return ui.record.offer, what Predict and Compare have of the record; None where no record is kept."""
    if not keeps_record():
        return None
    from ui.record import offer

    return offer


def keeps_record() -> bool:
    """Return whether a record is kept: DERMLENS_DATABASE names it."""
    return bool(os.environ.get("DERMLENS_DATABASE"))
