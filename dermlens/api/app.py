"""The HTTP door for programs: the same models, sandbox, waiting line and limits as the dashboard's."""

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Annotated, TypeVar

import numpy as np
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from dermlens.api import answer, problems, schema
from dermlens.api.access import Guard
from dermlens.api.forgetting import Forgetting
from dermlens.api.monitoring import CONTENT_TYPE, Counted, Monitoring
from dermlens.api.problems import BUSY, NOT_AN_IMAGE, TOO_LARGE, Refusal, documented
from dermlens.case.image import examine
from dermlens.case.opinion import form
from dermlens.errors import ConfigError, ModelError
from dermlens.evaluation.class_mix import AT, EQUAL, EVEN, HAM10000
from dermlens.files.documents import read_object, shortened
from dermlens.ingest.formats import LIMITS, LISTED
from dermlens.models import registry
from dermlens.models.model import AnyModel, Ensemble, for_diagnosis
from dermlens.server.connections import PEER
from dermlens.server.limiter import IMAGES, Limiter
from dermlens.server.limits import LIMITS as SHARED
from dermlens.server.memory import give_back
from dermlens.server.shares import VISITS, Shares, Who

T = TypeVar("T")
Loaded = Callable[[], Sequence[AnyModel]]
"""Gives the models that can be asked, loaded and in the order they are shown."""

AS_IS = schema.StoredAspect("as-is")
BODY_SECONDS = 60.0
"""Longest that the bytes of an image may take to arrive."""
CLOSED = (499, "failed", "The connection was closed.")
"""The refusal of whoever has left."""
BELOW = "/api/"
"""What the paths of the API begin with."""
BESIDE = ("/healthz", "/readyz", "/metrics")
"""Its other paths."""


class Left(Exception):
    """Who asked has closed the connection."""


