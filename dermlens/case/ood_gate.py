"""Which models take an uploaded image for one of the kind they were trained on."""

from collections.abc import Iterable, Mapping

from dermlens.case.image import CaseImage
from dermlens.case.predict import Prediction
from dermlens.models.model import AnyModel, Ensemble
from dermlens.trust.ood import OodDetector


def verdicts(image: CaseImage, models: Iterable[AnyModel]) -> dict[str, bool]:
    """Return whether each model accepts an image: an ensemble if all of its members do.

    A model that cannot tell, or was not asked, is left out.
    """
    found = {model.id: accepts(model, image.answers) for model in models}
    return {model_id: accepted for model_id, accepted in found.items() if accepted is not None}


def accepts(model: AnyModel, answers: Mapping[str, Prediction]) -> bool | None:
    """Return whether a model takes an image for one of the kind it was trained on, None if it cannot tell.

    Args:
        model: an ensemble accepts what all of its members accept. answers: of the models by id, of members too.
    """
    each = [_accepts(m, answers) for m in (model.members if isinstance(model, Ensemble) else (model,))]
    return False if False in each else None if None in each else True


def refusing(image: CaseImage, models: Iterable[AnyModel]) -> set[str]:
    """Return the ids of the models that must call nothing on an image.

    One network that does not know such images is enough to silence all: of the ensembles' members if there is an
    ensemble, of all networks otherwise. A network alone takes some photographs for dermoscopic images that the others
    refuse. The project's own drawings are let through.

    Args:
        image: with answers. models: all that answered, whichever of them are shown.
    """
    models = list(models)
    if image.synthetic:
        return set()
    found = verdicts(image, models)
    judges = [m.id for m in models if isinstance(m, Ensemble) and m.id in found] or list(found)
    if not all(found[judge] for judge in judges):
        return {m.id for m in models}
    return {model_id for model_id, accepts in found.items() if not accepts}


def _accepts(model: AnyModel, answers: Mapping[str, Prediction]) -> bool | None:
    detector = model.fitted.ood
    if not isinstance(detector, OodDetector) or model.id not in answers:
        return None
    return detector.accepted(answers[model.id].embedding)
