import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BYTES_A_ROW = 200


def stubbed(rows: int) -> tuple[float, int]:
    """Return rows a second and peak bytes of a run without decoding and networks, in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.cohort", "stubbed", str(rows)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    rate, peak = done.stdout.split()
    return float(rate), int(peak)


def test_memory_does_not_grow_with_the_shards() -> None:
    (_, few), (_, many) = stubbed(2_000), stubbed(12_000)
    assert many - few < 20 * 2**20, "ten shards more"


@pytest.mark.slow
def test_a_million_rows_take_at_most_200_bytes_each() -> None:
    (_, few), (rate, many) = stubbed(10_000), stubbed(1_000_000)
    assert (many - few) / 990_000 <= BYTES_A_ROW, f"{(many - few) / 990_000:.0f} bytes a row at {rate:.0f} rows/s"
