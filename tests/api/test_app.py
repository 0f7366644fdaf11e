"""What programs get: the numbers of the library, problems with the product's sentences, the same answer twice."""

import asyncio
import base64
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient

from dermlens.api import app as door
from dermlens.api import forgetting
from dermlens.api.app import create
from dermlens.case.predict import predict
from dermlens.errors import BusyError
from dermlens.explain.grad_cam import heat_on_image
from dermlens.ingest.formats import LIMITS
from dermlens.labels import CLASSES, SUSPECT
from dermlens.models.engine import forget_images
from dermlens.models.model import AnyModel, Model
from dermlens.server.limiter import IMAGES, Limiter
from dermlens.server.shares import Shares, Who
from tests.api.conftest import anyone
from tests.conftest import encode, finish

POST = "/api/v1/predictions"


def problem(answer) -> dict:
    """Return an answer that is a problem, whatever its status."""
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert found["status"] == answer.status_code
    assert found["type"].startswith("urn:dermlens:")
    return found


def test_the_numbers_are_those_of_the_library(client: TestClient, toys: list[AnyModel], lesion: np.ndarray) -> None:
    found = client.post(POST, content=encode(lesion)).json()
    assert (found["image"]["height"], found["image"]["width"]) == lesion.shape[:2]
    assert [m["id"] for m in found["models"]] == [m.id for m in toys]
    for said, model in zip(found["models"], toys, strict=True):
        own = predict(model, lesion)
        assert [said["probabilities"][c] for c in CLASSES] == pytest.approx(own.probabilities.tolist(), abs=1e-6)
        assert [said["logits"][c] for c in CLASSES] == pytest.approx(own.logits.tolist(), abs=1e-6)
        assert said["call"] == CLASSES[int(own.probabilities.argmax())]
        assert said["suspect_probability"] == pytest.approx(own.probabilities[list(SUSPECT)].sum(), abs=1e-6)
        assert said["sha256"] == model.identity


def test_what_is_refused_rules_nothing_out(
    client: TestClient, lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dermlens.case.ood_gate.accepted", lambda models, answers: {"toy": False})
    found = client.post(POST, params={"model": "toy", "maps": "mel"}, content=encode(lesion)).json()
    (said,) = found["models"]
    assert found["withheld"]
    assert said["call"] is None
    assert said["prediction_set"] is None
    assert said["operating_points"] == []
    assert said["maps"] == {}
    assert said["probabilities"].keys() == set(CLASSES), "as in the table of a program"


def test_a_map_is_grad_cam_over_the_whole_image(client: TestClient, toys: list[AnyModel], lesion: np.ndarray) -> None:
    found = client.post(POST, params={"model": "toy", "maps": "mel"}, content=encode(lesion)).json()
    (said,) = found["models"]
    png = np.frombuffer(base64.b64decode(said["maps"]["mel"]), np.uint8)
    own = heat_on_image(predict(toys[0], lesion).maps[CLASSES.index("mel")], *lesion.shape[:2], toys[0].geometry)
    assert list(said["maps"]) == ["mel"]
    assert cv2.imdecode(png, cv2.IMREAD_UNCHANGED).tolist() == np.rint(255 * own).tolist()


def test_equal_requests_have_equal_answers_but_for_the_time(client: TestClient, lesion: np.ndarray) -> None:
    both = [client.post(POST, params={"maps": "nv"}, content=encode(lesion)).json() for _ in range(2)]
    for found in both:
        for model in found["models"]:
            assert model.pop("milliseconds") > 0
    assert both[0] == both[1]


def test_a_squeezed_picture_is_stretched(client: TestClient, lesion: np.ndarray) -> None:
    square = cv2.resize(lesion, (90, 90))
    found = client.post(POST, params={"stored_aspect": "4:3"}, content=encode(square)).json()
    assert (found["image"]["height"], found["image"]["width"]) == (90, 120)


@pytest.mark.parametrize("body", [b"", b"not an image", b"%PDF-1.7", b"\xff\xd8\xff broken"])
def test_what_is_no_image_is_a_problem_with_the_sentence_of_the_page(client: TestClient, body: bytes) -> None:
    answer = client.post(POST, content=body)
    assert answer.status_code == 422
    assert "image" in problem(answer)["title"]
    assert len(problem(answer)["detail"]) > 20


def test_a_file_over_the_limit_is_refused_by_its_claim_and_by_its_bytes(client: TestClient) -> None:
    claimed = client.post(POST, content=b"x", headers={"content-length": str(LIMITS.bytes + 1)})

    def sent() -> object:
        for _ in range(51):
            yield bytes(2**20)

    for answer in (claimed, client.post(POST, content=sent())):
        assert answer.status_code == 413
        assert "50 MiB" in problem(answer)["detail"]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"model": "nix"}, "There is no model 'nix'. Models here: toy, toy2."),
        ({"class_mix": "mine"}, "class_mix"),
        ({"maps": "melanoma"}, "maps"),
        ({"stored_aspect": "9:5"}, "stored_aspect"),
        ({"class_mix": "equal", "model": "toy"}, "not calibrated"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_named(
    client: TestClient, lesion: np.ndarray, params: dict, said: str
) -> None:
    answer = client.post(POST, params=params, content=encode(lesion))
    assert answer.status_code in (404, 422)
    assert said in problem(answer)["detail"]


def test_unknown_addresses_and_methods_are_problems_too(client: TestClient) -> None:
    assert problem(client.get("/api/v1/nothing"))["status"] == 404
    assert problem(client.delete("/api/v1/models"))["status"] == 405


def test_models_are_listed_with_those_that_cannot_be_asked(client: TestClient) -> None:
    found = {m["id"]: m for m in client.get("/api/v1/models").json()}
    assert {name: m["ready"] for name, m in found.items()} == {"toy": True, "toy2": True, "external": False}
    assert found["external"]["problem"]


def test_a_card_is_the_file(client: TestClient, pair: Path) -> None:
    assert client.get("/api/v1/models/toy/card").text
    assert client.get("/api/v1/models/toy/card").json()["id"] == "toy"
    outside = client.get("/api/v1/models/..%2F..%2Fetc/card")
    assert outside.status_code == 404
    assert str(pair) not in client.get("/api/v1/models/nix/card").text


def test_a_server_without_models_is_alive_but_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path))
    client = TestClient(create(lambda: [], anyone), base_url="http://localhost")
    assert client.get("/healthz").status_code == 200
    assert problem(client.get("/readyz"))["status"] == 503
    assert problem(client.post(POST, content=b"x"))["status"] == 503


