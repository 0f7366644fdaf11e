"""A folder appears whole or not at all, whoever else makes the same one and whoever is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from training.folders import whole

ROOT = Path(__file__).parents[2]
KILLED = """
import os, signal, sys
from pathlib import Path
from training.folders import whole
with whole(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_two_that_make_one_folder_at_the_same_time_do_not_collide_and_the_last_stays(tmp_path: Path) -> None:
    target = tmp_path / "build"
    with whole(target) as one:
        (one / "who").write_text("one")
        with whole(target) as other:
            (other / "who").write_text("other")
        assert (target / "who").read_text() == "other"
    assert (target / "who").read_text() == "one"
    assert list(tmp_path.iterdir()) == [target], "nothing is left beside it"


def test_one_that_appears_at_the_last_moment_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, rename = tmp_path / "build", Path.rename
    appeared = []

    def late(path: Path, to: Path) -> Path:
        if to == target and not appeared:  # another process is between this one's look and its step
            appeared.append(True)
            target.mkdir()
            (target / "who").write_text("other")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", late)
    with whole(target) as folder:
        (folder / "who").write_text("one")
    assert appeared
    assert (target / "who").read_text() == "one"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_process_left_is_removed_by_the_next_and_what_a_live_one_makes_is_not(tmp_path: Path) -> None:
    target = tmp_path / "build"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(target)], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    with whole(target) as live:
        assert not left.exists()
        with whole(target) as other:
            assert live.exists()
            (other / "who").write_text("other")
        (live / "who").write_text("live")
    assert os.listdir(tmp_path) == ["build"]
    assert (target / "who").read_text() == "live"
