"""Whether to refer is judged at the class mix that the rules were fitted for, whatever mix a person sets."""

from types import SimpleNamespace

import numpy as np
import pytest

from dermlens.case.opinion import form
from dermlens.case.predict import Prediction
from dermlens.evaluation.class_mix import EVEN, mix_at
from dermlens.labels import INDEX
from dermlens.trust.calibration import Calibration
from dermlens.trust.fitted import Fitted
from dermlens.trust.referral import Referral
from ui.predict.referral import _fired

FITTED = (1, 1, 1, 1, 1, 4, 1)
"""Four nevi for each of the other diagnoses."""


def answer(model_id: str, mel: float, nv: float) -> Prediction:
    shares = np.full(7, (1 - mel - nv) / 5, np.float32)
    shares[[INDEX["mel"], INDEX["nv"]]] = mel, nv
    nothing = np.zeros(0, np.float32)
    return Prediction(model_id, np.zeros(7, np.float32), shares, nothing, nothing, 9, 9, 1.0, calibrated=True)


@pytest.mark.parametrize("mix", [EVEN, mix_at(np.array(FITTED), 0.9), mix_at(np.array(FITTED), 0.01)])
def test_no_class_mix_changes_a_referral(mix: np.ndarray) -> None:
    calibration = Calibration("temperature", (1.0,) * 7, (0.0,) * 7, FITTED)
    fitted = Fitted(calibration=calibration, referral=Referral(0.95, {"melanoma": 0.35, "malignant": 0.99}, 0.4, {}))
    asked = [SimpleNamespace(id=i, name=i, fitted=fitted, card={}) for i in ("a", "b", "both")]
    asked[2].card["members"] = {"a": 0.5, "b": 0.5}
    answers = {"a": answer("a", 0.3, 0.6), "b": answer("b", 0.6, 0.3), "both": answer("both", 0.34, 0.56)}
    opinion = form(asked, answers)  # type: ignore[arg-type]
    moved = opinion.at_mix(mix, "said")
    assert fitted.referral is not None
    here, there = ({k: bool(v[0]) for k, v in _fired(o, asked[2], fitted.referral).items()} for o in (opinion, moved))  # type: ignore[arg-type]
    assert here == there == {"melanoma": False, "malignant": False, "disagree": True}
    shown = {m.id: moved.call(m).code for m in asked}  # type: ignore[arg-type]
    assert shown["a"] == shown["both"] == ("nv" if mix[INDEX["mel"]] < mix[INDEX["nv"]] else "mel")
    assert moved.agree == (shown["a"] == shown["b"])
