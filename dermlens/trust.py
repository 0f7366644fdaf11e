"""Which models take an uploaded image for one of the kind they were trained on."""

from collections.abc import Iterable

from dermlens.case import CaseImage
from dermlens.ensemble import Ensemble
from dermlens.familiarity import Familiarity
from dermlens.registry import AnyModel


def verdicts(image: CaseImage, models: Iterable[AnyModel]) -> dict[str, bool]:
    """Return whether each model accepts an image: an ensemble if all of its members do.

    A model that cannot tell, or was not asked, is left out.
    """
    found = {}
    for model in models:
        each = [_accepts(image, m) for m in (model.members if isinstance(model, Ensemble) else (model,))]
        found[model.id] = False if False in each else None if None in each else True
    return {model_id: accepted for model_id, accepted in found.items() if accepted is not None}


def _accepts(image: CaseImage, model: AnyModel) -> bool | None:
    familiarity = model.fitted.familiarity
    if not isinstance(familiarity, Familiarity) or model.id not in image.answers:
        return None
    return familiarity.accepted(image.answers[model.id].embedding)
