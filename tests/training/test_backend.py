import sys

import pytest

from tests.training.loop.toys import config, small
from training import backend


@pytest.mark.parametrize(
    ("wanted", "keras_backend", "flags", "expected"),
    [
        ("float32", "torch", {"amx_bf16"}, ("float32", "float32")),
        ("auto", "torch", {"fpu", "amx_bf16"}, ("mixed_bfloat16", "float32")),  # on torch autocast does the rest
        ("auto", "torch", {"avx512_bf16"}, ("mixed_bfloat16", "float32")),
        ("auto", "torch", {"asimd", "bf16"}, ("mixed_bfloat16", "float32")),
        ("auto", "torch", {"fpu", "avx512f"}, ("float32", "float32")),
        ("auto", "torch", set(), ("float32", "float32")),
        ("auto", "tensorflow", {"amx_bf16"}, ("float32", "float32")),
        ("mixed_bfloat16", "torch", set(), ("mixed_bfloat16", "float32")),
        ("mixed_bfloat16", "tensorflow", set(), ("mixed_bfloat16", "mixed_bfloat16")),
    ],
)
def test_what_is_computed_in_bfloat16(
    monkeypatch: pytest.MonkeyPatch, wanted: str, keras_backend: str, flags: set[str], expected: tuple[str, str]
) -> None:
    pretend(monkeypatch, keras_backend, flags)
    settings = config(precision=wanted)
    assert (backend.precision(settings), backend.policy(settings)) == expected


def test_an_accelerator_of_torch_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for able in (True, False):
        pretend(monkeypatch, "torch", set() if able else {"amx_bf16"}, cuda=True, able=able)
        assert backend.has_bfloat16() is able


def test_a_network_trains_as_it_is_where_there_is_no_torch() -> None:
    model = small()
    assert backend.runner(model, config(precision="auto")) is model


def pretend(
    monkeypatch: pytest.MonkeyPatch, name: str, flags: set[str], cuda: bool = False, able: bool = False
) -> None:
    """Have Keras on another backend, a processor with these flags, and a torch that has an accelerator or none."""

    class Cuda:
        is_available = staticmethod(lambda: cuda)
        is_bf16_supported = staticmethod(lambda: able)

    class Torch:
        cuda = Cuda

    monkeypatch.setattr("keras.backend.backend", lambda: name)
    monkeypatch.setattr(backend, "processor_flags", lambda: frozenset(flags))
    monkeypatch.setitem(sys.modules, "torch", Torch)
