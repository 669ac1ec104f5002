"""The routes of parking queues behind their site, over a parking queue in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.limits import Limits
from provider_gateway.gateway.admission import Admission
from provider_gateway.gateway.origins import Origins
from provider_gateway.http_server.app import App
from provider_gateway.http_server.site import GatewaySite
from provider_gateway.observability.metrics import Metrics
from provider_gateway.security.access_rules import AccessRules
from provider_gateway.security.identity import Identity
from provider_gateway.workbench.access import Access
from provider_gateway.workbench.workbench import Workbench, refusing
from tests.support.http_client import Client, Response
from tests.unit.workbench.fake_parking import NOW, FakeParking

RULES = """
- {identities: [ann], parking: [read, replay, drop], queues: ["*"]}
- {identities: [reader], parking: [read], queues: [fib]}
- {identities: [replayer], parking: [replay], queues: [fib]}
- {identities: [dropper], parking: [drop], queues: [fib, other]}
- {identities: [caller], routingKeys: ["#"]}
"""


class WorkbenchTestCase(SynchronousTestCase):
    """The routes, an access file, and operators by their certificates."""

    rules = RULES

    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.path = Path(self.mktemp())
        self.path.write_text(self.rules, encoding="utf-8")
        self.access_rules = AccessRules(self.path, self.clock)
        self.audited: list[dict[str, Any]] = []
        self.audit_error: OSError | None = None
        audit = refusing(self._audit)
        self.parking = FakeParking(audit)
        self.access = Access(self.access_rules, self.parking.places, audit)
        self.admission = Admission(
            max_in_flight=30, origins=Origins(["https://evil.example"]), access_rules=None, metrics=self.metrics
        )
        parking: Any = self.parking
        self.workbench = Workbench(
            parking,
            self.access,
            self.admission,
            metrics=self.metrics,
            clock=self.clock,
            wall_clock=lambda: NOW,
        )
        self.finished: list[Any] = []
        self.site = GatewaySite(
            App().resource(beside=self.workbench.resource_for),
            self.clock,
            Limits(max_body_bytes=2_000_000),
            self.finished.append,
            wall_clock=lambda: NOW,
        )

    def _audit(self, line: Any) -> None:
        if self.audit_error is not None:
            raise self.audit_error
        self.audited.append(dict(line))

    def client(self, who: str | None = "ann") -> Client:
        """A client with the certificate of somebody; None for one without a certificate."""
        client = Client(self.site)
        client.protocol.identity = None if who is None else Identity((who,), NOW + 1000)
        return client

    def ask(self, path: str, *headers: str, who: str | None = "ann", method: str = "GET") -> Response:
        """The response to a request without a body."""
        client = self.client(who)
        client.request(method, path, b"", *headers)
        return client.response()

    def send(self, path: str, body: Any, *headers: str, who: str = "ann") -> Client:
        """A client that has posted a body: a document, or bytes."""
        client = self.client(who)
        client.post(path, body if isinstance(body, bytes) else json.dumps(body).encode(), *headers)
        return client

    def post(self, path: str, body: Any, *headers: str, who: str = "ann") -> Response:
        """The response to a body."""
        return self.send(path, body, *headers, who=who).response()

    def document(self, response: Response, status: int = 200) -> Any:
        """The JSON document of a response."""
        self.assertEqual((response.status, response.headers["content-type"]), (status, "application/json"), response)
        return json.loads(response.body)

    def assert_problem(self, response: Response, status: int, problem: str) -> str:
        """Check that a response is a problem document; returns its detail."""
        self.assertEqual(response.status, status, response)
        self.assertEqual(response.problem["type"], f"urn:provider-gateway:problem:{problem}")
        detail: str = response.problem["detail"]
        return detail
