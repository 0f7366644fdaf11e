from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dermlens.estimate import Estimate
from ui.predict import warnings


@pytest.mark.parametrize(
    ("accepted", "said"),
    [
        ({"validation": 0.9, "test": 0.98, "bcn20000": 0.4, "scc": 0.2}, "2.0 % of the dermoscopic images of the test"),
        ({"validation": 0.9, "scc": 0.2}, "10.0 % of the dermoscopic images of the validation split"),
        ({"scc": 0.2}, ""),
        ({}, ""),
    ],
)
def test_how_often_an_image_is_taken_for_another_kind_is_that_of_the_models_own_archive(
    accepted: dict[str, float], said: str
) -> None:
    measured = SimpleNamespace(accepted={name: Estimate(value, 0, 1, 9, 9) for name, value in accepted.items()})
    model: Any = SimpleNamespace(folder=Path("nowhere"), fitted=SimpleNamespace(ood=SimpleNamespace(measured=measured)))
    assert said in (found := warnings._how_often(model))
    assert bool(said) == bool(found)
