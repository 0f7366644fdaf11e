"""Every limit stands in one place, is told in docs/deploy.md, and can be changed."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from dermlens.errors import ConfigError
from dermlens.server.limits import Limits, read

DEPLOY = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text(encoding="utf-8")


def test_limits_are_read_from_a_setting() -> None:
    assert read("") == Limits()
    assert read("connections=800  silent_seconds=0.5") == Limits(connections=800, silent_seconds=0.5)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("conections=8", "names 'conections'"),
        ("connections=many", "connections must be a number, got 'many'"),
        ("connections=1.5", "connections must be a number"),
        ("connections=0", "above 0"),
        ("silent_seconds=inf", "above 0"),
        ("silent_seconds=nan", "above 0"),
        ("reserve=1", "below 1"),
        ("connections", "must be a number, got ''"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(problem)):
        read(text)


@pytest.mark.parametrize("field", fields(Limits), ids=lambda field: field.name)
def test_the_documentation_tells_every_limit_with_its_value(field) -> None:
    (line,) = re.findall(rf"^\| `{field.name}` \| ([^|]+) \| .+ \|$", DEPLOY, re.MULTILINE)
    value, _, unit = line.strip().replace(",", "").partition(" ")
    factor = {"": 1, "s": 1, "MiB": 2**20, "KiB": 2**10, "KiB/s": 2**10, "%": 0.01}[unit]
    assert float(value) * factor == pytest.approx(field.default)
