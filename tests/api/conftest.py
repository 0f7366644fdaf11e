"""The API over toy models, in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from dermlens.api.access import only_here
from dermlens.api.app import create
from dermlens.api.beside import load_models
from dermlens.models.model import AnyModel


@pytest.fixture(scope="session")
def toys(pair: Path) -> list[AnyModel]:
    """Two loaded toy models."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DERMLENS_MODELS", str(pair))
        return load_models()


@pytest.fixture
def client(pair: Path, toys: list[AnyModel], monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """Who asks from this machine."""
    monkeypatch.setenv("DERMLENS_MODELS", str(pair))
    with TestClient(create(lambda: toys, only_here), base_url="http://localhost") as asking:
        yield asking
