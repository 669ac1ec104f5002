"""The Prometheus metrics of the process, in a registry of their own. Each label has few values."""

from __future__ import annotations

import platform

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.gc_collector import GCCollector

import twisted
from provider_gateway import __version__

_NAMESPACE = "provider_gateway"
HTTP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 90)
MODEL_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_WEBHOOK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20)
_COMMIT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_GROUP_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
#: Why messages are parked (docs/delivery.md); the first line has the failures of the model.
_PARKING_REASONS = (
    *("timeout", "connection", "status", "body", "busy"),
    *("rejected", "reply", "refused", "reply-to", "too-large", "redelivered", "internal"),
)


class Metrics:
    """Every metric that is exported; docs/operation.md lists them.

    Attributes:
        registry: has all metrics; ``/metrics`` renders it.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        build = self._gauge("build_info", "1; the labels have the versions that run", "version", "python", "twisted")
        build.labels(__version__, platform.python_version(), twisted.__version__).set(1)
        self.http_requests = self._counter("http_requests", "Answered requests", "route", "method", "code")
        self.http_request_seconds = self._histogram(
            "http_request_seconds", "Time from the request's last byte to its answer", HTTP_BUCKETS, "route"
        )
        self.http_in_flight = self._gauge("http_in_flight", "Requests being served")
        self.refused_early = self._counter(
            "refused_early", "Requests refused because their reply would have come too late", "reason"
        )
        self.published = self._counter("published", "Publishes by what became of them", "exchange", "outcome")
        self.consumed = self._counter("consumed", "Messages delivered to us", "queue")
        self.deliveries_in_flight = self._gauge("deliveries_in_flight", "Deliveries not yet settled", "queue")
        self.model_requests = self._counter("model_requests", "Calls of the model", "queue", "result")
        self.model_request_seconds = self._histogram(
            "model_request_seconds", "Time of one call of the model", MODEL_BUCKETS, "queue"
        )
        self.model_state = self._gauge("model_state", "0 if the model takes calls, 1 if busy, 2 if away", "queue")
        self.model_concurrency = self._gauge("model_concurrency", "Calls of the model at a time, at most", "queue")
        self.model_pauses = self._counter("model_pauses", "Pauses of calls by what caused them", "queue", "reason")
        self.retried = self._counter("retried", "Copies published for another attempt", "queue", "reason")
        self.parked = self._counter("parked", "Messages put into the parking queue", "queue", "reason")
        self.parking_messages = self._counter(
            "parking_messages", "Parked messages that jobs acted on", "queue", "action", "outcome"
        )
        self.expired = self._counter("expired", "Messages dropped because nobody waited any more", "queue")
        self.canceled = self._counter("canceled", "Messages dropped because their request was canceled", "queue")
        self.redelivered = self._counter("redelivered", "Messages that came back unacknowledged", "queue", "state")
        self.foreign_copies = self._counter("foreign_copies", "Copies of other queues' messages, dropped", "queue")
        self.replies = self._counter("replies", "Replies that reached the reply queue, or the results queue", "kind")
        self.ready = self._gauge("ready", "1 if nothing keeps this instance from being ready, else 0")
        self.amqp_connected = self._gauge("amqp_connected", "1 if the AMQP connection is open", "connection")
        self.amqp_reconnects = self._counter("amqp_reconnects", "AMQP connections opened again")
        self.certificate_expiry = self._gauge(
            "certificate_expiry_seconds", "Seconds until our certificate, or the revocation list, expires", "side"
        )
        self.reloads = self._counter("reloads", "Changed files that were loaded again, or refused", "what", "outcome")
        self.spans = self._counter("spans", "Spans by what became of them", "outcome")
        self.http_connections = self._gauge("http_connections", "Open connections of the HTTPS listener")
        self.http_dropped = self._counter(
            "http_dropped_connections", "Connections of the HTTPS listener ended without an answer", "reason"
        )
        self.headers_dropped = self._counter("headers_dropped", "Message headers that are unsafe in HTTP, left out")

        self.webhooks = self._counter("webhooks", "Tries of webhooks by what became of them", "result")
        self.webhook_seconds = self._histogram(
            "webhook_seconds", "Time of one call of a webhook endpoint", _WEBHOOK_BUCKETS
        )
        self.webhooks_parked = self._counter("webhooks_parked", "Webhooks put into their parking queue", "reason")
        self.result_store_up = self._gauge("result_store_up", "1 if the result store takes changes, else 0", "store")
        self.results_stored = self._counter("results_stored", "Results stored by what became of the request", "status")
        self.results_pending = self._gauge("results_pending", "Recorded requests without an answer", "store")
        self.results_oldest_pending = self._gauge(
            "results_oldest_pending_seconds", "Age of the oldest recorded request without an answer", "store"
        )
        self.result_store_bytes = self._gauge("result_store_bytes", "Size of the result store", "store")
        self.results_purged = self._counter("results_purged", "Results and records deleted after their time")
        self.result_store_commit_seconds = self._histogram(
            "result_store_commit_seconds", "Time of one transaction of the result store", _COMMIT_BUCKETS
        )
        self.result_store_commit_operations = self._histogram(
            "result_store_commit_operations", "Operations in one transaction of the result store", _GROUP_BUCKETS
        )

    def begin(self, queue: str) -> None:
        """Create a queue's series for alerts at 0: Prometheus' ``increase()`` ignores a series that starts at 1."""
        for reason in _PARKING_REASONS:
            self.parked.labels(queue, reason)
        for state in ("running", "settled", "unknown"):
            self.redelivered.labels(queue, state)
        for reason in ("busy", "away"):
            self.model_pauses.labels(queue, reason)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(name, documentation, labels, namespace=_NAMESPACE, registry=self.registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(name, documentation, labels, namespace=_NAMESPACE, registry=self.registry)

    def _histogram(self, name: str, documentation: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, documentation, labels, namespace=_NAMESPACE, buckets=buckets, registry=self.registry)
