"""Which models take an uploaded image for one of the kind they were trained on."""

from collections.abc import Iterable

from dermlens.case import CaseImage
from dermlens.familiarity import Familiarity, Joint
from dermlens.registry import Model


def verdicts(image: CaseImage, models: Iterable[Model], known: Iterable[Model] = ()) -> dict[str, bool]:
    """Return whether each model accepts an image; a model that cannot tell, or was not asked, is left out.

    Args:
        image: as examined.
        models: those to ask.
        known: more loaded models, among which the members of an ensemble are looked up.
    """
    models = list(models)
    alone = {m.id: _alone(image, m) for m in (*known, *models)}
    found = {}
    for model in models:
        familiarity = model.fitted.familiarity
        if isinstance(familiarity, Joint):
            each = [alone.get(member) for member in familiarity.members]
            found[model.id] = False if False in each else None if None in each else True
        else:
            found[model.id] = alone[model.id]
    return {model_id: accepted for model_id, accepted in found.items() if accepted is not None}


def _alone(image: CaseImage, model: Model) -> bool | None:
    familiarity = model.fitted.familiarity
    if not isinstance(familiarity, Familiarity) or model.id not in image.answers:
        return None
    return familiarity.accepted(image.answers[model.id].embedding)
