"""What pages keep of the models' folders: read once, and again as soon as a file has changed."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from dermlens.models import registry
from tests.conftest import publish_toy, toy_network
from ui import cache


def test_cards_are_read_once_and_a_change_is_seen_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = publish_toy(tmp_path / "toy", toy_network())
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path))
    read, inspect = list[str](), registry.inspect

    def counted(folder: Path) -> registry.Entry:
        read.append(folder.name)
        return inspect(folder)

    monkeypatch.setattr(registry, "inspect", counted)
    first = cache.entries()
    assert read, "the folder was looked at"
    read.clear()
    assert [e.name for e in cache.entries()] == [e.name for e in first]
    assert not read
    card = json.loads((entry.folder / "card.json").read_text())
    (entry.folder / "card.json").write_text(json.dumps({**card, "name": "Another name"}))
    assert [e.name for e in cache.entries()] == ["Another name"]
    publish_toy(tmp_path / "toy2", toy_network(seed=2))
    assert {e.id for e in cache.entries()} == {"toy", "toy2"}
    (entry.folder / "model.keras").unlink()
    assert next(e for e in cache.entries() if e.id == "toy").problem


def test_answers_are_read_again_once_their_truth_or_a_member_of_their_ensemble_changes(tmp_path: Path) -> None:
    both, member = tmp_path / "both", tmp_path / "one"
    for folder in (both, member):
        folder.mkdir()
        (folder / "card.json").write_text('{"files": {}}')
    entry = SimpleNamespace(folder=both, card={"members": {"one": 1.0}})
    seen = {cache.stamp_of_answers(entry)}  # type: ignore[arg-type]
    first = cache.fitted(entry)  # type: ignore[arg-type]
    (both / "truth.csv").write_text("image\n")
    seen.add(cache.stamp_of_answers(entry))  # type: ignore[arg-type]
    (member / "card.json").write_text('{"files": {"familiarity.json": "0"}}')
    seen.add(cache.stamp_of_answers(entry))  # type: ignore[arg-type]
    assert len(seen) == 3
    assert cache.fitted(entry) is not first  # type: ignore[arg-type]
