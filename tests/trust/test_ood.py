import hashlib
import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dermlens.case.opinion import Opinion, form
from dermlens.dataset.ham10000 import load_split
from dermlens.errors import ModelError
from dermlens.labels import CLASSES
from dermlens.models.model import Ensemble
from dermlens.trust.fitted import Fitted, over_members, read_fitted
from dermlens.trust.ood import (
    JointOodDetector,
    Measured,
    OodDetector,
    read,
    read_scores,
    refused,
    refused_by_class,
)
from dermlens.trust.reference_set import METHODS, encode, make_reference_set
from dermlens.trust.withholding import Withholding

N = 40
C = 6
NOTHING = Measured({}, {}, {})


def cases(n: int = N) -> pd.DataFrame:
    """A split table of training images, two an image's lesion."""
    return pd.DataFrame(
        {
            "image_id": [f"ISIC_{i:07}" for i in range(n)],
            "lesion_id": [f"HAM_{i // 2:07}" for i in range(n)],
            "dx": [CLASSES[i // 2 % 7] for i in range(n)],
            "dx_type": ["histo" if i % 4 else "" for i in range(n)],
            "age": [float("nan") if i == 2 else 40.0 + i for i in range(n)],
            "sex": "female",
            "localization": "back",
            "split": "train",
        }
    )


def embeddings(n: int = N) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (n, C))


def familiar(method: str = "mahalanobis", threshold: float = 30.0) -> OodDetector:
    table = cases()
    y = table["dx"].map({code: i for i, code in enumerate(CLASSES)}).to_numpy()
    head = np.zeros((C, 7)), np.zeros(7)
    reference = make_reference_set(table["image_id"].to_numpy(str), (embeddings(), y), C, head)
    return OodDetector(reference, method, threshold, table, NOTHING)


def write(folder: Path, **changes: object) -> Path:
    """Write familiarity.json and embeddings.npz of `familiar` with some values changed."""
    folder.mkdir(parents=True, exist_ok=True)
    data = encode(familiar().reference)
    (folder / "embeddings.npz").write_bytes(data)
    estimate = {"value": 0.96, "low": 0.95, "high": 0.97, "n_images": 10, "n_lesions": 9}
    values: dict[str, object] = {
        "method": "mahalanobis",
        "threshold": 30.0,
        "embeddings_sha256": hashlib.sha256(data).hexdigest(),
        "measured": {
            "validation": {"accepted": {**estimate, "value": 0.97}},
            "test": {
                "accepted": estimate,
                "auroc": {"noise": {**estimate, "value": 1.0}},
                "refused": {"noise": estimate},
            },
        },
    }
    file = folder / "familiarity.json"
    file.write_text(json.dumps({**values, **changes}))
    return file


def test_what_was_trained_on_is_accepted_and_what_is_far_is_not() -> None:
    assert all(familiar().accepts(familiar().score(e)) for e in embeddings())
    assert not familiar().accepts(familiar().score(np.full(C, 50.0)))
    score = familiar().score(np.full(C, 50.0))
    assert familiar(threshold=score).accepts(score), "the threshold itself is accepted"
    assert not familiar(threshold=np.nextafter(score, 0)).accepts(score)


@pytest.mark.parametrize("method", METHODS)
def test_the_score_is_that_of_the_chosen_method(method: str) -> None:
    found = familiar(method)
    assert found.score(embeddings()[3]) == METHODS[method](found.reference, embeddings()[3:4].astype(np.float32))[0]


def test_similar_cases_are_the_nearest_by_cosine_one_a_lesion() -> None:
    found, all_of_them = familiar(), embeddings()
    centred = all_of_them - all_of_them.mean(0)
    query = centred[7] / np.linalg.norm(centred[7])
    cosine = centred @ query / np.linalg.norm(centred, axis=1)
    best = pd.Series(1 - cosine).groupby(np.arange(N) // 2).min().sort_values()
    neighbours = found.similar(all_of_them[7], k=5)
    assert [n.lesion_id for n in neighbours] == [f"HAM_{i:07}" for i in best.index[:5]]
    np.testing.assert_allclose([n.distance for n in neighbours], best.iloc[:5], atol=2e-3)
    assert neighbours[0].image_id == "ISIC_0000007"
    assert neighbours[0].dx == CLASSES[3]
    assert neighbours[0].distance == pytest.approx(0, abs=1e-3)


def test_the_images_own_lesion_can_be_left_out() -> None:
    found = familiar()
    neighbours = found.similar(embeddings()[7], k=N, exclude_lesion="HAM_0000003")
    assert "HAM_0000003" not in {n.lesion_id for n in neighbours}
    assert len(neighbours) == N // 2 - 1, "no more than there are"


def test_a_neighbour_says_what_is_known_of_it() -> None:
    found = {n.lesion_id: n for n in familiar().similar(embeddings()[0], k=N)}
    case = familiar().similar(embeddings()[4], k=1)[0]
    assert (case.image_id, case.dx_type, case.age, case.sex, case.site) == (
        "ISIC_0000004",
        "unknown",
        44.0,
        "female",
        "back",
    )
    unknown = familiar().similar(embeddings()[2], k=1)[0]
    assert np.isnan(unknown.age)
    assert {n.dx for n in found.values()} == set(CLASSES)


def test_exact_search_over_ten_thousand_is_fast() -> None:
    n, channels = 10_000, 256
    rng = np.random.default_rng(1)
    table = pd.concat([cases()] * (n // N), ignore_index=True)
    table["lesion_id"] = [f"HAM_{i}" for i in range(n)]
    own = rng.normal(0, 1, (n, 16)) @ rng.normal(0, 1, (16, channels)).astype(np.float32)
    head = np.zeros((channels, 7)), np.zeros(7)
    reference = make_reference_set(np.arange(n).astype(str), (own, np.arange(n) % 7), 128, head)
    found = OodDetector(reference, "mahalanobis", 1.0, table, NOTHING)
    found.similar(own[0])
    seconds = []
    for i in range(20):
        start = time.thread_time()
        found.similar(own[i], 6)
        seconds.append(time.thread_time() - start)
    assert min(seconds) < 0.02


def test_files_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = read(write(tmp_path / "toy"), cases())
    assert isinstance(found, OodDetector)
    assert found.score(embeddings()[3]) == familiar().score(embeddings()[3])
    assert found.similar(embeddings()[3]) == familiar().similar(embeddings()[3])
    assert {split: f.value for split, f in found.measured.accepted.items()} == {"validation": 0.97, "test": 0.96}
    assert found.measured.auroc["noise"].value == 1.0
    assert found.measured.refused["noise"].value == 0.96


def test_an_ensembles_file_names_its_members(tmp_path: Path) -> None:
    found = read(write(tmp_path, method="members", members=["a", "b"]), cases())
    assert isinstance(found, JointOodDetector)
    assert found.members == ("a", "b")
    assert found.measured.accepted["test"].value == 0.96


def test_the_rule_of_an_ensemble_is_out_of_date_once_a_member_is_fitted_again(tmp_path: Path) -> None:
    def fitted(again: dict[str, str], **known: object) -> Fitted:
        for name in ("a", "b"):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "card.json").write_text(json.dumps({"files": {"familiarity.json": again[name]}}))
        sources = {"predictions_sha256": "p", **known}
        file = write(tmp_path / "both", method="members", members=["a", "b"], fitted_on=sources)
        hashes = {"familiarity.json": hashlib.sha256(file.read_bytes()).hexdigest(), "predictions.csv": "p"}
        return read_fitted(file.parent, {"files": hashes})

    fitted_with = {"a": "1" * 64, "b": "2" * 64}
    assert isinstance(fitted(fitted_with, member_familiarities=fitted_with).ood, JointOodDetector)
    again = fitted({**fitted_with, "b": "3" * 64}, member_familiarities=fitted_with)
    assert again.ood is None
    assert again.missing["ood"] == "familiarity.json was fitted with another familiarity.json of b than its own now"
    assert isinstance(fitted({**fitted_with, "b": "3" * 64}).ood, JointOodDetector), "fitted before hashes were kept"
    assert fitted(fitted_with, member_familiarities="ab").ood is None


def test_an_ensemble_whose_member_cannot_tell_has_no_rule_and_says_why() -> None:
    joint = Fitted(ood=JointOodDetector(("a", "b"), NOTHING), missing={"referral": "There is no referral.json"})
    knows = Fitted(ood=familiar())
    assert over_members(joint, {"a": knows, "b": knows}) is joint
    spoilt = Fitted(missing={"ood": "familiarity.json is not the file whose SHA-256 is in card.json"})
    found = over_members(joint, {"a": knows, "b": spoilt})
    assert found.ood is None
    assert found.missing_sentences() == (
        "familiarity.json goes by that of its member b, which cannot be used (familiarity.json is not the file whose "
        "SHA-256 is in card.json), so it cannot say whether an image is like those it was trained on, nor show similar "
        "cases.",
        "There is no referral.json, so it has no rules for when to refer.",
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"method": "guess"}, "'method' must be one of mahalanobis, knn, energy, got 'guess'"),
        ({"threshold": None}, "'threshold' must be a number"),
        ({"threshold": float("nan")}, "'threshold' must be a number"),
        ({"threshold": True}, "'threshold' must be a number"),
        ({"embeddings_sha256": "0"}, "other embeddings"),
        ({"measured": []}, "'measured' does not hold"),
        ({"measured": {"test": {"accepted": {"value": 1}}}}, "'measured' does not hold"),
        ({"method": "members", "members": [3]}, "'members' must be a list"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, changes: dict, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        read(write(tmp_path, **changes), cases())


def test_images_that_were_not_trained_on_are_refused(tmp_path: Path) -> None:
    table = cases()
    table.loc[5, "split"] = "test"
    with pytest.raises(ModelError, match="1 images are not training images of the split table, such as ISIC_0000005"):
        read(write(tmp_path), table)
    with pytest.raises(ModelError, match="not training images"):
        read(write(tmp_path), cases().iloc[1:])
    table = cases()
    table["dx"] = table["dx"].replace("mel", "nv")
    with pytest.raises(ModelError, match="differ on whether there are images of mel"):
        read(write(tmp_path), table)


def test_without_its_embeddings_it_cannot_be_read(tmp_path: Path) -> None:
    file = write(tmp_path)
    (tmp_path / "embeddings.npz").unlink()
    with pytest.raises(ModelError, match="there is no such file"):
        read(file, cases())
    with pytest.raises(ModelError, match="there is no such file"):
        read(tmp_path / "other.json", cases())


def test_an_embedding_of_another_network_is_refused() -> None:
    with pytest.raises(ModelError, match="must have 6 values"):
        familiar().score(np.zeros(7))


def test_scores_of_the_data_sets_images_say_which_were_refused(tmp_path: Path) -> None:
    write(tmp_path, threshold=2.0)
    rows = ["name,group,kind,part,score", "a,HAM_1,dermoscopic,test,2.0", "b,HAM_2,dermoscopic,test,2.1"]
    file = tmp_path / "familiarity.csv"
    file.write_text("\n".join([*rows, "cat,cat.png,photograph,second half,90"]) + "\n")
    table, threshold = read_scores(tmp_path)
    assert threshold == 2.0
    assert table["score"].tolist() == [2.0, 2.1, 90.0]
    assert refused(tmp_path, np.array(["b", "a"])).tolist() == [True, False]
    with pytest.raises(ModelError, match="lacks images"):
        refused(tmp_path, np.array(["a", "cat"]))
    for content in ("\n".join([*rows, rows[1]]), "name,score\na,1\n", "\n".join([*rows, "c,HAM,dermoscopic,test,x"])):
        file.write_text(content)
        with pytest.raises(ModelError, match=r"familiarity\.csv"):
            read_scores(tmp_path)


def test_a_network_that_refuses_silences_itself_and_the_ensembles_rule_all() -> None:
    near, far = (familiar().score(e) for e in (embeddings()[0], np.full(C, 50.0)))

    def model(model_id: str, detector: object, role: str = "diagnosis") -> SimpleNamespace:
        return SimpleNamespace(id=model_id, role=role, fitted=SimpleNamespace(ood=detector))

    def ensemble(by: str | None) -> Ensemble:
        rule = None if by is None else Withholding(by, 0.0, {"one": 1.0, "two": 1.0}, ())
        joint = JointOodDetector(("one", "two"), Measured({}, {}, {}), rule)
        return Ensemble("both", "Both", (one, two), (0.5, 0.5), (0.0,) * 7, {}, Path(), Fitted(ood=joint))  # type: ignore[arg-type]

    one, two, none = model("one", familiar()), model("two", familiar()), model("none", None)
    third = model("three", familiar(), "comparison")

    def judged(models: list, synthetic: bool = False, **answers: float) -> Opinion:
        return form(models, {name: SimpleNamespace(unlikeness=u) for name, u in answers.items()}, synthetic)  # type: ignore[misc]

    def asked(by: str | None, **answers: float) -> dict[str, bool]:
        return dict(judged([one, none, ensemble(by)], **answers).accepted)

    for by, alone in (("any", False), ("all", True), ("one", True), ("two", False), (None, False)):
        assert asked(by, one=near, two=near, none=near) == {"one": True, "both": True}
        assert asked(by, one=near, two=far) == {"one": True, "both": alone}
        assert asked(by, one=far, two=far) == {"one": False, "both": False}
    assert asked("any", one=near) == {"one": True}, "an ensemble cannot tell without all of its members"

    def silent(by: str, synthetic: bool = False, **answers: float) -> frozenset[str]:
        return judged([one, two, third, none, ensemble(by)], synthetic, **answers).refused

    assert silent("any", one=near, two=near, three=near) == set()
    assert silent("any", one=near, two=near, three=far) == {"three"}, "a model for comparison silences itself"
    assert silent("all", one=near, two=far, three=near) == {"two"}
    assert silent("any", one=near, two=far, three=near) == {"one", "two", "three", "none", "both"}
    assert judged([one, third, none], one=near, three=far).refused == {"three"}
    assert silent("any", synthetic=True, one=far, two=far, three=far) == set()


def test_refusals_are_counted_by_true_diagnosis(tmp_path: Path) -> None:
    write(tmp_path, threshold=2.0)
    table = load_split().query("split == 'test'")
    some = pd.concat([table[table["dx"] == code].head(8) for code in ("mel", "vasc")])
    scores = pd.DataFrame({"name": some["image_id"], "group": some["lesion_id"], "kind": "dermoscopic", "part": "test"})
    scores["score"] = np.where(some["dx"] == "vasc", 3.0, 1.0)
    scores.to_csv(tmp_path / "familiarity.csv", index=False)
    found = refused_by_class(tmp_path, None, "test", table)
    assert {code: (f.value, f.n_images) for code, f in found.items()} == {"mel": (0.0, 8), "vasc": (1.0, 8)}
    assert refused_by_class(tmp_path, None, "validation", table) == {}
    with pytest.raises(ModelError, match="changed after the model was published"):
        refused_by_class(tmp_path, {"files": {"familiarity.csv": "0" * 64}}, "test", table)
