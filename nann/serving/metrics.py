"""What a server counts, in the form that Prometheus reads."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
USERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class ServerMetrics:
    """The counters of one server, in a registry of their own.

    Attributes:
        requests: answered requests, by route and HTTP status.
        seconds: time of a request, by route.
        in_progress: requests that are being answered.
        batch_users: users per call of the graph.
        wait_seconds: time that a request waited for its call.
        graph_seconds: time of a call.
        version: number of the version that is served.
        switches: changes of the version.
        load_failures: versions that could not be loaded, tries again included.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("nann_requests_total", "Answered requests.", ("route", "code"), registry=registry)
        self.seconds = Histogram("nann_request_seconds", "Time of a request.", ("route",), registry=registry, buckets=SECONDS)
        self.in_progress = Gauge("nann_requests_in_progress", "Requests being answered.", registry=registry)
        self.batch_users = Histogram("nann_batch_users", "Users per call of the graph.", registry=registry, buckets=USERS)
        self.wait_seconds = Histogram("nann_batch_wait_seconds", "Wait of a request for its call.", registry=registry, buckets=SECONDS)
        self.graph_seconds = Histogram("nann_graph_seconds", "Time of a call of the graph.", registry=registry, buckets=SECONDS)
        self.version = Gauge("nann_model_version", "Version that is served.", registry=registry)
        self.switches = Counter("nann_model_switches_total", "Changes of the version.", registry=registry)
        self.load_failures = Counter("nann_model_load_failures_total", "Versions that could not be loaded.", registry=registry)
        ProcessCollector(registry=registry)

    def text(self) -> bytes:
        """All of them in the text format of Prometheus."""
        return generate_latest(self.registry)
