"""What the server counts and times, in a registry of its own that Prometheus reads at `/metrics`."""

import time
from collections.abc import Iterator

import psutil
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from engine.events import Event, ModelBatch, NodeCached, NodeFinished, Status

SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1800.0)
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class Metrics:
    """The server's counters, gauges and histograms; all methods are quick and safe in any thread."""

    def __init__(self, version: str = "") -> None:
        self.registry = CollectorRegistry()
        made = self.registry
        self._jobs = Counter("latentgraph_jobs", "Jobs that ended.", ["status"], registry=made)
        self._job_seconds = Histogram(
            "latentgraph_job_seconds", "Time that jobs ran.", ["status"], buckets=SECONDS, registry=made
        )
        self._waiting = Gauge("latentgraph_queue_depth", "Jobs that wait.", registry=made)
        self._running = Gauge("latentgraph_jobs_running", "Jobs that run.", registry=made)
        self._requests = Counter(
            "latentgraph_http_requests", "Requests.", ["route", "method", "status"], registry=made
        )
        self._request_seconds = Histogram(
            "latentgraph_http_request_seconds",
            "Time that requests took.",
            ["route", "method"],
            buckets=SECONDS,
            registry=made,
        )
        self._batches = Counter("latentgraph_model_batches", "Model passes.", ["rung"], registry=made)
        self._rows = Counter(
            "latentgraph_model_rows", "Rows that model passes were asked for.", registry=made
        )
        self._padded = Counter(
            "latentgraph_model_rows_computed", "Rows computed, those that fill a batch up too.", registry=made
        )
        self._model_seconds = Counter("latentgraph_model_seconds", "Time in model passes.", registry=made)
        self._hits = Counter("latentgraph_cache_hits", "Nodes from the cache.", ["tier"], registry=made)
        self._misses = Counter("latentgraph_cache_misses", "Nodes that had to run.", registry=made)
        self._clients = Gauge("latentgraph_websocket_clients", "Connected sockets.", registry=made)
        Info("latentgraph", "The program.", registry=made).info({"version": version})
        self.registry.register(_Memory())

    def job_ended(self, status: Status, seconds: float) -> None:
        """A job has come to its end after running for so long."""
        self._jobs.labels(status).inc()
        self._job_seconds.labels(status).observe(seconds)

    def queue(self, depth: int, running: int) -> None:
        """How many jobs wait and run now."""
        self._waiting.set(depth)
        self._running.set(running)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered; `route` is the template, so that names in paths make no new series."""
        method = method if method in METHODS else "other"
        self._requests.labels(route, method, str(status)).inc()
        self._request_seconds.labels(route, method).observe(seconds)

    def event(self, event: Event) -> None:
        """What an event of a run says about model passes and the cache."""
        match event:
            case ModelBatch():
                self._batches.labels(str(event.rung)).inc()
                self._rows.inc(event.rows)
                self._padded.inc(event.rung)
                self._model_seconds.inc(event.seconds)
            case NodeCached():
                self._hits.labels(event.tier).inc()
            case NodeFinished():
                self._misses.inc()
            case _:
                pass

    def clients(self, connected: int) -> None:
        """How many sockets are connected now."""
        self._clients.set(connected)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count and time each request; one that never ends, such as a socket, counts when it closes."""
        started, status = time.perf_counter(), 500
        try:
            response = await handler(request)
            status = response.status
            return response
        except web.HTTPException as answer:
            status = answer.status
            raise
        finally:
            self.request(route_of(request), request.method, status, time.perf_counter() - started)


def route_of(request: web.Request) -> str:
    """The template of the route that a request met, such as `/history/{prompt_id}`."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"


class _Memory(Collector):
    """The memory of this process, asked for when Prometheus reads."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        resident = psutil.Process().memory_info().rss
        yield GaugeMetricFamily("process_resident_memory_bytes", "Memory of the process.", value=resident)
