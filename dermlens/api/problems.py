"""Errors of the API as RFC 9457 has them: application/problem+json, with the sentence that a person would read."""

from collections.abc import Callable
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from dermlens.errors import BusyError, ConfigError, DermlensError, ImageError, ModelError

MEDIA_TYPE = "application/problem+json"
NOT_AN_IMAGE = 422
TOO_LARGE = 413
BUSY = 429
_STATUS: dict[type[DermlensError], int] = {ImageError: NOT_AN_IMAGE, BusyError: BUSY, ConfigError: 422, ModelError: 404}


class Problem(BaseModel):
    """What went wrong."""

    type: str = Field(description="A URN that names the kind of problem.", examples=["urn:dermlens:image"])
    title: str = Field(description="The kind of problem in a few words; the same for every problem of its type.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What was wrong, what was received and what to do.")


class Refusal(Exception):
    """Ends a request with a problem."""

    def __init__(self, status: int, kind: str, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail, self.headers = status, kind, detail, headers or {}


TITLES = {
    "image": "The file is not an image that can be read",
    "too-large": "The file is too large",
    "slow": "The file did not arrive in time",
    "busy": "The server is busy",
    "model": "There is no such model",
    "setting": "A parameter cannot be used",
    "token": "A valid access token is needed",
    "forbidden": "This door is closed to this request",
    "not-found": "There is nothing at this address",
    "method": "This address does not answer to that method",
    "not-ready": "The server cannot answer yet",
    "failed": "The server failed",
}
"""Kind of problem -> its title."""
_KINDS: dict[type[DermlensError], str] = {
    ImageError: "image",
    BusyError: "busy",
    ConfigError: "setting",
    ModelError: "model",
}


def response(status: int, kind: str, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return a problem as an answer; `kind` is a key of TITLES."""
    body = Problem(type=f"urn:dermlens:{kind}", title=TITLES[kind], status=status, detail=detail)
    return JSONResponse(body.model_dump(), status, {**(headers or {}), "cache-control": "no-store"}, MEDIA_TYPE)


def documented(*statuses: int) -> dict[int | str, dict[str, object]]:
    """Return what an operation's OpenAPI says of the problems that it may answer with, 500 among them."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    each = sorted({*statuses, 500})
    return {status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: schema}} for status in each}


def handle(app: FastAPI, retry_after: Callable[[], int]) -> None:
    """Have every error of an app answered as a problem, and its OpenAPI say so.

    Args:
        retry_after: gives the seconds after which a request that found the server busy may be tried again.
    """

    @app.exception_handler(Refusal)
    async def _refused(_: Request, error: Refusal) -> JSONResponse:
        return response(error.status, error.kind, error.detail, error.headers)

    @app.exception_handler(DermlensError)
    async def _known(_: Request, error: DermlensError) -> JSONResponse:
        status = _STATUS.get(type(error), 500)
        headers = {"retry-after": str(retry_after())} if status == BUSY else {}
        return response(status, _KINDS.get(type(error), "failed"), str(error), headers)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        said = "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
        return response(422, "setting", f"{said[:500]}.")

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> JSONResponse:
        kind = "method" if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED else "not-found"
        return response(error.status_code, kind, f"{error.detail}. See docs/api.md.", dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def _unforeseen(_: Request, error: Exception) -> JSONResponse:
        return response(500, "failed", "This was not foreseen. The server's log has the details.")

    written = app.openapi

    def described() -> dict:
        schemas = written()["components"]["schemas"]
        schemas["Problem"] = Problem.model_json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        return written()

    app.openapi = described  # type: ignore[method-assign]
