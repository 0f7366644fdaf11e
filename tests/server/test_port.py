import socket
from collections.abc import Iterator

import pytest

from dermlens.server.port import HOST, main, problem, trouble


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program serves on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_in_use_is_named_with_one_that_is_free(taken: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(taken)]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert f"Port {taken} is in use" in sentence
    offered = int(sentence.partition("PORT=")[2].rstrip("."))
    assert offered != taken
    assert trouble(offered) is None


def test_a_free_port_passes_silently(taken: int, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        free = probe.getsockname()[1]
    assert main([str(free)]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("port", ["", "0", "65536", "http", "-1", "8501 ", "٣"])
def test_what_is_no_port_is_refused(port: str) -> None:
    assert "whole number from 1 to 65535" in str(problem(port))


def test_one_port_is_asked_for() -> None:
    assert main([]) == 2
