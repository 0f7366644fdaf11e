"""The log holds no control characters, no long values from outside, and no flood."""

import io
import logging

import pytest

from dermlens.server.limits import Limits
from dermlens.server.log_lines import MAX_TRACEBACK, Guard, clean


@pytest.fixture
def log() -> tuple[logging.Logger, io.StringIO, list[float]]:
    written, now = io.StringIO(), [0.0]
    logger = logging.Logger("test")
    handler = logging.StreamHandler(written)
    handler.addFilter(Guard(Limits(log_line=20, log_repeats=3), lambda: now[0]))
    logger.addHandler(handler)
    return logger, written, now


def test_a_value_from_outside_is_one_line_of_printable_characters_cut_to_a_length() -> None:
    assert clean("a\r\nINFO forged\x1b[2J\x9b\u202e", 100) == "a??INFO forged?[2J??"
    assert clean("x" * 30, 10) == "xxxxxxxxxx... (30 characters)"


def test_values_messages_and_tracebacks_are_cleaned(log: tuple[logging.Logger, io.StringIO, list[float]]) -> None:
    logger, written, _ = log
    logger.error("said %s, %d times", "no\nERROR forged \x1b[31m" + "x" * 1000, 7)
    logger.error("no values \x1b]0;title\x07" + "y" * 1000)
    try:
        raise ValueError("\x1b[2J" + "z" * 100_000)
    except ValueError:
        logger.exception("failed")
    text = written.getvalue()
    assert not [c for c in text if c != "\n" and not c.isprintable()]
    assert "\nERROR forged" not in text
    assert "said no?ERROR forged ?[31... (1,021 characters), 7 times\n" in text
    assert len(text) < 300 + MAX_TRACEBACK
    assert "Traceback" in text


def test_the_same_message_is_written_a_few_times_a_minute(
    log: tuple[logging.Logger, io.StringIO, list[float]],
) -> None:
    logger, written, now = log
    for i in range(1000):
        logger.warning("table full %d", i)
    lines = written.getvalue().splitlines()
    assert lines == ["table full 0", "table full 1", "table full 2 (more of these are not written for a minute)"]
    logger.warning("another one")
    now[0] = 61.0
    logger.info("all are written")
    for i in range(1000):
        logger.warning("table full %d", i) if i < 2 else None
    assert written.getvalue().splitlines()[3:] == ["another one", "all are written", "table full 0", "table full 1"]