def test_a_full_line_says_when_to_come_back(
    toys: list[AnyModel], lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Limiter(at_once=1, waiting=0)
    client = TestClient(create(lambda: toys, anyone, full), base_url="http://localhost")
    with full.turn():
        answer = client.post(POST, content=encode(lesion))
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) == 1
    assert "busy" in problem(answer)["title"]
    assert client.post(POST, content=encode(lesion)).status_code == 200, "the place was given back"


def test_one_person_has_a_share_of_the_line_and_not_all_of_it(toys: list[AnyModel], lesion: np.ndarray) -> None:
    line = Limiter(at_once=1, waiting=40, shares=Shares(42, 2, 4, 8))
    client = TestClient(create(lambda: toys, lambda headers, _: headers["x-person"], line), base_url="http://localhost")
    tried = ["ada"] * 4 + ["bob"]
    busy = threading.Barrier(3)

    def ask(person: str) -> int:
        answer = client.post(POST, content=encode(lesion), headers={"x-person": person})
        if answer.status_code == 429:
            assert "You have 2 images in the line already" in problem(answer)["detail"]
            busy.wait(60)
        return answer.status_code

    with ThreadPoolExecutor(8) as pool, line.turn():
        asked = [pool.submit(ask, person) for person in tried]
        busy.wait(60)  # two of Ada's four were sent away while the two others wait
    assert sorted(f.result() for f in asked) == [200] * 3 + [429] * 2


def test_bytes_count_as_they_come_and_are_given_back(toys: list[AnyModel], lesion: np.ndarray) -> None:
    files = Shares(4_000_000, 1_000_000, 1_000_000, 1_000_000)
    client = TestClient(create(lambda: toys, anyone, files=files), base_url="http://localhost")
    too_much = client.post(POST, content=iter([bytes(600_000), bytes(600_000)]))
    assert too_much.status_code == 429
    assert "Your other requests hold" in problem(too_much)["detail"]
    assert files.held() == 0
    files.take(Who("another"), 1_000_000)
    files.take(Who("a third"), 1_000_000)
    files.take(Who("a fourth"), 1_000_000)
    assert "Others hold" in problem(client.post(POST, content=bytes(600_000)))["detail"]
    assert client.post(POST, content=encode(lesion)).status_code == 200
    assert files.held() == 3_000_000


