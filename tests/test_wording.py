"""Shares, numbers and intervals are written one way, and never rounded to what is certain."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermlens.estimate import Estimate
from dermlens.wording import (
    column_percents,
    counted,
    duration,
    interval,
    number,
    number_with_interval,
    percent,
    percent_with_interval,
    points,
    points_with_interval,
    rests_on,
    short_percent,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.004, "<1 %"),
        (0.005, "<1 %"),
        (0.995, ">99 %"),
        (0.997, ">99 %"),
        (0.5, "50 %"),
        (NAN, "n/a"),
    ],
)
def test_shares_never_round_to_certainty(share: float, shown: str) -> None:
    assert percent(share) == shown


@given(st.floats(0, 1, exclude_min=True, exclude_max=True), st.integers(0, 3))
def test_only_none_reads_zero_and_only_all_reads_a_hundred(share: float, digits: int) -> None:
    shown = percent(share, digits).removesuffix(" %")
    assert shown[0] in "<>" or (100 * share >= 100 or 0 < float(shown) < 100)


def test_a_column_of_percents_reads_zero_or_a_hundred_only_where_it_is() -> None:
    shares = [None, 0.0, 0.0004, 0.005, 0.5, 0.99949, 0.9996, 1.0]
    found = column_percents(shares)
    assert np.isnan(found[0])
    assert [f"{value:.1f}" for value in found[1:]] == ["0.0", "0.1", "0.5", "50.0", "99.9", "99.9", "100.0"]
    assert list(found[1:]) == sorted(found[1:]), "they sort as the shares do"


@given(st.floats(0, 1, exclude_min=True, exclude_max=True), st.integers(0, 3))
def test_a_number_of_a_column_is_never_rounded_to_what_is_certain(share: float, digits: int) -> None:
    shown = float(f"{column_percents(share, digits):.{digits}f}")
    assert 100 * share >= 100 or 0 < shown < 100


def test_an_interval_is_written_out() -> None:
    assert interval(Estimate(0.5, 0.412, 0.588, 10, 9)) == "41.2 to 58.8 %"
    assert interval(Estimate(0.5, 0.0001, 0.9999, 10, 9)) == "<0.1 to >99.9 %"
    assert interval(Estimate(0.0, 0.0, 0.2, 10, 9), 0) == "0 to 20 %"
    assert interval(Estimate(0.5, NAN, NAN, 10, 9)) == "n/a"


def test_an_estimate_is_written_with_its_interval() -> None:
    assert percent_with_interval(Estimate(0.5, 0.412, 0.588, 10, 9)) == "50.0 % (41.2 to 58.8 %)"
    assert percent_with_interval(Estimate(0.5, NAN, NAN, 1, 1)) == "50.0 % (no interval)"
    assert percent_with_interval(Estimate(NAN, NAN, NAN, 0, 0)) == "n/a"
    assert number_with_interval(Estimate(1.25, 1.1, 1.38, 10, 9)) == "1.250 (1.100 to 1.380)"
    assert number_with_interval(Estimate(NAN, NAN, NAN, 0, 0)) == "n/a"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.99973, ">0.999"), (0.0004, "<0.001"), (0.0, "0.000"), (1.0, "1.000"), (1.0004, "1.000"), (0.9994, "0.999")],
)
def test_a_number_is_not_rounded_to_0_or_1_that_is_not(value: float, shown: str) -> None:
    assert number(value) == shown


def test_a_difference_is_in_points_and_never_minus_zero() -> None:
    assert [points(x) for x in (0.031, -0.004, NAN)] == ["+3.1", "−0.4", "n/a"]
    assert {points(x) for x in (-0.0004, 0.0004, 0.0)} == {"0.0"}
    assert points_with_interval(Estimate(0.03, -0.0001, 0.06, 9, 9)) == "+3.0 (0.0 to +6.0)"
    assert points_with_interval(Estimate(0.03, NAN, NAN, 9, 9)) == "+3.0 (no interval)"


def test_what_somebody_chose_is_written_as_it_was_chosen() -> None:
    assert [short_percent(level) for level in (0.07, 0.9, 0.975)] == ["7 %", "90 %", "97.5 %"]


def test_one_thing_is_singular() -> None:
    assert [counted(n, "image") for n in (0, 1, 2345)] == ["0 images", "1 image", "2,345 images"]
    assert counted(7, "diagnosis") == "7 diagnoses"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7190, "120 min"), (7200, "2.0 h"), (172_800, "2.0 days")],
)
def test_lengths_of_time(seconds: float, told: str) -> None:
    assert duration(seconds) == told
    assert duration(float("nan")) == "n/a"


def test_what_an_estimate_rests_on_is_in_the_singular_where_it_is_one() -> None:
    assert rests_on(Estimate(0.5, 0, 1, 1, 1)) == "1 image of 1 lesion"
    assert rests_on(Estimate(0.5, 0, 1, 1511, 1)) == "1,511 images of 1 lesion"
