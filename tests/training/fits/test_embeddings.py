import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

from dermlens.case.predict import predict
from dermlens.dataset.ham10000 import load_split
from dermlens.errors import DataError, ModelError
from dermlens.evaluation.predictions import concatenate, make_predictions, write_predictions
from dermlens.labels import INDEX
from dermlens.models import registry
from dermlens.trust.embedding_map import read_map
from dermlens.trust.ood import LEFT_OUT, REAL, JointOodDetector, OodDetector, read, read_scores
from dermlens.trust.reference_set import make_reference_set
from tests import fake_ham10000
from tests.conftest import publish_toy, toy_network
from training import card as cards
from training.fits import embed as embedding
from training.fits import embeddings
from training.fits.embeddings import auroc, choose, limit, make, make_map, measure, of_split
from training.fits.ood_pictures import OodPicture
from training.fits.subject import Subject
from training.model_card.ood import ood


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A toy model with predictions of a drawn data set, and few other pictures."""
    place = tmp_path_factory.mktemp("fit")
    fake_ham10000.write(place / "data", lesions=10)
    table = load_split(place / "data" / "split.csv")
    entry = publish_toy(place / "models" / "toy", toy_network(channels=8), views=4)
    parts = []
    for split in ("validation", "test"):
        rows = table[table["split"] == split].sort_values("image_id")
        y = rows["dx"].map(INDEX).to_numpy()
        parts.append(make_predictions(rows["image_id"], rows["lesion_id"], split, y, np.eye(7)[y]))
    write_predictions(entry.folder / "predictions.csv", concatenate(parts))
    (entry.folder / "run.json").write_text(json.dumps({"config": {"leave_out": None}}))
    return Subject(entry.folder, table, place / "data")


def few() -> list[OodPicture]:
    rng = np.random.default_rng(0)
    return [OodPicture("noise", f"n{i}", rng.integers(0, 256, (40, 50, 3), np.uint8)) for i in range(8)]


@pytest.fixture(scope="module")
def files(subject: Subject) -> dict[str, bytes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embeddings, "pictures", few)
        made = make(subject)
    for name, content in made.items():
        (subject.folder / name).write_bytes(content)
    return made


def test_the_files_are_what_the_app_reads(subject: Subject, files: dict[str, bytes]) -> None:
    assert list(files) == ["embeddings.npz", "familiarity.json", "familiarity.csv"]
    found = read(subject.folder / "familiarity.json", subject.table)
    assert isinstance(found, OodDetector)
    train = subject.table[subject.table["split"] == "train"].sort_values("image_id")
    assert found.reference.image_id.tolist() == train["image_id"].tolist()
    stored = json.loads(files["familiarity.json"])
    assert stored["fitted_on"]["predictions_sha256"] == registry.sha256(subject.folder / "predictions.csv")
    assert stored["method"] == max(stored["chosen_by_mean_auroc"], key=stored["chosen_by_mean_auroc"].get)


def test_an_image_that_measures_the_refusal_is_no_similar_case(subject: Subject) -> None:
    moved = subject.table.copy()
    first = moved.index[moved["image_id"] == subject.predictions.image_id[0]]
    moved.loc[first, "split"] = "train"  # by a split that was mended after the model was published
    reference, counts = embeddings.reference_set_of(replace(subject, table=moved))
    assert set(reference.image_id) == set(subject.table.loc[subject.table["split"] == "train", "image_id"])
    assert counts["n_train"] == len(reference.image_id)


def test_a_score_is_that_of_the_serving_path(subject: Subject, files: dict[str, bytes]) -> None:
    found = read(subject.folder / "familiarity.json", subject.table)
    assert isinstance(found, OodDetector)
    table, threshold = read_scores(subject.folder)
    row = table[of_split(table, "test")].iloc[0]
    pixels = embeddings._read(subject, row["name"])
    embedding = predict(subject.model, pixels).embedding
    assert found.score(embedding) == pytest.approx(row["score"], rel=1e-4)
    assert found.threshold == threshold


def test_the_threshold_is_the_score_that_97_percent_of_validation_keep_to(files: dict[str, bytes]) -> None:
    table = pd.read_csv(io.BytesIO(files["familiarity.csv"]))
    scores = np.sort(table.loc[of_split(table, "validation"), "score"])
    threshold = json.loads(files["familiarity.json"])["threshold"]
    assert threshold in scores
    assert (scores <= threshold).mean() >= 0.97
    assert (scores < threshold).mean() < 0.97


def test_the_figures_are_those_of_the_scores(files: dict[str, bytes]) -> None:
    table, stored = pd.read_csv(io.BytesIO(files["familiarity.csv"])), json.loads(files["familiarity.json"])
    assert measure(table, stored["threshold"]) == stored["measured"]
    kinds = set(stored["measured"]["test"]["auroc"])
    assert "noise" in kinds
    assert "dermoscopic, inverted" in kinds
    assert REAL not in kinds


def test_the_map_is_a_pca_of_the_training_images_in_the_serving_path(
    subject: Subject, files: dict[str, bytes], tmp_path: Path
) -> None:
    model = replace(subject.model, views=embeddings.REFERENCE_VIEWS)

    def embedded(rows: pd.DataFrame) -> np.ndarray:
        return np.stack([predict(model, embeddings._read(subject, i)).embedding for i in rows["image_id"]])

    found = read_map(_written(tmp_path, make_map(subject)), None)
    train, rest = (subject.table[subject.table["split"] == "train"], subject.table[subject.table["split"] != "train"])
    assert sorted(found.index) == sorted(rest["image_id"])
    theirs = PCA(2).fit(embedded(train)).transform(embedded(rest))
    ours = found.loc[rest["image_id"]].to_numpy()
    for axis in range(2):
        same_way = np.sign(theirs[:, axis] @ ours[:, axis])  # the sign of an axis means nothing
        assert same_way * ours[:, axis] == pytest.approx(theirs[:, axis], abs=0.01 * float(np.abs(theirs).max()))


def test_a_map_needs_a_network_and_its_reference_set(subject: Subject, tmp_path: Path) -> None:
    ensemble = replace(subject)
    ensemble.__dict__["card"] = {"members": {"a": 1.0}}
    assert make_map(ensemble) == {}
    with pytest.raises(ModelError, match="no such file"):
        make_map(replace(subject, folder=tmp_path))


def _written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_no_source_is_in_both_halves(files: dict[str, bytes]) -> None:
    table = pd.read_csv(io.BytesIO(files["familiarity.csv"]))
    others = table[table["kind"] != REAL]
    assert set(others["part"]) == {"first half", "second half"}
    assert others.groupby("group")["part"].nunique().eq(1).all()
    assert others["name"].is_unique


def test_an_interrupted_run_goes_on_where_it_stopped(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "CHUNK", 3)
    images = [np.full((40, 40, 3), 20 * i, np.uint8) for i in range(8)]
    names = [f"image {i}" for i in range(8)]

    def breaks(i: int) -> np.ndarray:
        if i == 7:
            raise DataError("gone")
        return images[i]

    with pytest.raises(DataError, match="gone"):
        embedding.embed(subject.model, names, breaks, "images")
    asked = []

    def load(i: int) -> np.ndarray:
        asked.append(i)
        return images[i]

    found = embedding.embed(subject.model, names, load, "images")
    assert sorted(asked) == [6, 7]
    np.testing.assert_allclose(found, [predict(subject.model, pixels).embedding for pixels in images], atol=1e-5)
    asked.clear()
    embedding.embed(subject.model, [*names[:7], "another"], load, "images")
    assert len(asked) == 8, "other images are embedded anew"


def test_the_left_out_diagnosis_is_measured_and_not_learned(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    record = subject.folder / "run.json"
    before = record.read_text()
    record.write_text(json.dumps({"config": {"leave_out": "vasc"}}))
    monkeypatch.setattr(embeddings, "pictures", few)
    try:
        reference, _ = embeddings.reference_set_of(subject)
        table, found = embeddings.seen(subject)
    finally:
        record.write_text(before)
    assert np.isnan(reference.own.means[INDEX["vasc"]]).all()
    left_out = table[table["kind"] == LEFT_OUT]
    own = subject.table[subject.table["dx"] == "vasc"].set_index("image_id")
    known = table[table["kind"] == REAL]
    assert not set(known["name"]) & set(own.index), "it is counted among the known ones nowhere"
    assert set(left_out["name"]) == set(subject.predictions.image_id) & set(own.index)
    measured = left_out[left_out["part"] == "second half"]
    assert set(own.loc[measured["name"], "split"]) == {"test"}
    assert len(found) == len(table)


def test_the_method_that_tells_them_best_apart_is_chosen() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(210) % 7
    head = np.zeros((12, 7)), np.zeros(7)
    reference = make_reference_set(y.astype(str), (rng.normal(0, 1, (210, 12)), y), 12, head)
    real, others = rng.normal(0, 1, (50, 12)), rng.normal(0, 6, (50, 12))
    table = pd.DataFrame({"kind": [REAL] * 50 + ["noise"] * 50, "part": ["validation"] * 50 + ["first half"] * 50})
    method, means = choose(reference, table, np.concatenate([real, others]).astype(np.float32))
    assert method == "mahalanobis", "only it sees lengths"
    assert means["mahalanobis"] > 0.99
    assert means["energy"] == 0.5, "a head of zeros tells nothing"


@pytest.mark.parametrize(("photographs", "accepted"), [([200, 300], 97), ([97.5, 300], 96), ([50, 300], 95)])
def test_as_many_are_accepted_as_refusing_the_photographs_allows(photographs: list[float], accepted: int) -> None:
    """Scores 1 to 100 on validation; those of another archive are lower, and decide nothing."""
    known = pd.DataFrame({"kind": REAL, "part": "validation", "score": np.arange(1.0, 101)})
    other = pd.DataFrame({"kind": REAL, "part": "bcn20000_validation", "score": np.arange(1.0, 11)})
    seen = pd.DataFrame({"kind": "photograph", "part": "first half", "score": photographs})
    unseen = pd.DataFrame({"kind": "photograph", "part": "second half", "score": [0.0]})
    found = limit(pd.concat([known, other, seen, unseen], ignore_index=True), elsewhere=True)
    assert found == np.quantile(np.arange(1.0, 101), accepted / 100, method="higher")


def test_other_archives_decide_only_where_they_were_trained_on() -> None:
    known = pd.DataFrame({"kind": REAL, "part": "validation", "score": np.arange(1.0, 101)})
    other = pd.DataFrame({"kind": REAL, "part": "bcn20000_validation", "score": np.arange(101.0, 201)})
    table = pd.concat([known, other], ignore_index=True)
    assert limit(table, elsewhere=False) == 98
    assert limit(table, elsewhere=True) == 198


def test_a_limit_that_the_scores_do_not_give_is_noticed(subject: Subject, files: dict[str, bytes]) -> None:
    stored = json.loads(files["familiarity.json"])
    before = [said for said in cards.problems(subject.folder) if "threshold" in said]
    (subject.folder / "familiarity.json").write_text(json.dumps({**stored, "threshold": stored["threshold"] + 1}))
    try:
        after = [said for said in cards.problems(subject.folder) if "familiarity.json, threshold is" in said]
    finally:
        (subject.folder / "familiarity.json").write_bytes(files["familiarity.json"])
    assert before == []
    assert len(after) == 1
    assert after[0].endswith(f"familiarity.csv gives {stored['threshold']}")


def scores(real: list[float], others: list[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    return tuple(pd.DataFrame({"score": s, "group": [f"g{i}" for i in range(len(s))]}) for s in (real, others))  # type: ignore[return-value]


def test_auroc_counts_pairs() -> None:
    estimate = auroc(*scores([1, 2, 3, 4], [2.5, 3, 9, 0, 5]))
    assert estimate.value == pytest.approx((2 + 2.5 + 4 + 0 + 4) / 20)
    assert estimate.low < estimate.value < estimate.high
    assert (estimate.n_images, estimate.n_lesions) == (5, 5)
    perfect = auroc(*scores([1, 2, 3], [7, 8, 9, 10, 11]))
    assert perfect.value == perfect.high == 1
    assert perfect.low < 0.9, "five pictures prove little"
    few = auroc(*scores([1, 2, 3], [7, 8, 9]))
    assert few.value == 1
    assert np.isnan([few.low, few.high]).all(), "three even less"


def test_an_ensemble_goes_by_its_rule_and_withholds_what_all_its_members_refuse(
    subject: Subject, files: dict[str, bytes]
) -> None:
    models = subject.folder.parent
    other = models / "second"
    ensemble = models / "ensemble"
    for folder in (other, ensemble):
        folder.mkdir()
    table, threshold = read_scores(subject.folder)
    flipped = table.assign(score=table["score"].max() - table["score"])
    flipped.to_csv(other / "familiarity.csv", index=False)
    second = {**json.loads(files["familiarity.json"]), "threshold": float(flipped["score"].quantile(0.9))}
    (other / "familiarity.json").write_text(json.dumps(second))
    (ensemble / "card.json").write_text(json.dumps({"members": {"toy": 0.5, "second": 0.5}}))
    (ensemble / "predictions.csv").write_bytes((subject.folder / "predictions.csv").read_bytes())
    made = make(Subject(ensemble, subject.table))
    assert list(made) == ["familiarity.json", "familiarity.csv"]
    for name, content in made.items():
        (ensemble / name).write_bytes(content)
    assert json.loads(made["familiarity.json"])["fitted_on"]["member_familiarities"] == {
        m: hashlib.sha256((models / m / "familiarity.json").read_bytes()).hexdigest() for m in ("toy", "second")
    }
    joined, limit = read_scores(ensemble)
    found = read(ensemble / "familiarity.json")
    assert isinstance(found, JointOodDetector)
    assert found.withholding is not None
    excess = np.stack([table["score"] - threshold, flipped["score"] - second["threshold"]], 1)
    withheld = np.array([found.withholding.withholds(row) for row in excess])
    assert ((joined["score"] > limit) == withheld).all(), "the table and the page decide alike"
    assert withheld[(excess > 0).all(1)].all()
    assert 0 < withheld.mean() < 1
    rounded = flipped.assign(name=flipped["name"].str.replace(r", [0-9a-f]{12}$", ", 0123456789ab", regex=True))
    assert (rounded["name"] != flipped["name"]).any()
    rounded.to_csv(other / "familiarity.csv", index=False)
    assert make(Subject(ensemble, subject.table))["familiarity.csv"] == made["familiarity.csv"], "another processor's"
    flipped.iloc[1:].to_csv(other / "familiarity.csv", index=False)
    with pytest.raises(DataError, match="of other pictures"):
        make(Subject(ensemble, subject.table))
    (other / "familiarity.json").unlink()
    with pytest.raises(ModelError, match="no such file"):
        make(Subject(ensemble, subject.table))


def test_the_model_card_has_the_figures_of_the_file(subject: Subject, files: dict[str, bytes]) -> None:
    lines = "\n".join(ood(subject.folder))
    stored = json.loads(files["familiarity.json"])
    for split in ("validation", "test"):
        assert f"{split} {100 * stored['measured'][split]['accepted']['value']:.1f} %" in lines
    for kind, estimate in stored["measured"]["test"]["auroc"].items():
        assert f"| {kind} | {estimate['n_images']} / {estimate['n_lesions']} |" in lines
        assert f"| {estimate['value']:.3f} (" in lines
    assert ood(subject.folder.parent) == []


def test_a_figure_that_the_scores_do_not_give_is_found(
    subject: Subject, files: dict[str, bytes], tmp_path: Path
) -> None:
    for name in ("familiarity.csv", "familiarity.json"):
        (tmp_path / name).write_bytes(files[name])
    assert list(cards._remeasured(tmp_path)) == []
    stored = json.loads(files["familiarity.json"])
    stored["measured"]["test"]["auroc"]["noise"]["value"] -= 0.25
    (tmp_path / "familiarity.json").write_text(json.dumps(stored))
    (said,) = cards._remeasured(tmp_path)
    assert said.startswith("familiarity.json, measured, test, auroc, noise, value is ")
    assert "familiarity.csv gives" in said
