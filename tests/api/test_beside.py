"""The API in the dashboard's own server, and alone: the real processes."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from joserfc import jwt

from dermlens import score
from dermlens.image.synthetic import draw_lesion
from tests.browser.app import ROOT, START_SECONDS, free_port, serve
from tests.browser.provider import CLIENT, SECRET, Provider, provide
from tests.conftest import encode
from tests.visitor import Visitor

POST = "/api/v1/predictions"


@pytest.fixture(scope="module")
def beside(pair: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A dashboard with the API; returns its address."""
    log = tmp_path_factory.mktemp("api") / "log"
    with serve(log, {"DERMLENS_MODELS": str(pair), "DERMLENS_API": "1"}) as address:
        yield address


def test_the_dashboards_server_answers_programs_and_people(beside: str, lesion: np.ndarray) -> None:
    answer = requests.post(beside + POST, data=encode(lesion), timeout=60)
    assert answer.status_code == 200
    assert {m["id"] for m in answer.json()["models"]} == {"toy", "toy2"}
    assert answer.headers["x-content-type-options"] == "nosniff"
    with Visitor(beside, "predict") as visitor:
        visitor.upload({"lesion.png": encode(lesion)})
        assert [name for name, _ in visitor.answer()]
    assert requests.get(f"{beside}/readyz", timeout=60).json() == {"status": "ok"}


def test_it_keeps_to_its_addresses(beside: str) -> None:
    assert requests.get(f"{beside}/_stcore/health", timeout=60).text == "ok"
    assert "<html" in requests.get(f"{beside}/metrics_of_mine", timeout=60).text
    page = {"accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
    assert "<html" in requests.get(f"{beside}/metrics", headers=page, timeout=60).text, "the page of this address"
    prometheus = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"}
    assert "dermlens_waiting" in requests.get(f"{beside}/metrics", headers=prometheus, timeout=60).text
    forwarded = requests.get(f"{beside}/api/v1/models", headers={"x-forwarded-for": "10.0.0.1"}, timeout=60)
    assert forwarded.status_code == 403
    assert requests.get(f"{beside}/api/v1/models", headers={"host": "evil.example"}, timeout=60).status_code == 400


def test_it_is_closed_unless_it_is_opened(pair: Path, tmp_path: Path, lesion: np.ndarray) -> None:
    with serve(tmp_path / "log", {"DERMLENS_MODELS": str(pair), "DERMLENS_API": ""}) as address:
        assert requests.post(address + POST, data=encode(lesion), timeout=60).status_code in (403, 404, 405)
        assert "toy" not in requests.get(f"{address}/api/v1/models", timeout=60).text


def test_with_sign_in_it_takes_tokens(pair: Path, tmp_path: Path) -> None:
    with provide() as provider:
        settings = with_sign_in(tmp_path, provider)
        with serve(tmp_path / "log", {"DERMLENS_MODELS": str(pair), **settings}) as address:
            without = requests.get(f"{address}/api/v1/models", timeout=60)
            assert without.status_code == 401
            now = int(time.time())
            claims = {"iss": provider.address, "aud": "programs", "sub": "ada", "exp": now + 600}
            token = jwt.encode({"alg": "RS256", "kid": "1"}, claims, provider.signing)
            bearer = {"authorization": f"Bearer {token}"}
            assert len(requests.get(f"{address}/api/v1/models", headers=bearer, timeout=60).json()) == 3
            assert requests.get(f"{address}/healthz", timeout=60).status_code == 200
            assert requests.get(f"{address}/metrics", timeout=60).status_code == 401


def with_sign_in(folder: Path, provider: Provider) -> dict[str, str]:
    """Return the settings of a server with sign-in and the API."""
    secrets = folder / "secrets.toml"
    secrets.write_text(
        f'[auth]\nredirect_uri = "http://localhost/oauth2callback"\ncookie_secret = "{"only for tests " * 3}"\n'
        f'client_id = "{CLIENT}"\nclient_secret = "{SECRET}"\n'
        f'server_metadata_url = "{provider.address}/.well-known/openid-configuration"\n'
    )
    return {"STREAMLIT_SECRETS_FILES": str(secrets), "DERMLENS_API": "1", "DERMLENS_API_AUDIENCE": "programs"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"STREAMLIT_SERVER_ALLOWED_HOSTS": "dermlens.example.org"}, "serves this machine alone"),
        ({"STREAMLIT_SERVER_ADDRESS": "0.0.0.0"}, "would listen on 0.0.0.0"),
        ({"DERMLENS_API": "yes"}, "DERMLENS_API must be 1"),
    ],
)
def test_a_dashboard_that_would_open_it_to_strangers_does_not_start(
    pair: Path, tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    wanted = {"DERMLENS_MODELS": str(pair), "DERMLENS_API": "1", **settings}
    with pytest.raises(RuntimeError, match=said) as refused, serve(tmp_path / "log", wanted):
        pass
    assert "Traceback" not in str(refused.value)


def test_alone_it_answers_the_same(
    beside: str, pair: Path, lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERMLENS_MODELS", str(pair))
    port = free_port()
    command = [sys.executable, "-m", "dermlens.api", "serve", "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT) as server:
        try:
            alone = ask_when_up(f"http://localhost:{port}{POST}", encode(lesion))
        finally:
            server.terminate()
    together = requests.post(beside + POST, data=encode(lesion), timeout=60).json()
    for found in (alone, together):
        found["models"].sort(key=lambda m: m["id"])
        for model in found["models"]:
            del model["milliseconds"]
    assert alone == together


def ask_when_up(address: str, body: bytes) -> dict:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return requests.post(address, data=body, timeout=60).json()
        except requests.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_alone_it_does_not_listen_to_the_network_without_sign_in(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dermlens.api", "serve", "--host", "0.0.0.0"]
    found = subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True, timeout=120
    )
    assert found.returncode == 2
    assert found.stderr.splitlines()[-1].startswith("Not started: The API without sign-in serves this machine alone")


def test_score_by_a_server_writes_what_score_with_the_model_writes(beside: str, pair: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    (images / "below").mkdir(parents=True)
    for i, name in enumerate(("b.png", "below/a.png", "c.png")):
        (images / name).write_bytes(encode(draw_lesion(np.random.default_rng(i), 60, 80)))
    (images / "d.png").write_bytes(b"no image")
    given = ["--model", "toy", "--input", str(images)]
    assert score.main([*given, "--output", str(tmp_path / "here.csv"), "--models-dir", str(pair)]) == 3
    assert score.main([*given, "--output", str(tmp_path / "there.csv"), "--server", beside]) == 3
    for part in ("", ".errors"):
        here, there = (tmp_path / f"{name}{part}.csv" for name in ("here", "there"))
        assert here.read_bytes() == there.read_bytes()
    assert sorted(p.name for p in tmp_path.glob("there*")) == ["there.csv", "there.errors.csv"]
