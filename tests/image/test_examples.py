import numpy as np

from dermlens.image.examples import EXAMPLES, _drawn, draw, png
from dermlens.image.preprocess import Geometry, visible_box
from dermlens.ingest.read import read_image


def test_examples_are_drawn_the_same_each_time_and_differ_from_each_other() -> None:
    drawings = [draw(e) for e in EXAMPLES]
    _drawn.cache_clear()
    for example, before in zip(EXAMPLES, drawings, strict=True):
        np.testing.assert_array_equal(draw(example), before)
    assert len({d.tobytes() for d in drawings}) == len(EXAMPLES) == len({e.key for e in EXAMPLES})


def test_the_file_passes_the_door_unchanged() -> None:
    np.testing.assert_array_equal(read_image(png(EXAMPLES[0])).pixels, draw(EXAMPLES[0]))


def test_the_label_lies_outside_what_the_networks_see(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    labelled = draw(EXAMPLES[0])
    monkeypatch.setattr("dermlens.image.examples.LABEL", "")
    bare = _drawn.__wrapped__(EXAMPLES[0])
    changed = np.argwhere((labelled != bare).any(-1))
    assert len(changed) > 100, "there is a label"
    box = visible_box(*labelled.shape[:2], Geometry(224))
    assert changed[:, 1].max() < box.left
