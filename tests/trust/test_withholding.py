"""A case is withheld by one rule over the networks' scores, chosen on one half of the pictures and measured on both."""

import json

import numpy as np
import pytest

from dermlens.errors import ModelError
from dermlens.labels import CLASSES
from dermlens.trust.withholding import COMBINED, TradeOff, Withholding, combine, from_dict
from training.fits.withholding import ACCEPTED, MOST, choose

MEMBERS = ("a", "b")


def rule(by: str, limit: float = 1.0) -> Withholding:
    return Withholding(by, limit, {"a": 2.0, "b": 4.0}, ())


@pytest.mark.parametrize(
    ("by", "expected"),
    # In standard deviations the excess (4, 2) is (2, 0.5) and (-4, 8) is (-2, 2).
    [("any", [2.0, 2.0]), ("mean", [1.25, 0.0]), ("all", [0.5, -2.0]), ("a", [2.0, -2.0]), ("b", [0.5, 2.0])],
)
def test_what_a_rule_goes_by_by_hand(by: str, expected: list[float]) -> None:
    z = np.array([[4.0, 2.0], [-4.0, 8.0]]) / np.array([2.0, 4.0])
    assert combine(z, by, MEMBERS).tolist() == expected
    both = [0.5, -2.0]
    found = rule(by).score(np.array([[4.0, 2.0], [-4.0, 8.0]]))
    assert found.tolist() == [max(e - 1.0, all_of) for e, all_of in zip(expected, both, strict=True)]


def test_one_network_that_refuses_withholds_nothing_and_all_of_them_do() -> None:
    assert not rule("b").withholds([0.1, -9.0])
    assert not rule("b").withholds([900.0, -0.1]), "the rule goes by b alone"
    assert rule("b").withholds([0.1, 0.1]), "both refuse, though neither is far out"
    assert rule("b").withholds([-9.0, 4.1])
    assert not rule("b").withholds([-9.0, 4.0]), "the limit itself is not withheld"


def made(rng: np.random.Generator, rare_out: int) -> tuple:
    """Images of all diagnoses; of 20 vascular ones network a finds `rare_out` strange, b knows all of them well."""
    diagnosis = np.repeat(CLASSES, [50, 50, 50, 20, 50, 760, 20])
    images = rng.normal(-3, 1, (len(diagnosis), 2))
    images[np.flatnonzero(diagnosis == "vasc")[:rare_out], 0] = 20
    kinds = np.array(["photograph"] * 40 + ["texture"] * 40)
    pictures = rng.normal(30, 1, (80, 2))
    return images, diagnosis, pictures, kinds, np.arange(80) % 2 == 1


def test_the_rule_refuses_every_photograph_and_spares_the_rare_diagnosis_where_one_can() -> None:
    found = choose(*made(np.random.default_rng(0), 18), MEMBERS)
    assert found.by != "a"
    chosen = found.chosen
    assert chosen is not None
    assert chosen.photographs == (20, 20), "of the half to measure on"
    assert chosen.others == 1
    assert chosen.worst <= MOST
    of_a = [p for p in found.curve if p.by == "a"]
    assert all(p.withheld["vasc"][0] >= 1 for p in of_a)
    assert len(found.curve) == (len(COMBINED) + len(MEMBERS)) * len(ACCEPTED)
    assert chosen.share == min(p.share for p in found.curve if p.worst <= MOST and p.others == 1)


def test_a_missed_photograph_weighs_more_than_what_is_withheld() -> None:
    images, diagnosis, pictures, kinds, second = made(np.random.default_rng(1), 18)
    pictures[kinds == "photograph"] = 10, -3  # b takes them for images it knows, and a the vascular ones for worse
    found = choose(images, diagnosis, pictures, kinds, second, MEMBERS)
    assert found.chosen is not None
    assert found.chosen.photographs == (20, 20)
    assert found.by in ("a", "any", "mean")
    assert found.chosen.worst > MOST


def test_what_is_measured_on_does_not_choose() -> None:
    images, diagnosis, pictures, kinds, second = made(np.random.default_rng(2), 5)
    found = choose(images, diagnosis, pictures, kinds, second, MEMBERS)
    pictures[second] = -30
    again = choose(images, diagnosis, pictures, kinds, second, MEMBERS)
    assert (again.by, again.limit) == (found.by, found.limit)
    assert again.chosen is not None
    assert again.chosen.photographs == (0, 20)


def test_it_is_read_back_and_anything_else_is_refused() -> None:
    found = choose(*made(np.random.default_rng(3), 2), MEMBERS)
    stored = json.loads(json.dumps(found.to_dict()))
    assert from_dict(stored, MEMBERS, "x") == found
    assert TradeOff.from_dict(stored["curve"][0]) == found.curve[0]
    assert (
        rule("b", 1.5)
        .sentence({"b": "B"})
        .endswith("or B alone puts it more than 1.50 standard deviations beyond its own limit.")
    )
    for wrong in (
        {"by": "c"},
        {"limit": "x"},
        {"limit": float("nan")},
        {"spread": {"a": 1}},
        {"spread": {"a": 0, "b": 1}},
        {"curve": [{}]},
    ):
        with pytest.raises(ModelError, match="x: 'withholding'"):
            from_dict({**stored, **wrong}, MEMBERS, "x")
    with pytest.raises(ModelError, match="x: 'withholding'"):
        from_dict(None, MEMBERS, "x")
