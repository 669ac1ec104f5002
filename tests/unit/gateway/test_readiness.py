"""Whether a model is ready, by the broker's word."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from provider_gateway.amqp.session import ConnectionLost, Session
from tests.support.http_client import Client
from tests.support.service import HTTP, ServiceTestCase

READY = "/v2/models/fib/ready"


class ReadinessTests(ServiceTestCase):
    """A process with both roles and the embedded broker."""

    keys: ClassVar = {"routingKey": "predict.now", "openInference": True, "model": {"name": "fib"}}

    def begin_to_ask(self, path: str = READY) -> Client:
        (site,) = [factory for port, factory, *_ in self.clock.tcpServers[-1:] if port == HTTP]
        client = Client(site)
        client.request("GET", path)
        return client

    def asked(self, path: str = READY) -> tuple[int, Any]:
        client = self.begin_to_ask(path)
        self.pump()
        response = client.response()
        return response.status, json.loads(response.body)

    def test_served(self) -> None:
        """While the queue has a consumer, model and server are ready. No model is called."""
        self.assertEqual(self.asked(), (200, {"name": "fib", "ready": True}))
        self.assertEqual(self.asked("/v2/health/ready"), (200, {"ready": True}))
        self.assertEqual(self.calls, [])

    def test_not_served(self) -> None:
        """Without a consumer neither is ready, and without the queue. Callers are told, and nothing is declared."""
        provider: Any = self.service._provider
        self.run_(provider.cancel_consumers())
        expected = {"error": "The model 'fib' is not ready: no process serves it."}
        for path in (READY, "/v2/health/ready"):
            self.assertEqual(self.asked(path), (503, expected))
        self.delete("work")
        for path in (READY, "/v2/health/ready", READY):
            self.assertEqual(self.asked(path), (503, expected))
        self.assertEqual(self.service.waiting_for()[1:], [])

    def test_without_a_broker(self) -> None:
        """While the broker is away, neither is ready; when it is back, both are."""
        self.is_up = False
        self.break_connections()
        for path in (READY, "/v2/health/ready"):
            status, document = self.asked(path)
            self.assertEqual(status, 503)
            self.assertIn("Not ready: waiting for", document["error"])
        self.is_up = True
        self.advance(30)
        self.assertEqual(self.asked()[0], 200)

    def test_one_question(self) -> None:
        """Callers who ask while a question is under way share its answer. One who leaves does not end it."""
        opened: list[object] = []
        channel = Session.channel

        async def counting(session: Session) -> Any:
            opened.append(session)
            return await channel(session)

        self.patch(Session, "channel", counting)
        clients = [self.begin_to_ask() for _ in range(3)]
        clients[0].leave()
        self.pump()
        self.assertEqual([client.response().status for client in clients[1:]], [200, 200])
        self.assertEqual(len(opened), 1)

    def test_no_answer(self) -> None:
        """A broker that does not answer within 5 s, or breaks off, leaves the model not ready."""
        client = self.begin_to_ask()
        self.clock.advance(5)
        response = client.response()
        self.assertEqual((response.status, b"does not say" in response.body), (503, True))
        self.pump()

        async def lost(_: Session) -> Any:
            msg = "gone"
            raise ConnectionLost(msg)

        self.patch(Session, "channel", lost)
        status, document = self.asked()
        self.assertEqual(status, 503)
        self.assertIn("does not say", document["error"])
        self.assertEqual(self.flushLoggedErrors(), [])
