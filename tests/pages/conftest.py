from functools import partial
from pathlib import Path

import pytest
import streamlit as st

from dermlens.record.open import Record, open_record
from dermlens.record.settings import Settings
from tests.record.filled import KEY


@pytest.fixture
def off(pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMLENS_MODELS", str(pair))
    monkeypatch.setenv("DERMLENS_RUNS", str(tmp_path / "runs"))
    for name in ("DERMLENS_DATABASE", "DERMLENS_PACS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def kept(off: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    url = f"sqlite:///{tmp_path}/record.db"
    monkeypatch.setenv("DERMLENS_DATABASE", url)
    monkeypatch.setenv("DERMLENS_RECORD_KEY", KEY.hex())
    monkeypatch.setenv("DERMLENS_RECORD_PICTURES", str(tmp_path / "pictures"))
    monkeypatch.setattr("ui.record.session.USUAL", 60)  # however busy this machine is
    return open_record(Settings(url, key=KEY, pictures=str(tmp_path / "pictures")))


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> dict:
    """What the pages have offered to download: label -> what makes it."""
    found: dict = {}
    usual = st.delta_generator.DeltaGenerator.download_button

    def remember(self, label, data, *arguments, **options):
        found[label] = data
        return usual(self, label, data, *arguments, **options)

    monkeypatch.setattr(st.delta_generator.DeltaGenerator, "download_button", remember)
    monkeypatch.setattr(st, "download_button", partial(remember, st._main))
    return found
