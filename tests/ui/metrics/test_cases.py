"""What the table of images says of the scores."""

import numpy as np
import pytest

from dermlens.evaluation.predictions import make_predictions
from ui.metrics import cases


def test_no_score_of_the_table_reads_as_certain() -> None:
    logits = np.zeros((2, 7))
    logits[:, 4] = 12.0, 1.0  # melanoma: 1 / (1 + 6 exp(-12)) = 99.996 % and 1 / (1 + 6 exp(-1)) = 31.2 %
    predictions = make_predictions(["a", "b"], ["la", "lb"], "validation", np.array([4, 4]), logits)
    table = cases._frame({"Toy": predictions})
    assert table["called, score"].tolist() == pytest.approx([99.9, 31.2], abs=0.05)
    assert table["p(mel)"].tolist() == table["called, score"].tolist()
    assert table["p(nv)"].tolist() == pytest.approx([0.1, 11.5], abs=0.05)


def test_calls_and_scores_come_before_what_may_be_out_of_sight() -> None:
    predictions = make_predictions(["a"], ["la"], "validation", np.array([4]), np.zeros((1, 7)))
    shown = list(cases._frame({"A": predictions, "B": predictions}))
    assert shown[shown.index("true") :][:5] == ["true", "A", "A, score", "B", "B, score"]
