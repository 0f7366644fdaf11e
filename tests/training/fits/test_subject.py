"""A published model's images are read as they were when it was published."""

import json
from pathlib import Path

import pytest

from dermlens.errors import ModelError
from training.fits.subject import aspect_of


def published(models: Path, name: str, aspect: str) -> Path:
    (models / name).mkdir()
    (models / name / "run.json").write_text(json.dumps({"published_from": {"stored_aspect": aspect}}))
    return models / name


def test_the_aspect_is_that_of_the_publication_unless_it_is_said(tmp_path: Path) -> None:
    folder = published(tmp_path, "one", "4:3")
    assert aspect_of(folder) == "4:3"
    assert aspect_of(folder, "as-is") == "as-is"
    (folder / "run.json").write_text("{}")
    assert aspect_of(folder) == "as-is", "from before it was noted"


def test_an_ensembles_is_that_of_its_members(tmp_path: Path) -> None:
    published(tmp_path, "one", "4:3")
    published(tmp_path, "two", "4:3")
    both = tmp_path / "both"
    both.mkdir()
    card = {"id": "both", "name": "Both", "members": {"one": 0.5, "two": 0.5}, "files": {}}
    (both / "card.json").write_text(json.dumps(card))
    assert aspect_of(both) == "4:3"
    (tmp_path / "two" / "run.json").write_text(json.dumps({"published_from": {"stored_aspect": "as-is"}}))
    with pytest.raises(ModelError, match="in different ways"):
        aspect_of(both)
