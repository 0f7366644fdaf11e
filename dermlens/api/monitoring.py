"""What a Prometheus server may read: counts and times, no names and no pictures."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dermlens.server.limiter import Limiter

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 60)


class Monitoring:
    """The counters of one server."""

    def __init__(self, line: Limiter) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Counter(
            "dermlens_requests_total",
            "Requests, by operation and status",
            ("operation", "status"),
            registry=self._registry,
        )
        self.unlike = Counter(
            "dermlens_unlike_total", "Images that a model does not know", ("model",), registry=self._registry
        )
        self.seconds = Histogram(
            "dermlens_prediction_seconds",
            "From the last byte of an image to its answer, waiting included",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._line = line
        self._registry.register(self)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return how many images are being answered and how many wait, of the whole server."""
        answered, waiting = self._line.length()
        yield GaugeMetricFamily("dermlens_answering", "Images being answered", value=answered)
        yield GaugeMetricFamily("dermlens_waiting", "Images waiting for their turn", value=waiting)

    def text(self) -> bytes:
        """Return everything in the format of Prometheus."""
        return generate_latest(self._registry)


class Counted:
    """An ASGI layer that counts every answer by the operation it belongs to; unknown addresses are one."""

    def __init__(self, app: ASGIApp, monitoring: Monitoring) -> None:
        self._app, self._monitoring = app, monitoring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        begun = False

        def count(status: int) -> None:
            nonlocal begun
            begun = True
            operation = getattr(scope.get("route"), "operation_id", None) or "none"
            self._monitoring.requests.labels(operation, status).inc()

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                count(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, counting)
        except Exception:  # which is answered outside
            if not begun:
                count(500)
            raise
