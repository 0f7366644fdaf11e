"""Eight-bit serving files: what rounding does, how biases are corrected, and what the gate lets pass."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dermlens.errors import ModelError
from dermlens.evaluation.predictions import make_predictions
from dermlens.files.documents import read_object, write_object
from dermlens.image.synthetic import draw_lesion
from dermlens.labels import MELANOMA, N_CLASSES
from dermlens.models import registry
from dermlens.models.card import INT8, INT8_FILE
from dermlens.models.model import Model
from training import precision, quantise
from training.precision import Answers, correlation, judge, missed_melanomas

SHARES = (0.033, 0.051, 0.110, 0.011, 0.111, 0.670, 0.014)


def squares(count: int, size: int = 32) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [draw_lesion(rng, size, size) for _ in range(count)]


def serving(model: Model) -> bytes:
    return (model.folder / "build" / registry.SERVING_FILE).read_bytes()


def test_rounding_keeps_zero_and_clips_what_is_out_of_range() -> None:
    found = quantise.rounded(np.array([-9.0, -1.0, 0.0, 0.3, 1.0, 9.0]), -1, 1)
    assert found[2] == 0
    assert np.abs(found - [-1, -1, 0, 0.3, 1, 1]).max() <= 2 / 255


def test_a_range_that_reaches_far_below_silu_is_cut_short() -> None:
    sample = np.r_[np.random.default_rng(0).normal(0, 1, 5000), np.full(50, -60.0)]
    low, high = quantise._best(sample, -60.0, 4.0)
    assert -60 < low < -1
    assert high > 2


def test_the_ends_of_a_network_stay_in_float32(toy: Model) -> None:
    operations = quantise.operations_of(serving(toy))
    kept = set(quantise._ends(operations, quantise._outputs(serving(toy))))
    first, last = (o.outputs[0] for o in operations if o.kind in quantise.CONVOLUTIONS)
    assert first not in kept
    assert last in kept  # it gives the feature map
    assert last not in quantise._ends(operations)
    assert set(operations[-1].outputs) <= kept
    assert set(operations[0].outputs) <= kept


def test_no_images_or_no_convolution_is_refused(toy: Model) -> None:
    with pytest.raises(ModelError, match="training images"):
        quantise.quantise(serving(toy), [])
    with pytest.raises(ModelError, match="no convolution"):
        quantise._ends([quantise.Operation("ADD", ("a", "b"), ("c",))])


@pytest.fixture(scope="module")
def small(toy: Model) -> bytes:
    pytest.importorskip("ai_edge_quantizer", reason="needs requirements-quantise.txt")
    return quantise.quantise(serving(toy), squares(8))


def test_the_eight_bit_file_answers_nearly_as_the_float_one(toy: Model, small: bytes) -> None:
    from dermlens.models.engine import Engine

    batch = np.array(squares(6), np.float32)
    found, wanted = Engine(Path(INT8_FILE), content=small).run(batch), toy.engine.run(batch)
    assert 0 < np.abs(found.logits - wanted.logits).max() < 0.1 * wanted.logits.std()
    assert np.allclose(found.embedding @ toy.head_kernel + toy.head_bias, found.logits, atol=1e-4)
    assert np.allclose(found.features.mean((1, 2)), found.embedding, atol=1e-4)


def test_biases_that_are_off_are_brought_back(toy: Model, small: bytes) -> None:
    images, content = squares(8), serving(toy)
    operations = quantise.operations_of(content)
    first = next(o for o in operations if o.kind in quantise.CONVOLUTIONS)
    name, bias = first.outputs[0], quantise._biases(small)[first.inputs[2]]
    ranges = quantise._ranges(operations, quantise._observe(content, operations, images))
    wanted = quantise._means(content, [name], ranges, images)[name]
    low, high = ranges[name]
    shifted = np.frombuffer(small, np.int32, len(bias.scale), bias.offset) + 0.2 * (high - low) / bias.scale
    damaged = bytearray(small)
    damaged[bias.offset : bias.offset + 4 * len(shifted)] = shifted.astype(np.int32).tobytes()

    def off(content: bytes) -> float:
        return float(np.abs(quantise._means(content, [name], ranges, images)[name] - wanted).max())

    corrected = quantise.correct_biases(content, bytes(damaged), ranges, images)
    assert off(bytes(damaged)) > 0.1 * (high - low)
    assert off(corrected) < off(bytes(damaged)) / 4


def answers(seed: int = 0, noise: float = 0.0, n: int = 400) -> Answers:
    """Return answers of a made-up model; those with noise are of the same model, disturbed."""
    rng = np.random.default_rng(seed)
    y = rng.choice(N_CLASSES, n, p=SHARES)
    logits = rng.normal(0, 1, (n, N_CLASSES)) + 3 * np.eye(N_CLASSES)[y]
    maps = rng.random((n, N_CLASSES, 5, 5)).astype(np.float32)
    inside = rng.random((n, N_CLASSES))
    hits = (inside > 0.4).astype(float)
    other = np.random.default_rng(99)
    logits = logits + noise * other.normal(0, 1, logits.shape)
    maps = maps + np.float32(noise) * other.random(maps.shape, np.float32)
    names = [f"I{i}" for i in range(n)], [f"L{i // 2}" for i in range(n)]
    return Answers(make_predictions(*names, "validation", y, logits), maps, inside, hits)


def test_the_same_answers_pass_and_lose_nothing() -> None:
    found = judge(answers(), answers())
    assert found["serves"] == INT8
    assert found["same_call"] == 1
    assert found["n_lesions"] == 200
    assert {name: check["value"] for name, check in found["checks"].items()} == {
        "cross_entropy": 0,
        "accuracy": 0,
        "suspect_shift": 0,
        "missed_melanomas": 0,
        "map_correlation": pytest.approx(1),
        "heat_inside": 0,
        "peak_inside": 0,
    }


def test_worse_answers_are_refused_and_the_reason_is_said() -> None:
    found = judge(answers(), answers(noise=1.5))
    assert found["serves"] == "float32"
    assert "cross-entropy" in found["why"]
    for name in ("cross_entropy", "suspect_shift", "map_correlation"):
        assert not found["checks"][name]["ok"]
    assert found["checks"]["cross_entropy"]["value"] > 0.01


def test_heat_that_leaves_the_lesion_is_refused() -> None:
    same = answers()
    found = judge(same, replace(same, heat_inside=same.heat_inside - 0.05))
    assert found["serves"] == "float32"
    assert [name for name, check in found["checks"].items() if not check["ok"]] == ["heat_inside"]
    assert found["checks"]["heat_inside"]["value"] == pytest.approx(0.05)


def test_melanomas_are_missed_below_the_share_that_is_referred() -> None:
    p = np.zeros((10, N_CLASSES))
    p[:, MELANOMA] = np.arange(10) / 10
    y = np.full(10, 5)
    y[[1, 5, 6, 9]] = MELANOMA  # four of ten are referred: rows 6 to 9
    assert missed_melanomas(p, y) == 2


def test_correlation_is_pearsons_and_unknown_for_an_even_map() -> None:
    a = np.array([[0.0, 1.0], [2.0, 5.0]])
    assert correlation(a, 3 * a + 1) == pytest.approx(1)
    assert correlation(a, -a) == pytest.approx(-1)
    assert np.isnan(correlation(a, np.ones((2, 2))))


def test_calibration_images_are_of_different_training_lesions_and_every_diagnosis() -> None:
    from dermlens.dataset.ham10000 import load_split

    rows = precision.calibration_rows(load_split())
    assert len(rows) == precision.IMAGES
    assert set(rows["split"]) == {"train"}
    assert rows["lesion_id"].is_unique
    assert rows["dx"].value_counts().min() >= precision.IMAGES // N_CLASSES - 1


def in_int8(published: Path, tmp_path: Path, content: bytes) -> registry.Entry:
    shutil.copytree(published / "toy", tmp_path / "toy")
    folder = tmp_path / "toy"
    (folder / INT8_FILE).write_bytes(content)
    card = read_object(folder / "card.json")
    card["files"][INT8_FILE] = registry.sha256(folder / INT8_FILE)
    write_object(folder / "card.json", {**card, "precision": INT8})
    return registry.inspect(folder)


def test_the_precision_that_the_card_names_serves(published: Path, tmp_path: Path, small: bytes, toy: Model) -> None:
    model = registry.load(in_int8(published, tmp_path, small))
    batch = np.array(squares(3), np.float32)
    assert model.precision == INT8
    assert model.weights_sha256 == registry.sha256(model.folder / INT8_FILE) != toy.weights_sha256
    assert model.identity != toy.identity
    assert not np.array_equal(model.engine.run(batch).logits, toy.engine.run(batch).logits)
    assert toy.precision == "float32"


def test_a_changed_or_missing_eight_bit_file_disables_its_model(published: Path, tmp_path: Path) -> None:
    entry = in_int8(published, tmp_path, b"as published")
    (entry.folder / INT8_FILE).write_bytes(b"changed")
    with pytest.raises(ModelError, match="serving_int8.tflite is damaged or was changed"):
        registry.load(entry)
    (entry.folder / INT8_FILE).unlink()
    with pytest.raises(ModelError, match="serving_int8.tflite is missing"):
        registry.load(entry)


@pytest.mark.parametrize(("field", "said"), [("int4", "must be one of float32, int8"), (INT8, "no SHA-256")])
def test_a_card_with_another_precision_or_no_such_file_is_refused(
    published: Path, tmp_path: Path, field: str, said: str
) -> None:
    shutil.copytree(published / "toy", tmp_path / "toy")
    card = read_object(tmp_path / "toy" / "card.json")
    write_object(tmp_path / "toy" / "card.json", {**card, "precision": field})
    with pytest.raises(ModelError, match=said):
        registry.load(registry.inspect(tmp_path / "toy"))


def test_the_model_card_shows_what_the_gate_found(tmp_path: Path) -> None:
    from training.model_card.network import eight_bits

    assert eight_bits(tmp_path) == []
    report = judge(answers(), answers(noise=1.5))
    report |= {"bytes": {"float32": 4_000_000, INT8: 1_100_000}, "ranges_from": {"n_images": 256}}
    write_object(tmp_path / precision.FILE, report)
    text = "\n".join(eight_bits(tmp_path))
    assert "(1.1 MB, float32 4.0 MB)" in text
    assert "**float32 serves.**" in text
    assert f"| cross-entropy | loss {report['checks']['cross_entropy']['value']:.4f} (" in text
    assert "| correlation of heat maps, median |" in text
