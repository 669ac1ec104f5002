"""Messages on their way through a whole process, with an embedded broker and a model; no sockets, no waiting."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.app.service import GatewayService
from provider_gateway.config.settings import ROLES, Settings
from provider_gateway.message.properties import decoded
from provider_gateway.observability.metrics import Metrics
from provider_gateway.security.credentials import Credentials, load_credentials
from provider_gateway.security.folder_watch import FolderWatch
from provider_gateway.security.reloader import Reloader
from tests.support.model_peer import response
from tests.support.observability import counted
from tests.support.queue_entries import entry
from tests.support.service import ServiceTestCase


class AnswerTests(ServiceTestCase):
    """Messages that are answered."""

    def test_http(self) -> None:
        """An HTTP request becomes a message, a model call, a reply and a response; no message is left on the broker."""
        client = self.post(b'{"n": 7}')
        self.assertEqual((self.bodies(), client.responses()), ([b'{"n": 7}'], []))
        self.assertEqual(self.unacked("work"), 1)
        self.answer(200, b"13")
        answer = self.answered(client)
        self.assertEqual((answer.status, answer.body, answer.headers["rquid"]), (200, b"13", "r1"))
        self.assert_settled()

    def test_asynchronous(self) -> None:
        """A request to /v1/publish gets 202 once its message is queued; the message is settled after the model call."""
        client = self.post(path="/v1/publish")
        self.assertEqual((self.answered(client).status, self.unacked("work")), (202, 1))
        self.answer()
        self.assert_settled()

    def test_second_attempt(self) -> None:
        """A message whose model call failed waits a minute in the retry queue, is tried again, and answered."""
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

    def test_queue_too_long(self) -> None:
        """A caller is told at once if the queue is too long for a reply in time, and served when it is short."""
        waiting = [self.post() for _ in range(20)]
        for number in range(5):  # each reply tells how long its message has waited
            self.advance(9)
            self.answer(number=number)
        refused = self.answered(self.post())
        self.assertEqual((refused.status, refused.problem["type"][-14:]), (503, "queue-too-long"))
        self.assertGreater(int(refused.headers["retry-after"]), 9)
        self.assertEqual(self.answered(self.post(path="/v1/publish")).status, 202)
        for number in range(5, 21):
            self.answer(number=number)
        self.assertEqual([self.answered(client).status for client in waiting], 20 * [200])
        client = self.post()
        self.answer()
        self.assertEqual(self.answered(client).status, 200)
        self.assertEqual(counted(self.metrics.refused_early, "wait"), 1)

    def test_late_reply(self) -> None:
        """A caller whose reply timeout is over gets 504; the model's call goes on, and the late reply is dropped."""
        self.stop_and_begin(model_timeout=300)
        client = self.post()
        self.advance(90)
        self.assertEqual(self.answered(client).status, 504)
        self.answer()
        self.assertEqual(counted(self.metrics.replies, "late"), 1)
        self.assert_settled()

    def test_told_early(self) -> None:
        """A caller that does not wait for the next attempt gets 502 at once; attempts go on, without another reply."""
        client = self.post()
        self.answer(500)
        self.advance(60)
        self.assertEqual(client.responses(), [])
        self.answer(500)
        answer = self.answered(client)
        self.assertEqual((answer.status, json.loads(answer.body)["type"].rpartition(":")[2]), (502, "model-failed"))
        self.advance(60)
        self.assertEqual(len(self.calls), 3)
        self.answer()
        for kind in ("late", "unknown"):
            self.assertEqual(counted(self.metrics.replies, kind), 0)
        self.assert_settled()

    def test_expired(self) -> None:
        """A message whose caller got 504 before its model call is dropped and counted; the model is not called."""
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
        """A message whose caller left before the model was called is dropped, long before its deadline."""
        clients = [self.post(body) for body in (b"1", b"2", b"3")]
        clients[2].leave()
        self.answer(number=0)
        self.assertEqual((self.bodies(), counted(self.metrics.expired, "work")), ([b"1", b"2"], 1))
        self.answer(number=1)
        self.assert_settled()

    def test_wall_clock_is_set(self) -> None:
        """A caller and its message follow no step of the wall clock: served although late, 504 in time although early.

        The message that waits in the queue is past its deadline by the new time.
        """
        self.stop_and_begin(model_timeout=300)
        for step in (3600, -3600):
            clients = [self.post(body) for body in (b"1", b"2", b"3")]
            self.ahead += step
            for _ in clients:
                self.answer(number=-2)
                self.answer(number=-1)
            self.assertEqual([self.answered(client).status for client in clients], 3 * [200])
            client = self.post()
            self.advance(89)
            self.assertEqual(client.responses(), [])
            self.advance(1)
            self.assertEqual(self.answered(client).status, 504)
            self.answer()
        self.assertEqual(counted(self.metrics.expired, "work"), 0)
        self.assert_settled()

    def test_wall_times(self) -> None:
        """What leaves the process as a date is wall time: ``pg-deadline`` and ``Date``."""
        clients = [self.post() for _ in range(3)]
        (waits,) = self.take("work")
        self.assertTrue(0 <= self.wall_clock() + 90 - waits.headers["pg-deadline"] / 1000 < 1)
        self.answer()
        self.assertEqual(self.answered(clients[1]).headers["date"][:16], "Fri, 15 Jan 2027")

    def stop_and_begin(self, **settings: Any) -> None:
        self.service.stopService()
        self.pump()
        self.begin(**settings)


