from pathlib import Path

import pandas as pd
import pytest

from data import quality
from dermlens.cohort.drift import MEASURES, QUALITY
from dermlens.dataset.ham10000 import image_path, load_split
from dermlens.image.quality import check
from dermlens.ingest.read import read_file
from tests import fake_ham10000


def test_the_quality_of_the_validation_images_alone_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = fake_ham10000.write(tmp_path / "data", lesions=5)
    monkeypatch.setattr(quality, "load_split", lambda: rows)
    assert quality.main(["--data", str(tmp_path / "data"), "--to", str(tmp_path / "quality.csv")]) == 0
    found = pd.read_csv(tmp_path / "quality.csv").set_index("image_id")
    wanted = rows.loc[rows["split"] == "validation", "image_id"]
    assert list(found.index) == sorted(wanted)
    assert tuple(found.columns) == MEASURES
    one = check(read_file(image_path(tmp_path / "data", wanted.iloc[0])).pixels)
    for name in MEASURES:
        assert found.loc[wanted.iloc[0], name] == pytest.approx(getattr(one, name), rel=1e-4)
    image_path(tmp_path / "data", wanted.iloc[0]).unlink()
    assert quality.main(["--data", str(tmp_path / "data"), "--to", str(tmp_path / "quality.csv")]) == 2
    assert wanted.iloc[0] in capsys.readouterr().err


def test_the_committed_table_is_of_the_validation_images_of_the_committed_split() -> None:
    table = load_split()
    found = pd.read_csv(QUALITY)
    assert set(found["image_id"]) == set(table.loc[table["split"] == "validation", "image_id"])
    assert found[list(MEASURES)].notna().all().all()
