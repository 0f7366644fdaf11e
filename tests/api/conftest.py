"""The API over toy models, in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from dermlens.api.access import LOCAL, only_here
from dermlens.api.app import create
from dermlens.api.beside import load_models
from dermlens.models.model import AnyModel


def anyone(headers: Headers, peer: str | None) -> str:
    """Let everybody in."""
    return LOCAL


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
    app = create(lambda: toys, only_here)
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 50000)) as asking:
        yield asking
