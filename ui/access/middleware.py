"""What the server says with every answer, and what it does not answer at all: around Streamlit's own checks."""

import asyncio
import base64
import hashlib
import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import streamlit as st
from starlette.formparsers import MultiPartParser
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import runtime
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.runtime.stats import CacheStat

from dermlens.ingest.formats import LIMITS
from ui.access.sign_in import may_fetch

MAX_UPLOADED = 2**30
"""Most bytes of uploads that the server takes and holds for all sessions before their scripts have them."""
UPLOAD_WAITS = 60.0
"""Seconds that one more upload waits for room, before it is refused."""
CLOSED = ("/_stcore/metrics", "/_stcore/agent", "/_stcore/script-health-check")
"""Streamlit's endpoints for machines, which the dashboard does not need."""
AFFECTS_OTHERS = frozenset({"clear_cache", "set_run_on_save", "load_git_info"})
"""What Streamlit's page of a developer may ask for: the first has the models of all sessions loaded anew."""
_UPLOAD = "/_stcore/upload_file/"
_MEDIA = "/media/"


def middleware() -> list[Middleware]:
    """Return the layers around Streamlit's server, outermost first."""
    MultiPartParser.spool_max_size = LIMITS.bytes + 2**20  # an upload stays in memory: it never touches the disk
    hosts = st.get_option("server.allowedHosts") or ["*"]
    return [Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False), Middleware(Shield)]


def headers() -> dict[str, str]:
    """Return the headers of every answer: nothing is loaded from, sent to or framed by another host."""
    scripts = " ".join(f"'sha256-{_digest(script)}'" for script in _inline_scripts())
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


def _inline_scripts() -> list[str]:
    """Return the scripts that stand in Streamlit's one HTML page itself."""
    page = Path(st.__file__).parent / "static" / "index.html"
    return re.findall(r"<script>(.*?)</script>", page.read_text(encoding="utf-8"), re.DOTALL)


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
        if _MEDIA in path:  # pictures of a case must not outlive it in the browser's cache on the disk
            ours[b"cache-control"] = b"private, no-store"

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                theirs = [(name, value) for name, value in message.get("headers", []) if name.lower() not in ours]
                message["headers"] = [*theirs, *ours.items()]
            await send(message)

        if any(closed in path for closed in CLOSED):
            await _say(guarded, 404, "Not found")
        elif (_UPLOAD in path or _MEDIA in path) and not may_fetch(Request(scope).cookies):
            await _say(guarded, 403, "Sign in first.")
        elif scope["method"] == "PUT" and _UPLOAD in path:
            await self._take(scope, receive, guarded)
        else:
            await self._app(scope, receive, guarded)

    async def _take(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let an upload through once there is room for it: its body is not read before."""
        length = Request(scope).headers.get("content-length", "")
        size = int(length) if length.isdecimal() else LIMITS.bytes
        end = time.monotonic() + UPLOAD_WAITS
        while self._coming + _uploaded() + size > MAX_UPLOADED:
            if time.monotonic() >= end:
                await _say(send, 503, "The server holds as many files as it can. Try again in a minute.")
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
            if _kind(message.get("bytes") or b"") not in kinds:
                return message

    return heard


def _kind(frame: bytes) -> str | None:
    try:
        return BackMsg.FromString(frame).WhichOneof("type")
    except Exception:  # noqa: BLE001 - not a message: Streamlit closes the connection
        return None


def _uploaded() -> int:
    """Return how many bytes of uploads Streamlit holds."""
    if not runtime.exists():
        return 0
    stats = runtime.get_instance().uploaded_file_mgr.get_stats()
    return sum(stat.byte_length for family in stats.values() for stat in family if isinstance(stat, CacheStat))


async def _say(send: Send, status: int, sentence: str) -> None:
    body = sentence.encode()
    head = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
