"""Which models take an uploaded image for one of the kind they were trained on."""

from collections.abc import Iterable, Mapping

from dermlens.case.predict import Prediction
from dermlens.models.model import AnyModel, Ensemble, Model, for_diagnosis
from dermlens.trust.ood import JointOodDetector, OodDetector


def accepted(models: Iterable[AnyModel], answers: Mapping[str, Prediction]) -> dict[str, bool]:
    """Return whether each model accepts an image: a network by its own limit, an ensemble by its rule over its members.

    Args:
        models: one that cannot tell, or was not asked, is left out. answers: of the models by id, of members too.
    """
    found = {m.id: _joint(m, answers) if isinstance(m, Ensemble) else _network(m, answers) for m in models}
    return {model_id: accepts for model_id, accepts in found.items() if accepts is not None}


def refusing(models: Iterable[AnyModel], accepted: Mapping[str, bool]) -> frozenset[str]:
    """Return the ids of the models that must call nothing on an image.

    A network that refuses the image is silent itself and silences no other. All are silent where the rule of an
    ensemble for diagnosis, chosen and measured on validation, says so.

    Args:
        models: all that answered, whichever of them are shown. accepted: as the function of that name gives it.
    """
    models = list(models)
    if any(isinstance(m, Ensemble) and accepted.get(m.id) is False for m in for_diagnosis(models)):
        return frozenset(m.id for m in models)
    return frozenset(model_id for model_id, accepts in accepted.items() if not accepts)


def _network(model: Model, answers: Mapping[str, Prediction]) -> bool | None:
    detector, score = model.fitted.ood, answers[model.id].unlikeness if model.id in answers else None
    return detector.accepts(score) if isinstance(detector, OodDetector) and score is not None else None


def _joint(ensemble: Ensemble, answers: Mapping[str, Prediction]) -> bool | None:
    """Return what the ensemble's rule says; without one it refuses what any member refuses."""
    joint = ensemble.fitted.ood
    if isinstance(joint, JointOodDetector) and joint.withholding is not None:
        excess = []
        for member in ensemble.members:
            detector, score = member.fitted.ood, answers[member.id].unlikeness if member.id in answers else None
            if not isinstance(detector, OodDetector) or score is None:
                return None
            excess.append(score - detector.threshold)
        return not joint.withholding.withholds(excess)
    each = [_network(m, answers) for m in ensemble.members]
    return False if False in each else None if None in each else True