class OpenInferenceTests(ServiceTestCase):
    """A model that callers use by the Open Inference Protocol."""

    keys: ClassVar = {"routingKey": "predict.now", "openInference": True, "model": {"name": "fib"}}

    def test_binary(self) -> None:
        """The model gets JSON, tensors and the size that parts them, and so does the caller."""
        client = self.post(b"{}\xff", "/v2/models/fib/infer", "Inference-Header-Content-Length: 2")
        (call,) = self.calls
        _, headers, body = call.request()
        self.assertEqual((body, headers[b"inference-header-content-length"]), (b"{}\xff", [b"2"]))
        call.respond(response(200, b"[1]\xfe", "Inference-Header-Content-Length: 3", "Connection: close"))
        call.close()
        answer = self.answered(client)
        self.assertEqual((answer.status, answer.body), (200, b"[1]\xfe"))
        self.assertEqual(answer.headers["inference-header-content-length"], "3")
        self.assert_settled()

    def test_errors(self) -> None:
        """Failures of the model, and requests that cannot be read, have the protocol's form."""
        client = self.post(b"{}", "/v2/models/fib/infer", "Prefer: wait=1")
        for _ in range(3):
            self.answer(500)
            self.advance(60)
        answer = self.answered(client)
        self.assertEqual((answer.status, list(json.loads(answer.body))), (502, ["error"]))
        client = self.post(b"{}", "/v2/models/fib/infer")
        self.answer()
        client.send(b"POST /v2/models/fib/infer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n")
        answer = client.responses()[1]
        self.assertEqual((answer.status, list(json.loads(answer.body))), (400, ["error"]))


class ConstructionTests(SynchronousTestCase):
    """What the constructor does not do."""

    def test_no_files(self) -> None:
        """The constructor reads no files: it takes loaded credentials and an open access log."""
        missing = Path(self.mktemp()) / "missing"
        files = dict.fromkeys(("http_cert", "http_key", "http_cacert", "mq_cacert", "access_log"), missing)
        clock, metrics, log = MemoryReactorClock(), Metrics(), StringIO()
        reloader = Reloader([], clock=clock, watch=FolderWatch(clock), on_outcome=lambda *_: None)
        GatewayService(
            clock,
            Settings(_env_file=None, rmq_url="amqps://rabbitmq/", **files),
            [entry("work")],
            ROLES,
            metrics=metrics,
            credentials=Credentials(None, None, None, None, reloader),
            access_log=log,
            observer=None,
            fatal=self.fail,
            wall_clock=clock.seconds,
        )
        self.assertEqual((clock.tcpClients, clock.tcpServers, log.getvalue()), ([], [], ""))


