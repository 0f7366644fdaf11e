"""Which models take an uploaded image for one of the kind they were trained on."""

from collections.abc import Iterable, Mapping

from dermlens.case.predict import Prediction
from dermlens.models.model import AnyModel, Ensemble
from dermlens.trust.ood import OodDetector


def accepted(models: Iterable[AnyModel], answers: Mapping[str, Prediction]) -> dict[str, bool]:
    """Return whether each model accepts an image: an ensemble if all of its members do.

    Args:
        models: one that cannot tell, or was not asked, is left out. answers: of the models by id, of members too.
    """
    found = {model.id: _accepts(model, answers) for model in models}
    return {model_id: accepts for model_id, accepts in found.items() if accepts is not None}


def refusing(models: Iterable[AnyModel], accepted: Mapping[str, bool]) -> frozenset[str]:
    """Return the ids of the models that must call nothing on an image.

    One network that does not know such images is enough to silence all: of the ensembles' members if there is an
    ensemble, of all networks otherwise. A network alone takes some photographs for dermoscopic images that the others
    refuse.

    Args:
        models: all that answered, whichever of them are shown. accepted: as the function of that name gives it.
    """
    models = list(models)
    judges = [m.id for m in models if isinstance(m, Ensemble) and m.id in accepted] or list(accepted)
    if not all(accepted[judge] for judge in judges):
        return frozenset(m.id for m in models)
    return frozenset(model_id for model_id, accepts in accepted.items() if not accepts)


def _accepts(model: AnyModel, answers: Mapping[str, Prediction]) -> bool | None:
    each = [_network_accepts(m, answers) for m in (model.members if isinstance(model, Ensemble) else (model,))]
    return False if False in each else None if None in each else True


def _network_accepts(model: AnyModel, answers: Mapping[str, Prediction]) -> bool | None:
    detector = model.fitted.ood
    if not isinstance(detector, OodDetector) or model.id not in answers:
        return None
    return detector.accepted(answers[model.id].embedding)
