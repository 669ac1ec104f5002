"""Whole lives of messages through the process: every part of it, an embedded broker, a model; no socket, no waiting."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.error import ConnectionRefusedError as TCPRefused
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from provider_gateway.app.service import GatewayService
from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.config.settings import Settings
from provider_gateway.message.properties import decoded
from provider_gateway.observability.metrics import Metrics
from tests.support.embedded_broker import BrokerTestCase
from tests.unit.devbroker.test_connection import Link
from tests.unit.gateway.test_rpc import counted
from tests.unit.http_server.test_site import Client, Response
from tests.unit.model.test_model import ModelTransport, response

AMQP, HTTP, MODEL = 5672, 5050, 8080


class LifeTestCase(BrokerTestCase):
    """A process of both roles: one queue with a prefetch of two, three attempts, a minute between them.

    Attributes:
        calls: the model's connections, one for each call.
        is_up: the broker takes connections.
    """

    clock: MemoryReactorClock

    def setUp(self) -> None:
        super().setUp()
        self.calls: list[ModelTransport] = []
        self.is_up = True
        self.fatal: list[str] = []
        self._accepted = 0
        self.make_queue("back")
        self.begin()

    def new_clock(self) -> MemoryReactorClock:
        clock = MemoryReactorClock()
        clock.running = True
        return clock

    def begin(self, **settings: Any) -> None:
        """Start a process."""
        self.metrics = Metrics()
        keys = {"topic": "ML.MQ", "queueName": "work", "bindingKey": "predict.*", "dle": True, "maxAttempts": 3}
        values: dict[str, Any] = {
            "rmq_url": f"amqp://guest:guest@127.0.0.1:{AMQP}/?heartbeat=3600",
            "http_tls": False,
            "model_url": f"http://127.0.0.1:{MODEL}/predict",
            "model_timeout": 30,
            "reply_timeout": 90,
        }
        self.first_link = len(self.links)
        self.service = GatewayService(
            self.clock,
            Settings(_env_file=None, **{**values, **settings}),
            [QueueEntry.model_validate({**keys, "prefetch": 2})],
            ["gateway", "provider"],
            metrics=self.metrics,
            observer=None,
            fatal=self.fatal.append,
        )
        self.service.startService()
        self.advance(1)
        self.assertEqual((self.service.waiting_for(), self.fatal), ([], []))

    def break_connections(self) -> None:
        """Break all connections of the process to the broker."""
        for link in self.links[self.first_link :]:
            link.at_client.abortConnection()
        self.pump()

    def pump(self) -> None:
        super().pump()
        while len(self.clock.tcpClients) > self._accepted:
            _, port, factory, *_ = self.clock.tcpClients[self._accepted]
            self._accepted += 1
            if port == MODEL:
                protocol = factory.buildProtocol(None)
                self.calls.append(ModelTransport(protocol))
                protocol.makeConnection(self.calls[-1])
            elif self.is_up:
                self.links.append(Link(self.clock, self.broker, factory.buildProtocol(None)))
            else:
                factory.clientConnectionFailed(None, Failure(TCPRefused("refused")))
            super().pump()

    def answer(self, status: int = 200, body: bytes = b"42", number: int = -1) -> None:
        """Answer a call of the model."""
        call = self.calls[number]
        call.respond(response(status, body, "Content-Type: application/json", "Connection: close"))
        call.close()
        self.pump()

    def post(self, body: bytes = b"[1]", path: str = "/v1/predict") -> Client:
        """Send an HTTP request."""
        (site,) = [factory for port, factory, *_ in self.clock.tcpServers[-1:] if port == HTTP]
        client = Client(site)
        client.post(path, body, "routing-key: predict.now", "RqUID: r1")
        self.pump()
        return client

    def ask(self, body: bytes = b"[1]", **properties: Any) -> None:
        """Publish a request, as other programs do."""
        values = {"reply_to": "back", "correlation_id": "c1", "message_id": "m1", "headers": {"RqUID": "r1"}}
        self.put("ML.MQ", "predict.now", body, **{**values, **properties})

    def bodies(self) -> list[bytes]:
        """What the model was asked."""
        return [call.request()[2] for call in self.calls]

    def answered(self, client: Client) -> Response:
        self.pump()
        return client.response()

    def assert_settled(self) -> None:
        """Nothing waits, and nothing is unacknowledged."""
        left = {
            name: (self.waiting(name), self.unacked(name)) for name in ("work", "work.retry", "work.parking", "back")
        }
        self.assertEqual(left, dict.fromkeys(left, (0, 0)))


class AnswerTests(LifeTestCase):
    """Messages that end with an answer."""

    def test_http(self) -> None:
        """A request over HTTP becomes a message, a call of the model, a reply, and the answer; nothing is left."""
        client = self.post(b'{"n": 7}')
        self.assertEqual((self.bodies(), client.responses()), ([b'{"n": 7}'], []))
        self.assertEqual(self.unacked("work"), 1)
        self.answer(200, b"13")
        answer = self.answered(client)
        self.assertEqual((answer.status, answer.body, answer.headers["rquid"]), (200, b"13", "r1"))
        self.assert_settled()

    def test_asynchronous(self) -> None:
        """A request that nobody waits for is accepted when it is in its queue, and settled when the model is done."""
        client = self.post(path="/v1/publish")
        self.assertEqual((self.answered(client).status, self.unacked("work")), (202, 1))
        self.answer()
        self.assert_settled()

    def test_second_attempt(self) -> None:
        """A message that the model failed on waits a minute in the retry queue, is tried again, and answered."""
        client = self.post()
        self.answer(500)
        self.assertEqual((self.waiting("work.retry"), self.unacked("work")), (1, 0))
        self.advance(59.9)
        self.assertEqual(len(self.calls), 1)
        self.advance(0.1)
        self.assertEqual(self.bodies(), 2 * [b"[1]"])
        self.answer()
        self.assertEqual((self.answered(client).status, counted(self.metrics.retried, "work", "status")), (200, 1))
        self.assert_settled()

    def test_late_reply(self) -> None:
        """A caller whose time is over is told 504; the attempts go on, and their answer is dropped as a late one."""
        client = self.post()
        self.answer(500)
        self.advance(60)
        self.answer(500)
        self.advance(30)
        self.assertEqual(self.answered(client).status, 504)
        self.advance(30)
        self.answer()
        self.assertEqual(counted(self.metrics.replies, "late"), 1)
        self.assert_settled()

    def test_expired(self) -> None:
        """A message whose caller was told 504 before its turn came is dropped, counted, and not shown to the model."""
        self.stop_and_begin(reply_timeout=10)
        clients = [self.post(body) for body in (b"1", b"2", b"3")]
        self.advance(10)
        self.assertEqual([self.answered(client).status for client in clients], 3 * [504])
        self.assertEqual(self.waiting("work"), 1)
        self.answer(number=0)
        self.answer(number=1)
        self.assertEqual((self.bodies(), counted(self.metrics.expired, "work")), ([b"1", b"2"], 1))
        self.assert_settled()

    def test_caller_left(self) -> None:
        """A message whose caller hung up before its turn came is dropped, long before its deadline."""
        clients = [self.post(body) for body in (b"1", b"2", b"3")]
        clients[2].leave()
        self.answer(number=0)
        self.assertEqual((self.bodies(), counted(self.metrics.expired, "work")), ([b"1", b"2"], 1))
        self.answer(number=1)
        self.assert_settled()

    def stop_and_begin(self, **settings: Any) -> None:
        self.service.stopService()
        self.pump()
        self.begin(**settings)


class ParkingTests(LifeTestCase):
    """Messages that end without an answer."""

    def test_parked(self) -> None:
        """A message that times out, is hung up on and refused is parked as it was, and its caller told the error."""
        self.ask(b'{"n": 7}', headers={"RqUID": "r1", "x-tenant": "a"}, priority=3)
        self.advance(30)
        self.assertEqual(self.waiting("work.retry"), 1)
        self.advance(60)
        self.calls[-1].close()
        self.advance(60)
        self.answer(503)
        self.assertEqual(self.bodies(), 3 * [b'{"n": 7}'])
        (parked,) = self.take("work.parking")
        self.assertEqual((parked.body, parked.message_id, parked.reply_to), (b'{"n": 7}', "m1", "back"))
        self.assertEqual((decoded(parked.original).priority, decoded(parked.original).delivery_mode), (3, 2))
        told = {name: parked.headers[name] for name in ("pg-attempt", "pg-redeliveries", "pg-reason", "pg-queue")}
        self.assertEqual(told, {"pg-attempt": 3, "pg-redeliveries": 0, "pg-reason": "status", "pg-queue": "work"})
        self.assertEqual((parked.headers["x-tenant"], "x-death" in parked.headers), ("a", False))
        (reply,) = self.take("back")
        self.assertEqual((reply.correlation_id, reply.status, reply.headers["pg-reason"]), ("c1", 502, "status"))
        self.assertEqual(json.loads(reply.body)["rquid"], "r1")
        for reason in ("timeout", "connection"):
            self.assertEqual(counted(self.metrics.retried, "work", reason), 1)
        self.assert_settled()

    def test_put_back(self) -> None:
        """What an operator puts back from the parking queue has all its attempts again."""
        self.ask()
        for _ in range(3):
            self.answer(500)
            self.advance(60)
        (parked,), _ = self.take("work.parking"), self.take("back")
        kept = {name: getattr(parked, name) for name in ("correlation_id", "message_id", "reply_to", "headers")}
        self.put("", "work", parked.body, **kept)
        self.answer(500)
        self.advance(60)
        self.answer()
        self.assertEqual((len(self.calls), len(self.take("back"))), (5, 1))
        self.assert_settled()

    def test_nobody_takes_the_reply(self) -> None:
        """An answer whose reply queue is gone does not vanish: the message is parked, and not run again."""
        self.ask()
        self.delete("back")
        self.answer()
        (parked,) = self.take("work.parking")
        self.assertEqual((parked.headers["pg-reason"], len(self.calls)), ("reply", 1))
        self.make_queue("back")
        self.assert_settled()
