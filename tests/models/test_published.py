import json
from pathlib import Path

import numpy as np
import pytest

from dermlens.errors import DataError
from dermlens.estimate import Estimate
from dermlens.models.published import read_estimates, read_model_card

ESTIMATE = {"value": 0.8, "low": 0.7, "high": None, "n_images": 10, "n_lesions": 9}


def write(tmp_path: Path, value: object) -> Path:
    file = tmp_path / "metrics.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return file


def test_estimates_are_read_by_split(tmp_path: Path) -> None:
    found = read_estimates(write(tmp_path, {"test": {"class_mix": None, "accuracy": ESTIMATE, "confusion": []}}))
    assert list(found) == ["test"]
    estimate = found["test"]["accuracy"]
    assert isinstance(estimate, Estimate)
    assert (estimate.value, estimate.low, estimate.n_images, estimate.n_lesions) == (0.8, 0.7, 10, 9)
    assert np.isnan(estimate.high)
    assert list(found["test"]) == ["accuracy"]


def test_of_an_older_file_only_what_hangs_on_no_call_is_told(tmp_path: Path) -> None:
    older = {"accuracy": ESTIMATE, "balanced_accuracy": ESTIMATE, "macro_auc": ESTIMATE, "cross_entropy": ESTIMATE}
    assert list(read_estimates(write(tmp_path, {"test": older}))["test"]) == ["macro_auc", "cross_entropy"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{", "JSON"),
        ([], "object"),
        ({"test": 1}, "test: an object"),
        ({"test": {"accuracy": {"value": 1}}}, "test, accuracy: value, low and high"),
        ({"test": {"accuracy": {**ESTIMATE, "low": "x"}}}, "test, accuracy"),
        ({"test": {"accuracy": 0.8}}, "test, accuracy"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, value: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_estimates(write(tmp_path, value))


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("[a](../a/README.md), [b](LICENSE.md#x)", "a, b"),
        ("[a](https://example.org) and <https://b.org>", "[a](https://example.org) and <https://b.org>"),
        ("[mail](mailto:a@example.org)", "[mail](mailto:a@example.org)"),
        ("(78.1 to 83.4 %) | [x] | f(x)", "(78.1 to 83.4 %) | [x] | f(x)"),
    ],
)
def test_a_model_card_for_a_page_keeps_only_links_that_lead_somewhere(tmp_path: Path, written: str, shown: str) -> None:
    (tmp_path / "README.md").write_text(written)
    assert read_model_card(tmp_path / "README.md") == shown


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_estimates(tmp_path / "metrics.json")