def test_who_has_left_waits_no_longer(toys: list[AnyModel], lesion: np.ndarray) -> None:
    line = Limiter(at_once=1, waiting=1)
    api = create(lambda: toys, anyone, line)
    body = encode(lesion)

    async def leave() -> list[dict]:
        sent: list[dict] = []
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> dict:
            message = next(messages, None)
            if message is None:
                while line.length()[1] == 0:
                    await asyncio.sleep(0)
                return {"type": "http.disconnect"}
            return message

        async def send(message: dict) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": POST,
            "raw_path": POST.encode(),
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
            "http_version": "1.1",
            "scheme": "http",
            "server": ("localhost", 80),
            "client": ("127.0.0.1", 1),
            "root_path": "",
        }
        await api(scope, receive, send)
        return sent

    with line.turn():
        finish(leave())
        assert line.length() == (1, 0)


def test_prometheus_reads_what_was_answered(client: TestClient, lesion: np.ndarray) -> None:
    client.post(POST, content=encode(lesion))
    client.post(POST, content=b"no")
    client.get("/api/v1/secret-of-somebody")
    text = client.get("/metrics").text
    assert 'dermlens_requests_total{operation="predict",status="200"} 1.0' in text
    assert 'dermlens_requests_total{operation="predict",status="422"} 1.0' in text
    assert 'dermlens_requests_total{operation="none",status="404"} 1.0' in text
    assert "dermlens_prediction_seconds_count 1.0" in text
    assert "dermlens_waiting 0.0" in text
    assert "secret" not in text


def test_the_networks_forget_the_image_once_nobody_is_answered(
    client: TestClient, toys: list[AnyModel], lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten = threading.Event()

    def forget() -> None:
        forget_images()
        forgotten.set()

    monkeypatch.setattr(forgetting, "forget_images", forget)
    monkeypatch.setattr(forgetting, "SECONDS", 0.01)
    with IMAGES.turn():  # somebody else's
        assert client.post(POST, content=encode(lesion)).status_code == 200
        assert any(model.engine.holds_images for model in toys if isinstance(model, Model))
        assert not forgotten.is_set()
    assert forgotten.wait(60)
    assert not any(model.engine.holds_images for model in toys if isinstance(model, Model))


def test_a_slow_body_is_ended(toys: list[AnyModel], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "BODY_SECONDS", 0.01)
    api = create(lambda: toys, anyone)

    async def dribble() -> list[dict]:
        sent: list[dict] = []

        async def receive() -> dict:
            await asyncio.sleep(0.001)
            return {"type": "http.request", "body": b"x", "more_body": True}

        async def send(message: dict) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": POST, "query_string": b"", "root_path": ""}
        await api({**scope, "headers": [(b"host", b"localhost")], "http_version": "1.1"}, receive, send)
        return sent

    start, body = finish(dribble())
    assert start["status"] == 408
    assert json.loads(body["body"])["type"] == "urn:dermlens:slow", "not the picture's fault: it is asked again"


def test_who_leaves_in_the_middle_of_a_file_is_no_failure_of_the_server(toys: list[AnyModel]) -> None:
    api = create(lambda: toys, anyone)

    async def leave() -> list[dict]:
        sent: list[dict] = []
        first = {"type": "http.request", "body": b"x", "more_body": True}
        messages = iter([first, {"type": "http.disconnect"}])

        async def receive() -> dict:
            return next(messages)

        async def send(message: dict) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": POST, "query_string": b"", "root_path": ""}
        await api({**scope, "headers": [(b"host", b"localhost")], "http_version": "1.1"}, receive, send)
        return sent

    assert finish(leave())[0]["status"] == 499


def test_an_unforeseen_failure_says_nothing_of_itself(
    toys: list[AnyModel], lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Callable:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(door, "examine", fail)
    client = TestClient(create(lambda: toys, anyone), base_url="http://localhost", raise_server_exceptions=False)
    answer = client.post(POST, content=encode(lesion))
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert 'dermlens_requests_total{operation="predict",status="500"} 1.0' in client.get("/metrics").text
    monkeypatch.setattr(door, "examine", lambda *_, **__: (_ for _ in ()).throw(BusyError("Full.")))
    assert client.post(POST, content=encode(lesion)).status_code == 429
