"""What a test needs from the system: without it the test is skipped here, but fails where CI is set."""

import os

import pytest


def need(there: bool, sentence: str) -> None:
    """Skip the test, or fail it under CI=true, unless what it needs is there."""
    if there:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(sentence)
    pytest.skip(sentence)
