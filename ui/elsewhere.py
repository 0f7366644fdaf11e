"""What pages say, in a sentence, of what a model does in the archives of other clinics."""

from dermlens.dataset.isic2019 import TEST_SETS, TITLES
from dermlens.models.registry import Entry
from dermlens.wording import joined, percent
from ui import cache


def found(model_id: str) -> str:
    """Say how many melanomas a model calls melanoma in other archives; empty if it was not asked about them."""
    entry = _entry(model_id)
    measured = (cache.estimates(entry).value if entry else None) or {}
    shares = {s: measured[s]["melanoma_recall"] for s in TEST_SETS if "melanoma_recall" in measured.get(s, {})}
    if not shares:
        return ""
    each = joined([f"{percent(share.value)} of those of {TITLES[s]}" for s, share in shares.items()])
    return f"In archives of other clinics it calls fewer melanomas melanoma: {each}."


def not_referred(model_id: str) -> str:
    """Say how many melanomas of other archives a model's rules do not refer; empty if that was not measured."""
    entry = _entry(model_id)
    result = cache.on_other_archives(entry) if entry else None
    archives = result.value.archives if result and result.value else {}
    missed = {s: archives[s].missed or {} for s in TEST_SETS if s in archives}
    shares = {s: shares["mel"] for s, shares in missed.items() if "mel" in shares}
    if not shares:
        return ""
    each = joined([f"{percent(share.value)} of those of {TITLES[s]}" for s, share in shares.items()])
    return f"Of melanomas in archives of other clinics the rules do not refer {each}."


def _entry(model_id: str) -> Entry | None:
    return next((entry for entry in cache.entries() if entry.id == model_id), None)
