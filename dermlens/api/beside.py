"""The API in the dashboard's own server, or alone: settings, models, and how it is reached."""

import logging
import os

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from dermlens.api.app import BELOW, BESIDE
from dermlens.errors import ModelError
from dermlens.models import registry
from dermlens.models.model import AnyModel, Model

logger = logging.getLogger(__name__)


class Beside:
    """An ASGI layer that hands the paths of the API to it, and everything else on."""

    def __init__(self, app: ASGIApp, api: ASGIApp) -> None:
        self._app, self._api = app, api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or connection."""
        path = str(scope.get("path"))
        ours = scope["type"] == "http" and (path.startswith(BELOW) or (path in BESIDE and not _opens_a_page(scope)))
        await (self._api if ours else self._app)(scope, receive, send)


def _opens_a_page(scope: Scope) -> bool:
    """Return whether a browser asks for a page: the one on metrics has the address at which Prometheus asks."""
    return "text/html" in Headers(scope=scope).get("accept", "")


def audience() -> str | None:
    """Return what access tokens must be issued for: DERMLENS_API_AUDIENCE, None if it is not set."""
    return os.environ.get("DERMLENS_API_AUDIENCE") or None


def load_models() -> list[AnyModel]:
    """Return the models that can be asked, in the order of their names; what is wrong with others goes to the log."""
    networks: dict[str, Model] = {}

    def member(entry: registry.Entry) -> Model:
        if entry.id not in networks:
            networks[entry.id] = registry.load(entry)
        return networks[entry.id]

    ready: list[AnyModel] = []
    for entry in registry.discover(registry.models_dir()):
        if not entry.can_be_asked:
            continue
        try:
            ready.append(registry.load_any(entry, member))
        except ModelError as e:
            logger.warning("model %s is not served: %s", entry.id, e)
    return ready
