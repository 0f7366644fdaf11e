"""What the dashboard uses of uvicorn 0.54 beyond its public interface: Streamlit starts it, and passes no settings on.

tests/ui/access/test_uvicorn_internals.py says, one by one, which of it another version has changed.
"""

from collections.abc import Callable, Hashable
from typing import Any

import uvicorn.config
from starlette.types import ASGIApp
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


def believe_no_proxy() -> None:
    """Have uvicorn not take X-Forwarded-For from whoever comes from this machine, as it does by default."""

    def as_it_is(app: ASGIApp, trusted_hosts: object = None) -> ASGIApp:
        return app

    uvicorn.config.ProxyHeadersMiddleware = as_it_is  # type: ignore[assignment, misc]


def watch_connections(
    entered: Callable[[Hashable, Callable[[], None]], None], left: Callable[[Hashable], None], message_bytes: int
) -> None:
    """Be told of every connection as it is opened and closed; a page may send messages of at most so many bytes.

    Args:
        entered: called with the peer, as in an ASGI scope's "client", and with what closes the connection.
        left: called with the peer.
        message_bytes: the longest message, in one frame or in several.
    """
    made, lost, upgraded_lost = (
        AutoHTTPProtocol.connection_made,
        AutoHTTPProtocol.connection_lost,
        WebSocketsSansIOProtocol.connection_lost,
    )

    def making(self: Any, transport: Any) -> None:
        made(self, transport)
        self.config.ws_max_size = message_bytes
        entered(self.client, transport.abort)

    def losing(self: Any, exc: Exception | None) -> None:
        left(self.client)
        lost(self, exc)

    def losing_upgraded(self: Any, exc: Exception | None) -> None:
        left(self.client)
        upgraded_lost(self, exc)

    AutoHTTPProtocol.connection_made = making  # type: ignore[method-assign]
    AutoHTTPProtocol.connection_lost = losing  # type: ignore[method-assign]
    WebSocketsSansIOProtocol.connection_lost = losing_upgraded  # type: ignore[method-assign]
