"""Every accepted kind of file is shown as independent programs show it, but for differences that are explained."""

import os

import numpy as np
import pytest

from dermlens.ingest.formats import ACCEPTED, format_of
from tests.corpus.case import Case
from tests.decoders.compare import DIFFERS, EXPLAINED, EXPLANATIONS, SAME, Comparison, cases, compare, judged, table
from tests.decoders.programs import KINDS, missing
from tests.image_files import picture


@pytest.fixture(scope="module")
def files() -> list[Case]:
    return cases()


SLOW = {"ImageMagick": pytest.mark.slow}  # a process a file, and it reads nearly every kind


@pytest.mark.parametrize("program", [pytest.param(name, marks=SLOW.get(name, ())) for name in KINDS])
def test_an_independent_program_shows_the_same(program: str, files: list[Case]) -> None:
    if lacks := missing(program):
        sentence = f"there is no {lacks} here: `make decoders` installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)
    found = list(compare(program, files))
    assert [c for c in found if c.verdict == DIFFERS] == []
    assert {c.kind for c in found if c.verdict == SAME} == KINDS[program], "it reads nothing of a format"
    assert sum(c.verdict == SAME for c in found) >= 18


def test_files_of_every_format_are_compared(files: list[Case]) -> None:
    assert {format_of(case.data) for case in files} == set(ACCEPTED) == set().union(*KINDS.values())


def test_a_picture_that_is_turned_or_of_other_colours_is_told() -> None:
    shown = picture()
    assert judged("libvips", "a", "PNG", 0, shown, shown) == Comparison("libvips", "a", "PNG", SAME, 0, 0)
    turned = judged("libvips", "a", "PNG", 0, shown, shown[::-1])
    assert (turned.verdict, turned.turned) == (DIFFERS, True)
    on_its_side = judged("libvips", "a", "PNG", 0, shown, np.rot90(shown))
    assert (on_its_side.verdict, on_its_side.turned, on_its_side.mean) == (DIFFERS, True, None)
    assert judged("libvips", "a", "PNG", 0, shown, shown[..., ::-1]).verdict == DIFFERS
    darker = judged("libvips", "a", "PNG", 0, shown, np.maximum(shown, 4) - np.uint8(4))
    assert (darker.verdict, darker.turned) == (DIFFERS, False)
    one_pixel = shown.copy()
    one_pixel[0, 0] ^= 64
    assert judged("libvips", "a", "JPEG", 3, shown, one_pixel).verdict == DIFFERS
    names, why = EXPLANATIONS["Chromium"][0]
    known = judged("Chromium", names.replace("*", "6"), "WebP", 0, shown, np.rot90(shown))
    assert (known.verdict, known.why) == (EXPLAINED, why)
    told = table([turned, known])
    assert "turned **DIFFERS**" in told
    assert f"(1) Chromium {why}." in told
    assert "| libvips | PNG | 0 | 0 | 0 | 1 |" in told
