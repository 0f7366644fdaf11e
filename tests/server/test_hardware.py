import os
from pathlib import Path

import pytest

from dermlens.server import hardware


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("processor\t: 0\nmodel name\t: Fast CPU: 2 GHz\n\nprocessor\t: 1\nmodel name\t: Other\n", "Fast CPU: 2 GHz"),
        ("processor\t: 0\nBogoMIPS\t: 50.00\n", "aarch64"),
        (None, "aarch64"),
    ],
)
def test_the_processor_is_named(monkeypatch: pytest.MonkeyPatch, told: str | None, expected: str) -> None:
    def read_text(file: Path, **_: str) -> str:
        assert file == Path("/proc/cpuinfo")
        if told is None:
            raise FileNotFoundError(file)
        return told

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert hardware.processor() == expected


def test_available_cores_are_those_of_this_process() -> None:
    assert 1 <= hardware.available_cores() <= (os.cpu_count() or 1)
