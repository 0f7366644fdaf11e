"""What was checked is what is used: a file that is exchanged after its hash was taken is not read again."""

import io
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from dermlens.errors import DataError, DermlensError, ModelError
from dermlens.evaluation.predictions import read_predictions
from dermlens.explain.localisation_results import read_published
from dermlens.files.hashes import check, listed, read, sha256
from dermlens.models.card import read_card
from dermlens.models.published import read_estimates
from dermlens.models.runs import read_history
from dermlens.trust.fitted import read_fitted
from dermlens.trust.ood import OodDetector, read_scores

MODELS = Path(__file__).parents[2] / "models"


def exchange(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Counter[str]:
    """Have every file of a folder exchanged as soon as it was opened; return how often each one is opened."""
    real, counted = Path.open, Counter[str]()

    def opened(self: Path, mode: str = "r", *args: object, **named: object) -> object:
        if mode != "rb" or self.parent != folder:
            return real(self, mode, *args, **named)  # type: ignore[call-overload]
        counted[self.name] += 1
        with real(self, "rb") as file:
            data = file.read()
        with real(self, "wb") as file:
            file.write(b"something else")
        return io.BytesIO(data)

    monkeypatch.setattr(Path, "open", opened)
    return counted


def fitted(folder: Path, card: dict) -> str:
    found = read_fitted(folder, card)
    if found.missing:
        raise ModelError(" ".join(found.missing_sentences()))
    assert isinstance(found.ood, OodDetector)
    sets = found.prediction_sets.thresholds.tolist() if found.prediction_sets else None
    return repr((found.calibration, sets, found.thresholds, found.ood.reference.points.tolist(), found.referral))


@pytest.mark.parametrize(
    ("files", "read_it"),
    [
        (("predictions.csv",), lambda f, card: read_predictions(f / "predictions.csv", card).logits.tolist()),
        (("metrics.json",), lambda f, card: repr(read_estimates(f / "metrics.json", card))),
        (("history.csv",), lambda f, card: read_history(f / "history.csv", card).to_csv()),
        (("attention.csv",), lambda f, card: repr(read_published(f, card))),
        (("familiarity.json", "familiarity.csv"), lambda f, card: read_scores(f, card)[0].to_csv()),
        (
            (
                *("calibration.json", "conformal.json", "thresholds.json"),
                *("familiarity.json", "embeddings.npz", "referral.json"),
            ),
            fitted,
        ),
    ],
)
def test_a_file_exchanged_after_it_was_checked_is_not_used(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: tuple[str, ...],
    read_it: Callable[[Path, dict], object],
) -> None:
    folder = tmp_path / "baseline_cnn"
    folder.mkdir()
    for name in ("card.json", *files):
        shutil.copy(MODELS / folder.name / name, folder)
    card = read_card(folder)
    before = read_it(folder, card)
    with monkeypatch.context() as patch:
        counted = exchange(patch, folder)
        assert read_it(folder, card) == before
    assert counted == Counter(files), "every file is opened once"
    with pytest.raises(DermlensError):  # now all of them are something else
        read_it(folder, card)


def test_a_file_that_a_card_lists_must_be_that_one_and_another_is_taken_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "metrics.json"
    file.write_bytes(b"{}")
    right, other = {"files": {file.name: sha256(file)}}, {"files": {file.name: "0" * 64}}
    for card in (right, None, {}, {"files": {}}, {"files": None}):
        assert listed(file, card, 2).data == b"{}"
    with pytest.raises(DataError, match=r"metrics\.json was changed after the model was published"):
        listed(file, other, 2)
    with pytest.raises(ModelError, match="was changed"):
        listed(file, other, 2, ModelError)
    with pytest.raises(DataError, match="larger than"):
        listed(file, right, 1)
    with pytest.raises(DataError, match=r"none\.csv: there is no such file"):
        listed(tmp_path / "none.csv", right, 9)


def test_a_built_file_exchanged_after_it_was_checked_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "head.npz"
    file.write_bytes(b"right")
    expected = sha256(file)
    exchange(monkeypatch, tmp_path)
    assert read(file, expected, "toy/build/head.npz", 9) == b"right"
    with pytest.raises(ModelError, match=r"toy/build/head\.npz is damaged or was changed"):
        read(file, expected, "toy/build/head.npz", 99)


def test_a_sparse_file_of_any_size_is_refused_before_it_is_hashed(tmp_path: Path) -> None:
    sparse = tmp_path / "models" / "predictions.csv"
    sparse.parent.mkdir()
    with sparse.open("wb") as file:
        file.truncate(20 * 2**30)
    with pytest.raises(ModelError, match=r"predictions\.csv is larger than 1,024 MiB"):
        sha256(sparse)
    with pytest.raises(ModelError, match="larger than"):
        check(sparse, "0" * 64, "models/x/predictions.csv")
