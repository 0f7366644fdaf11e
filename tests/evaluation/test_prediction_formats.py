"""Predictions of another framework, in each of the three forms: read for what they say, or refused with a sentence."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from dermlens.errors import DataError
from dermlens.evaluation.compare import align
from dermlens.evaluation.prediction_formats import LEAST, LOGITS, PROBABILITIES
from dermlens.evaluation.predictions import read_predictions
from dermlens.labels import CLASSES, INDEX

README = Path(__file__).parents[2] / "README.md"
SHARES = np.array([[0.05, 0.05, 0.1, 0.0, 0.6, 0.15, 0.05], [0.01, 0.01, 0.02, 0.01, 0.05, 0.89, 0.01]])
TRUTH = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\nB,0,1,0,0,0,0,0\nA,1,0,0,0,0,0,0\n"


def own(columns: tuple[str, ...], values: np.ndarray, ids: str = "A,L1,test,mel;B,L2,test,nv") -> str:
    head = ("image_id,lesion_id,split,y_true", "image_id,y_true")[ids.count(",") == 2]
    rows = [f"{i},{','.join(str(v) for v in row)}" for i, row in zip(ids.split(";"), values, strict=True)]
    return "\n".join([f"{head},{','.join(columns)}", *rows]) + "\n"


def submission(values: np.ndarray = SHARES, ids: str = "AB") -> str:
    columns = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
    at = [INDEX[name.lower()] for name in columns]
    rows = [f"{i},{','.join(str(v) for v in row[at])}" for i, row in zip(ids, values, strict=True)]
    return "\n".join([f"image,{','.join(columns)}", *rows]) + "\n"


def folder(tmp_path: Path, predictions: str, truth: str | None = None) -> Path:
    (tmp_path / "predictions.csv").write_text(predictions)
    if truth is not None:
        (tmp_path / "truth.csv").write_text(truth)
    return tmp_path / "predictions.csv"


def test_the_three_forms_say_the_same(tmp_path: Path) -> None:
    logits = own(LOGITS, np.log(SHARES.clip(LEAST)))
    for text, truth in ((logits, None), (own(PROBABILITIES, SHARES), None), (submission(), TRUTH)):
        p = read_predictions(folder(tmp_path, text, truth))
        assert list(p.image_id) == ["A", "B"]
        assert [CLASSES[i] for i in p.y_true] == ["mel", "nv"]
        np.testing.assert_allclose(p.probabilities, SHARES, atol=1e-9)


def test_what_a_file_does_not_say_is_noted(tmp_path: Path) -> None:
    p = read_predictions(folder(tmp_path, own(PROBABILITIES, SHARES)))
    assert p.assumed == ()
    p = read_predictions(folder(tmp_path, own(PROBABILITIES, SHARES, "A,mel;B,nv")))
    assert p.assumed == ("lesion_id", "split")
    assert (list(p.lesion_id), list(p.split)) == (["A", "B"], ["validation"] * 2)
    assert p.of_split("validation").assumed == p.assumed
    doubled = read_predictions(folder(tmp_path, submission(2 * SHARES / 3), TRUTH))
    assert doubled.assumed == ("lesion_id", "split", "sums")
    np.testing.assert_allclose(doubled.probabilities, SHARES, atol=1e-9)


def test_a_truth_can_say_lesions_and_splits(tmp_path: Path) -> None:
    truth = "image,split,lesion_id,MEL,NV,BCC,AKIEC,BKL,DF,VASC\nB,test,L2,0,1,0,0,0,0,0\nA,test,L1,1,0,0,0,0,0,0\n"
    p = read_predictions(folder(tmp_path, submission(), truth))
    assert (list(p.lesion_id), list(p.split), p.assumed) == (["L1", "L2"], ["test"] * 2, ())


@pytest.mark.parametrize(
    ("predictions", "truth", "why"),
    [
        (submission(), None, "truth.csv"),
        (submission(), TRUTH.replace("A,1,0", "A,1,1"), "must have a 1 for its true diagnosis"),
        (submission(), TRUTH.replace("A,1,0", "A,0.5,0"), "must have a 1 for its true diagnosis"),
        (submission(), TRUTH.replace("A,1,", "C,1,"), "is not in"),
        (submission(), TRUTH + "C,1,0,0,0,0,0,0\n", "'C' is not in"),
        (submission(), TRUTH + "A,1,0,0,0,0,0,0\n", "appears a second time"),
        (submission(ids="AA"), TRUTH, "appears a second time"),
        (submission(0 * SHARES), TRUTH, "0 for every diagnosis"),
        (submission(SHARES + 0.5), TRUTH, "from 0 to 1"),
        (submission().replace("VASC", "SCC"), TRUTH, "column VASC is missing"),
        (own(PROBABILITIES, SHARES / 2), None, "add up to; it must be 1"),
        (own(PROBABILITIES, -SHARES), None, "from 0 to 1"),
        (own(PROBABILITIES, SHARES).replace("p_vasc", "vasc"), None, "column p_vasc is missing"),
        (own(LOGITS, np.full_like(SHARES, np.inf)), None, "finite"),
        (own(PROBABILITIES, SHARES).replace(",mel,", ",melanoma,"), None, "column y_true"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(tmp_path: Path, predictions: str, truth: str | None, why: str) -> None:
    with pytest.raises(DataError) as raised:
        read_predictions(folder(tmp_path, predictions, truth))
    assert why in str(raised.value)


def test_lesions_of_one_model_hold_for_another_that_names_none(tmp_path: Path) -> None:
    named = read_predictions(folder(tmp_path, own(PROBABILITIES, SHARES, "A,L1,validation,mel;B,L1,validation,nv")))
    unnamed = read_predictions(folder(tmp_path, own(PROBABILITIES, SHARES, "A,mel;B,nv")))
    for pair in ((named, unnamed), (unnamed, named)):
        a, b, _ = align(*pair)
        assert a.n_lesions == b.n_lesions == 1
        assert "lesion_id" not in (*a.assumed, *b.assumed)


def test_the_examples_of_the_readme_are_read(tmp_path: Path) -> None:
    found = {}
    for block in README.read_text().split("\n    # ")[1:]:
        name, *lines = block.split("\n")
        rows = itertools.takewhile(lambda line: line.startswith("    "), lines)
        found[name] = "".join(f"{row.strip()}\n" for row in rows)
    assert len(found) == 4, "three forms, and a truth"
    logits, shares, isic, truth = found.values()
    for text, beside in ((logits, None), (shares, None), (isic, truth)):
        (tmp_path / "truth.csv").unlink(missing_ok=True)
        p = read_predictions(folder(tmp_path, text, beside))
        assert list(p.image_id) == ["ISIC_0034524", "ISIC_0034525"]
        assert [CLASSES[i] for i in p.y_true] == ["mel", "nv"]
        assert list(p.y_pred) == list(p.y_true)