class FailedStartTests(SynchronousTestCase):
    """A start that fails before anything is open."""

    def test_admin_port_in_use(self) -> None:
        """The reason is one line. The service stops like any other."""

        def refuse(_self: object, port: int, *_: Any, **_more: Any) -> Any:
            raise CannotListenError("0.0.0.0", port, OSError(98, "Address already in use"))

        self.patch(MemoryReactorClock, "listenTCP", refuse)
        clock, metrics = MemoryReactorClock(), Metrics()
        settings = Settings(_env_file=None, rmq_url="amqp://rabbitmq/", http_tls=False, admin_port=9)
        lines: list[str] = []
        service = GatewayService(
            clock,
            settings,
            [entry("work")],
            ROLES,
            metrics=metrics,
            credentials=load_credentials(clock, settings, ROLES, metrics, clock.seconds),
            access_log=None,
            observer=None,
            fatal=lines.append,
            wall_clock=clock.seconds,
        )
        service.startService()
        self.assertEqual(lines, ["ADMIN_PORT: cannot listen on 0.0.0.0:9: Address already in use"])
        self.successResultOf(service.stopService())


class CodingTests(ServiceTestCase):
    """Messages whose body has a content coding."""

    def test_handed_on(self) -> None:
        """The model gets the coding of an initiator's message, at the second attempt as well."""
        self.ask(b"\x1f\x8b", content_encoding="GZIP")
        self.answer(500)
        self.advance(60)
        for call in self.calls:
            _, headers, body = call.request()
            self.assertEqual((headers[b"content-encoding"], body), ([b"GZIP"], b"\x1f\x8b"))
        self.answer()
        self.assertEqual([reply.status for reply in self.take("back")], [200])
        self.assert_settled()

    def test_asked_for(self) -> None:
        """The reply has the coding that a message asks for and the model uses, at the second attempt as well."""
        self.ask(headers={"pg-accept-encoding": "gzip"})
        self.answer(500)
        self.advance(60)
        for call in self.calls:
            self.assertEqual(call.request()[1][b"accept-encoding"], [b"gzip"])
        self.calls[-1].respond(response(200, b"\x1f\x8b", "Content-Encoding: gzip"))
        self.pump()
        (reply,) = self.take("back")
        self.assertEqual((reply.status, reply.body, reply.content_encoding), (200, b"\x1f\x8b", "gzip"))
        self.assert_settled()

    def test_malformed(self) -> None:
        """A message whose coding is malformed gets 415 as its reply, or is parked if none is wanted. No attempt."""
        self.ask(content_encoding="gzip\r\nX-Injected: 1")
        (reply,) = self.take("back")
        self.assertEqual((reply.status, reply.headers["pg-reason"]), (415, "content-encoding"))
        self.assertIn("content_encoding", json.loads(reply.body)["detail"])
        self.ask(content_encoding="a b", reply_to=None)
        (parked,) = self.take("work.parking")
        self.assertEqual(parked.headers["pg-reason"], "content-encoding")
        self.assertEqual((self.calls, self.waiting("work.retry")), ([], 0))
        self.assert_settled()


class ParkingTests(ServiceTestCase):
    """Messages that cannot be answered by the model."""

    def test_parked(self) -> None:
        """After a timeout, a lost connection and a 500, the message is parked unchanged, and a reply has the error."""
        self.ask(b'{"n": 7}', headers={"RqUID": "r1", "x-tenant": "a"}, priority=3)
        self.advance(30)
        self.assertEqual(self.waiting("work.retry"), 1)
        self.advance(60)
        self.calls[-1].close()
        self.advance(60)
        self.answer(500)
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
        """A message that an operator moves from the parking queue to the work queue has all its attempts again."""
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
        """If the reply is unrouted, the message is parked, and the model is not called again."""
        self.ask()
        self.delete("back")
        self.answer()
        (parked,) = self.take("work.parking")
        self.assertEqual((parked.headers["pg-reason"], len(self.calls)), ("reply", 1))
        self.make_queue("back")
        self.assert_settled()
