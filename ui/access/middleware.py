"""The headers that the server sends with every answer, and the requests it refuses, around Streamlit's own checks."""

import asyncio
import base64
import hashlib
import time
from urllib.parse import urlsplit

import streamlit as st
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dermlens.ingest.formats import LIMITS
from ui import leaving, streamlit_internals
from ui.access.sign_in import may_fetch
from ui.streamlit_internals import AFFECTS_OTHERS, FOR_MACHINES, MEDIA, UPLOADS

MAX_UPLOADED = 2**30
"""Most bytes of uploads that the server takes and holds for all sessions before their scripts have them."""
UPLOAD_WAITS = 60.0
"""Seconds that one more upload waits for room, before it is refused."""


def middleware() -> list[Middleware]:
    """Return the layers around Streamlit's server, outermost first."""
    streamlit_internals.keep_uploads_in_memory(LIMITS.bytes + 2**20)
    hosts = st.get_option("server.allowedHosts") or ["*"]
    return [Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False), Middleware(Shield)]


def headers() -> dict[str, str]:
    """Return the headers of every answer: nothing is loaded from, sent to or framed by another host."""
    scripts = " ".join(
        f"'sha256-{_digest(script)}'" for script in (*streamlit_internals.inline_scripts(), leaving.SCRIPT)
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


class Shield:
    """An ASGI layer that adds the headers and refuses what is closed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._coming = 0
        """bytes of uploads that are being taken"""
        self._headers = {name.encode(): value.encode() for name, value in headers().items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or connection."""
        if scope["type"] == "websocket" and not _same_origin(scope):
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "websocket":
            await self._app(scope, _without(AFFECTS_OTHERS, receive), send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = str(scope["path"])
        ours = dict(self._headers)
        if MEDIA in path:  # pictures of a case must not outlive it in the browser's cache on the disk
            ours[b"cache-control"] = b"private, no-store"

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                theirs = [(name, value) for name, value in message.get("headers", []) if name.lower() not in ours]
                message["headers"] = [*theirs, *ours.items()]
            await send(message)

        if any(closed in path for closed in FOR_MACHINES):  # the dashboard does not need them
            await _say(guarded, 404, "Not found")
        elif (UPLOADS in path or MEDIA in path) and not may_fetch(Request(scope).cookies):
            await _say(guarded, 403, "Sign in first.")
        elif scope["method"] == "PUT" and UPLOADS in path:
            await self._take(scope, receive, guarded)
        else:
            await self._app(scope, receive, guarded)

    async def _take(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let an upload through once there is room for it; its body is not read until then."""
        length = Request(scope).headers.get("content-length", "")
        size = int(length) if length.isdecimal() else LIMITS.bytes
        end = time.monotonic() + UPLOAD_WAITS
        while self._coming + streamlit_internals.bytes_of_uploads() + size > MAX_UPLOADED:
            if time.monotonic() >= end:
                await _say(send, 503, "The server cannot hold any more files now. Try again in a minute.")
                return
            await asyncio.sleep(0.2)
        self._coming += size
        try:
            await self._app(scope, receive, send)
        finally:
            self._coming -= size


def _same_origin(scope: Scope) -> bool:
    """Whether a connection comes from a page of this server, of a named other one, or from no page at all."""
    found = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    origin = found.get(b"origin")
    if origin is None or origin in st.get_option("server.corsAllowedOrigins"):
        return True
    return urlsplit(origin).netloc == found.get(b"host")


def _without(kinds: frozenset[str], receive: Receive) -> Receive:
    """Return a `receive` that passes over messages of these kinds."""

    async def heard() -> Message:
        while True:
            message = await receive()
            if streamlit_internals.kind_of_message(message.get("bytes") or b"") not in kinds:
                return message

    return heard


async def _say(send: Send, status: int, sentence: str) -> None:
    body = sentence.encode()
    head = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
