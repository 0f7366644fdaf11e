"""The description of the API: committed, and kept by what the API does."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from dermlens.api.__main__ import description
from dermlens.api.app import create
from dermlens.models.model import AnyModel
from tests.api.conftest import anyone

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_committed_description_is_that_of_the_code() -> None:
    same = COMMITTED.read_text(encoding="utf-8") == description()
    assert same, "run: python -m dermlens.api openapi > docs/openapi.json"


@pytest.fixture(scope="module")
def described(toys: list[AnyModel], pair: Path) -> Iterator[schemathesis.BaseSchema]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DERMLENS_MODELS", str(pair))
        app = create(lambda: toys, anyone)
        yield schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, headers={"host": "localhost"})


@pytest.mark.parametrize("operation_id", ["predict", "models", "card", "healthz", "readyz", "metrics"])
def test_every_answer_is_as_described(described: schemathesis.BaseSchema, operation_id: str) -> None:
    operations = {o.ok().definition.raw["operationId"]: o.ok() for o in described.get_all_operations()}
    assert len(operations) == 6

    # No schema can say which bytes are an image, nor which models there are.
    @given(operations[operation_id].as_strategy())
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(headers={"host": "localhost"}, excluded_checks=[positive_data_acceptance])

    ask()
