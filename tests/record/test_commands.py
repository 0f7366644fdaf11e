"""The commands of the record."""

from pathlib import Path

import numpy as np
import pytest

from dermlens.record import save
from dermlens.record.__main__ import main
from dermlens.record.open import open_record
from dermlens.record.people import NOBODY_SIGNED_IN as ME
from dermlens.record.save import About
from dermlens.record.settings import Settings
from tests.record.filled import KEY, saving

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("pictures", [0, 2])
def test_a_record_that_is_taken_down_names_the_pictures_that_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, pictures: int
) -> None:
    url, store = f"sqlite:///{tmp_path}/record.db", tmp_path / "pictures"
    monkeypatch.setenv("DERMLENS_DATABASE", url)
    record = open_record(Settings(url, key=KEY, pictures=str(store)))
    save.save(record, ME, saving(RNG, 5))
    for _ in range(pictures):
        pixels = RNG.integers(0, 256, (20, 30, 3), np.uint8)
        save.save(record, ME, saving(RNG, 5, About(keep_picture=True), picture=pixels))
    record.database.close()
    assert main(["downgrade", "base"]) == 0
    said = capsys.readouterr().out
    folders = [folder.name for folder in store.iterdir()]
    assert len(folders) == bool(pictures)
    for folder in folders:
        assert f"2 kept pictures stayed, and no record will delete them: in their store, delete {folder}." in said
    assert ("kept picture" in said) is bool(pictures)
    assert main(["downgrade", "base"]) == 0
    assert "kept picture" not in capsys.readouterr().out
