"""The headers that the server sends with every answer, and the requests it refuses, around Streamlit's own checks."""

import asyncio
import base64
import hashlib
from collections.abc import Iterable
from urllib.parse import urlsplit

import streamlit as st
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from dermlens.ingest.formats import LIMITS as FILE
from dermlens.server.connections import PEER
from dermlens.server.limits import LIMITS
from dermlens.server.paces import Paces
from ui import leaving, streamlit_internals
from ui.access import api, pages, sign_in, steps, uploads
from ui.access.pages import CONNECTIONS
from ui.access.sign_in import may_fetch
from ui.access.uploads import say
from ui.access.visitors import OWNERS, VISITOR, Visitor, limited_by, trusted_proxies, visitor_of
from ui.streamlit_internals import FOR_MACHINES, SIGN_OUT, UPLOADS, is_cookie_of_user, is_media, media_id

PACES = Paces()
"""Of the HTTP requests of this server."""


def middleware() -> list[Middleware]:
    """Return the layers around Streamlit's server, outermost first."""
    streamlit_internals.keep_uploads_in_memory(FILE.bytes + 2**20)
    hosts = st.get_option("server.allowedHosts") or ["*"]
    return [
        Middleware(Peer),
        Middleware(ProxyHeadersMiddleware, trusted_hosts=trusted_proxies()),
        Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
        Middleware(Shield),
        *api.layers(),
    ]


def headers() -> dict[str, str]:
    """Return the headers of every answer: nothing is loaded from, sent to or framed by another host."""
    scripts = " ".join(
        f"'sha256-{_digest(script)}'"
        for script in (*streamlit_internals.inline_scripts(), leaving.SCRIPT, steps.SCRIPT)
    )
    policy = {
        "default-src": "'none'",
        "script-src": f"'self' {scripts}",
        "style-src": "'self' 'unsafe-inline'",  # Streamlit and Plotly style their elements from scripts
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": "'self'",
        "worker-src": "'self' blob:",
        "manifest-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "same-origin",
        "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


class Peer:
    """An ASGI layer that notes who is connected, before a proxy is asked whom it speaks for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or connection."""
        scope[PEER] = scope.get("client")
        await self._app(scope, receive, send)


class Shield:
    """An ASGI layer that adds the headers and refuses what is closed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._headers = {name.encode(): value.encode() for name, value in headers().items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        visitor = scope[VISITOR] = visitor_of(scope)
        if not visitor.may_stay() and scope["path"] != SIGN_OUT:
            scope["headers"] = _without_sign_in(scope["headers"])
            visitor.sign_in = None
        if scope["type"] == "http":
            CONNECTIONS.ask(visitor.peer)
            try:
                if address := limited_by(visitor):
                    await asyncio.sleep(PACES.wait(address))
                await self._answer(visitor, scope, receive, send)
            except ClientDisconnect:  # who asked has left
                pass
            finally:
                CONNECTIONS.answer(visitor.peer)
        elif _same_origin(scope):
            await pages.serve(self._app, visitor, scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, visitor: Visitor, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope["path"])
        ours = dict(self._headers)
        if is_media(path):  # pictures of a case must not outlive it in the browser's cache on the disk
            ours[b"cache-control"] = b"private, no-store"

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                theirs = [(name, value) for name, value in message.get("headers", []) if name.lower() not in ours]
                message["headers"] = [*theirs, *ours.items()]
                if message["status"] >= 400 and _body(scope) > _read_anyway(message["status"]):
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        if any(closed in path for closed in FOR_MACHINES):  # the dashboard does not need them
            await say(guarded, 404, "Not found")
        elif path == SIGN_OUT and Headers(scope=scope).get("sec-fetch-site") == "cross-site":
            await say(guarded, 403, "A link of another site does not sign you out. Use the button on the page.")
        elif (UPLOADS in path or is_media(path)) and not may_fetch(visitor.sign_in):
            await say(guarded, 403, "Sign in first.")
        elif UPLOADS in path and scope["method"] in ("PUT", "DELETE"):
            await uploads.take(self._app, visitor, scope, receive, guarded)
        elif is_media(path) and not OWNERS.may_see(visitor, media_id(path)):
            await say(guarded, 403, "No page of yours shows this.")
        else:
            if path == SIGN_OUT and visitor.sign_in:
                sign_in.end(visitor.sign_in)
            await self._app(scope, receive, guarded)


def _body(scope: Scope) -> float:
    """Return the bytes of a request's body, as it says; without end where it does not say."""
    headers = Headers(scope=scope)
    if headers.get("transfer-encoding"):
        return float("inf")
    length = headers.get("content-length", "")
    return int(length) if length.isdigit() else 0


def _read_anyway(status: int) -> int:
    """Return how many bytes of a body are read although it is refused: a browser sees no answer before it has sent."""
    return FILE.bytes + LIMITS.body_refused if status in (413, 503) else LIMITS.body_refused


def _without_sign_in(found: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return headers without the cookies of a sign-in that does not count any more."""
    kept = []
    for name, value in found:
        if name.lower() == b"cookie":
            parts = [part.strip() for part in value.decode("latin-1").split(";")]
            value = "; ".join(p for p in parts if not is_cookie_of_user(p.partition("=")[0].strip())).encode("latin-1")
        kept.append((name, value))
    return kept


def _same_origin(scope: Scope) -> bool:
    """Whether a connection comes from a page of this server, of a named other one, or from no page at all."""
    found = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    origin = found.get(b"origin")
    if origin is None or origin in st.get_option("server.corsAllowedOrigins"):
        return True
    return urlsplit(origin).netloc == found.get(b"host")
