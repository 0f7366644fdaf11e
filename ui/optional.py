"""Parts of the dashboard that are imported only where the owner of the machine switched them on."""

from typing import Any

from ui.settings import keeps_record, sends_to_pacs


def record() -> Any:
    """Return ui.record.offer, what Predict and Compare have of the record; None where no record is kept."""
    if not keeps_record():
        return None
    from ui.record import offer

    return offer


def disclosing() -> Any:
    """Return ui.record.disclosing, which writes down what leaves; None where no record is kept."""
    if not keeps_record():
        return None
    from ui.record import disclosing

    return disclosing


RECORD_SPLIT = "record"
"""Name of the split of Metrics that is made of the record's cases."""


def more_splits() -> tuple[str, ...]:
    """Return the splits of Metrics beyond those of the predictions files."""
    return (RECORD_SPLIT,) if keeps_record() else ()


def record_metrics() -> Any:
    """Return ui.record.metrics; only where a record is kept."""
    from ui.record import metrics

    return metrics


def pacs() -> Any:
    """Return ui.sending.pacs, what Predict has of sending to a PACS; None where there is none."""
    if not sends_to_pacs():
        return None
    from ui.sending import pacs

    return pacs
