from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dermlens.errors import ModelError
from dermlens.models.engine import Engine, forget_images
from dermlens.models.model import Model


def images(count: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, (count, size, size, 3)).astype(np.float32)


def test_outputs_are_told_apart_by_name_and_have_their_shapes(toy: Model) -> None:
    outputs = toy.engine.run(images(3, 32))
    assert outputs.logits.shape == (3, 7)
    assert outputs.features.shape == (3, 8, 8, 16)
    assert outputs.embedding.shape == (3, 16)
    assert all(o.dtype == np.float32 for o in outputs)
    assert outputs.embedding == pytest.approx(outputs.features.mean((1, 2)), abs=1e-6)
    assert outputs.logits == pytest.approx(outputs.embedding @ toy.head_kernel + toy.head_bias, abs=1e-5)


def test_a_batch_gives_what_its_images_give_alone_whatever_ran_before(toy: Model) -> None:
    batch = images(5, 32)
    alone = np.concatenate([toy.engine.run(one[None]).logits for one in batch])
    for count in (5, 1, 8, 5):
        toy.engine.run(images(count, 32, seed=count))
        assert toy.engine.run(batch).logits == pytest.approx(alone, abs=1e-5)


def test_outputs_stay_what_they_were_when_the_engine_runs_on(toy: Model) -> None:
    first = toy.engine.run(images(1, 32))
    kept = [o.copy() for o in first]
    toy.engine.run(images(1, 32, seed=9))
    assert all(np.array_equal(a, b) for a, b in zip(first, kept, strict=True))


def test_an_engine_at_work_forgets_by_its_next_answer_and_an_idle_one_when_it_is_told(toy: Model) -> None:
    toy.engine.run(images(2, 32))
    toy.engine.forget(idle=600.0)
    assert toy.engine.holds_images
    assert not forget_images(idle=600.0)
    assert toy.engine.holds_images
    forget_images()
    assert not toy.engine.holds_images


def test_threads_get_their_own_answers(toy: Model) -> None:
    batches = [images(1 + i % 3, 32, seed=i) for i in range(60)]
    serial = [toy.engine.run(b).logits for b in batches]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda b: toy.engine.run(b).logits, batches))
    assert all(np.array_equal(a, b) for a, b in zip(found, serial, strict=True))


def test_bytes_and_turned_views_are_taken_as_the_same_numbers(toy: Model) -> None:
    whole = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    expected = toy.engine.run(whole[:, ::-1].astype(np.float32)).logits
    assert np.array_equal(toy.engine.run(whole[:, ::-1]).logits, expected)


@pytest.mark.parametrize("shape", [(32, 32, 3), (1, 31, 32, 3), (1, 32, 32, 1), (0, 32, 32, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...], toy: Model) -> None:
    with pytest.raises(ModelError, match=r"\(N, 32, 32, 3\)"):
        toy.engine.run(np.zeros(shape, np.float32))


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.tflite"):
        Engine(tmp_path / "none.tflite")
    (tmp_path / "bad.tflite").write_bytes(b"nothing of the kind" * 9)
    with pytest.raises(ModelError, match=r"bad\.tflite"):
        Engine(tmp_path / "bad.tflite")