def create(models: Loaded, guard: Guard, line: Limiter = IMAGES, files: Shares = VISITS.files) -> FastAPI:
    """Return the API as an ASGI app.

    Args:
        models: gives the models; called for each request.
        guard: who may ask; called before a body is read.
        line: the waiting line that images take their turn in. files: the room for files, shared with the dashboard.
    """
    app = FastAPI(
        title="Dermlens",
        version="1",
        description="Decision support for research on dermoscopic images; not a diagnosis and not a medical device.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    monitoring = Monitoring(line)
    pool = ThreadPoolExecutor(SHARED.line_total, thread_name_prefix="api")
    forgetting = Forgetting(line, pool)
    asked_by = _who(guard)
    problems.handle(app, retry_after=lambda: _seconds_to_wait(line))
    app.add_middleware(Counted, monitoring=monitoring)

    @app.post(
        "/api/v1/predictions",
        operation_id="predict",
        summary="Ask models about one image",
        response_model=schema.Prediction,
        responses=documented(401, 403, 404, 408, TOO_LARGE, NOT_AN_IMAGE, BUSY, 503),
        openapi_extra={
            "requestBody": {
                "required": True,
                "description": f"The bytes of the file: {LISTED}, at most {LIMITS.bytes // 2**20} MiB.",
                "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            }
        },
    )
    async def predict(
        request: Request,
        who: Annotated[str, Depends(asked_by)],
        model: Annotated[list[str], Query(description="Ids of models; those for diagnosis if none is given.")] = [],  # noqa: B006
        stored_aspect: Annotated[
            schema.StoredAspect, Query(description="Width:height before the picture was squeezed to a square.")
        ] = AS_IS,
        class_mix: Annotated[
            schema.ClassMix, Query(description="How frequent the diagnoses are taken to be.")
        ] = "ham10000",
        maps: Annotated[list[schema.Code], Query(description="Diagnoses whose heat maps are wanted.")] = [],  # noqa: B006
    ) -> schema.Prediction:
        visitor = Who(f"api {who}", who)
        with _room(files, visitor) as take:
            data = await _body(request, take)
            started = time.monotonic()
            left = threading.Event()
            wanted = sorted({str(code) for code in maps})

            def work() -> schema.Prediction:
                turn = line.turn(partial(_still_there, left), who=visitor)
                return _answer(data, _chosen(models(), model), str(stored_aspect), class_mix, wanted, turn)

            try:
                found = await _unless_left(request, pool, work, left)
            finally:
                forgetting.soon()
            monitoring.seconds.observe(time.monotonic() - started)
            for said in found.models:
                if said.unlike:
                    monitoring.unlike.labels(said.id).inc()
            return found

    @app.get(
        "/api/v1/models",
        operation_id="models",
        summary="List the models",
        responses=documented(401, 403, 503),
        dependencies=[Depends(asked_by)],
    )
    def listed() -> list[schema.ModelEntry]:
        ready = {m.id: m for m in models()}
        return [_entry(entry, ready.get(entry.id)) for entry in registry.discover(registry.models_dir())]

    @app.get(
        "/api/v1/models/{model_id}/card",
        operation_id="card",
        summary="A model's card: what it is, how it was trained, and what it was measured to do",
        response_class=JSONResponse,
        responses=documented(401, 403, 404, 422, 503),
        dependencies=[Depends(asked_by)],
    )
    def card(model_id: str) -> dict:
        entries = {entry.id: entry for entry in registry.discover(registry.models_dir())}
        if model_id not in entries:
            raise _unknown(model_id, entries)
        return read_object(entries[model_id].folder / "card.json", ModelError)

    @app.get("/healthz", operation_id="healthz", summary="Whether the server is alive", responses=documented())
    async def healthz() -> schema.Status:
        return schema.Status(status="ok")

    @app.get("/readyz", operation_id="readyz", summary="Whether it can answer", responses=documented(503))
    def readyz() -> schema.Status:
        if not models():
            raise Refusal(503, "not-ready", "No model can be asked. The server's log and the page Home say why.")
        return schema.Status(status="ok")

    @app.get(
        "/metrics",
        operation_id="metrics",
        summary="Counts and times in the format of Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **documented(401, 403, 503)},
        dependencies=[Depends(asked_by)],
    )
    def metrics() -> Response:
        return Response(monitoring.text(), media_type=CONTENT_TYPE)

    return app


@contextmanager
def _room(files: Shares, visitor: Who) -> Iterator[Callable[[int], None]]:
    """Give what takes room for bytes as they come, until the block ends; it raises Refusal where there is none."""
    taken = 0

    def take(amount: int) -> None:
        nonlocal taken
        if refusal := files.take(visitor, amount):
            whose = "Your other requests hold" if refusal == "own" else "Others hold"
            said = f"{whose} as much as the server has room for. Send this one again later."
            raise Refusal(BUSY, "busy", said, {"retry-after": "1"})
        taken += amount

    try:
        yield take
    finally:
        files.give(visitor.session, taken)


def _still_there(left: threading.Event, _: int) -> None:
    """Raise Left once nobody waits for the answer any more."""
    if left.is_set():
        raise Left


def _who(guard: Guard) -> Callable[[Request], str]:
    def who(request: Request) -> str:
        peer = request.scope.get(PEER, request.client)
        return guard(request.headers, None if peer is None else str(peer[0]))

    return who


async def _body(request: Request, take: Callable[[int], None]) -> bytes:
    """Return the bytes of a request, each counted by `take`; raises Refusal if they are too many or too slow."""
    too_large = Refusal(TOO_LARGE, "too-large", f"At most {LIMITS.bytes // 2**20} MiB are read. Send a smaller file.")
    claimed = request.headers.get("content-length", "")
    if claimed.isdecimal() and int(claimed) > LIMITS.bytes:
        raise too_large
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                take(len(chunk))
                data += chunk
                if len(data) > LIMITS.bytes:
                    raise too_large
    except TimeoutError:
        said = f"The file did not arrive within {BODY_SECONDS:.0f} seconds. Send it over a faster connection."
        raise Refusal(408, "slow", said) from None
    except ClientDisconnect:
        raise Refusal(*CLOSED) from None
    return bytes(data)


async def _unless_left(request: Request, pool: ThreadPoolExecutor, work: Callable[[], T], left: threading.Event) -> T:
    """Return what a thread of the pool works out; where who asked leaves first, its place in the line is given up."""
    working = asyncio.get_running_loop().run_in_executor(pool, work)
    leaving = asyncio.create_task(_disconnected(request.receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            left.set()
        return await working
    except Left:
        raise Refusal(*CLOSED) from None
    finally:
        leaving.cancel()


async def _disconnected(receive: Callable[[], Awaitable]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _answer(
    data: bytes,
    models: Sequence[AnyModel],
    stored_aspect: str,
    class_mix: schema.ClassMix,
    maps: Sequence[str],
    turn: AbstractContextManager[None],
) -> schema.Prediction:
    raw = [m.id for m in models if m.fitted.calibration is None]
    if class_mix != HAM10000 and raw:
        raise ConfigError(f"{raw[0]} is not calibrated, so it cannot be re-weighted for another class mix.")
    members = [m for model in models if isinstance(model, Ensemble) for m in model.members]
    everyone = list({m.id: m for m in (*models, *members)}.values())
    with turn:
        image = examine(data, "", everyone, stored_aspect=stored_aspect)
    opinion = form(everyone, image.answers).among(models)
    if class_mix == EQUAL:
        opinion = opinion.at_mix(np.array(EVEN), AT[EQUAL])
    found = answer.prediction(image, opinion, class_mix, maps)
    del image, opinion
    give_back()
    return found


def _chosen(models: Sequence[AnyModel], wanted: Sequence[str]) -> list[AnyModel]:
    ready = {m.id for m in models}
    unknown = [name for name in wanted if name not in ready]
    if unknown:
        raise _unknown(unknown[0], sorted(ready))
    if not models:
        raise Refusal(503, "not-ready", "No model can be asked. The server's log and the page Home say why.")
    return [m for m in models if m.id in wanted] if wanted else for_diagnosis(models) or list(models)


def _unknown(name: str, known: Iterable[str]) -> ModelError:
    return ModelError(f"There is no model {shortened(name)!r}. Models here: {', '.join(known) or 'none'}.")


def _entry(entry: registry.Entry, loaded: AnyModel | None) -> schema.ModelEntry:
    return schema.ModelEntry(
        id=entry.id,
        name=entry.name,
        sha256=loaded.identity if loaded else None,
        members=list((entry.card or {}).get("members", {})) if entry.is_ensemble else [],
        ready=loaded is not None,
        problem=None if loaded else entry.problem or "It has no weights, or they cannot be used.",
    )


def _seconds_to_wait(line: Limiter) -> int:
    """Return when a request that was sent away may be tried again: about a second for each that is before it."""
    return max(1, math.ceil(sum(line.length()) / line.at_once))
