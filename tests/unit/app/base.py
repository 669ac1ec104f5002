"""A whole process with a store in memory, and how callers send requests whose answers are kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.http_client import Client, Response
from tests.support.memory_store import MemoryStore
from tests.support.observability import counted
from tests.support.service import HTTP, ServiceTestCase

if TYPE_CHECKING:
    from provider_gateway.security.identity import Identity

ASYNC = "Prefer: respond-async"
KEY = 'Idempotency-Key: "k"'


class KeptTestCase(ServiceTestCase):
    """A process with both roles and a store.

    Attributes:
        identity: of whoever sends the next request; None for a caller without a certificate.
    """

    identity: Identity | None = None
    store: MemoryStore

    def setUp(self) -> None:
        self.store = self.make_store()
        super().setUp()

    def make_store(self) -> Any:
        return MemoryStore()

    def begin(self, **settings: Any) -> None:
        super().begin(**{"model_timeout": 1000, **settings})

    def client(self) -> Client:
        (site,) = [factory for port, factory, *_ in self.clock.tcpServers[-1:] if port == HTTP]
        client = Client(site)
        client.protocol.identity = self.identity
        self.addCleanup(self.leave, client)  # before the next test: what waits would end in that one
        return client

    @staticmethod
    def leave(client: Client) -> None:
        if client.protocol.state != "closing":
            client.leave()

    def post(self, body: bytes = b"[1]", path: str = "/v1/predict", *headers: str) -> Client:
        client = self.client()
        client.post(path, body, "routing-key: predict.now", "RqUID: r1", *headers)
        self.pump()
        return client

    def predict(self, *headers: str, body: bytes = b"[1]") -> Client:
        return self.post(body, "/v1/predict", *headers)

    def send(self, method: str, path: str, *headers: str) -> Client:
        client = self.client()
        client.request(method, path, b"", *headers)
        self.pump()
        return client

    def get(self, path: str, *headers: str, method: str = "GET") -> Response:
        return self.send(method, path, *headers).response()

    def accepted(self, client: Client) -> str:
        """Check a 202, and return its ``Location``."""
        self.pump()
        got = client.response()
        document = json.loads(got.body)
        self.assertEqual((got.status, document["status"]), (202, "pending"), got)
        self.assertEqual(got.headers["location"], document["links"]["self"])
        self.assertIn(int(got.headers["retry-after"]), range(1, 31))
        return got.headers["location"]

    def problem(self, got: Response) -> tuple[int, str]:
        return got.status, got.problem["type"].rpartition(":")[2]

    def in_flight(self) -> float:
        return counted(self.metrics.http_in_flight)

    def status(self, location: str) -> str:
        status: str = json.loads(self.get(location).body)["status"]
        return status
