"""A delivery becomes a model call, a reply and an acknowledgement, in this order."""

from __future__ import annotations

import json

from provider_gateway.errors import Nacked
from tests.support.observability import counted
from tests.unit.provider.base import ProviderTestCase


class ReplyTests(ProviderTestCase):
    """The model's response becomes the reply."""

    def test_order(self) -> None:
        """The delivery is acknowledged when the reply is confirmed, not before."""
        delivery = self.serve()
        self.assertEqual(self.publisher.published, [])
        self.model.answer()
        self.assertEqual(len(self.publisher.published), 1)
        self.assertEqual(delivery.acks, 0)
        self.publisher.confirm()
        self.assertEqual(delivery.acks, 1)
        self.successResultOf(self.provider.idle())

    def test_call(self) -> None:
        """The model is called with the message and the timeout of the queue."""
        delivery = self.serve()
        ((message, timeout, _),) = self.model.calls
        self.assertIs(message, delivery.message)
        self.assertEqual(timeout, 30)

    def test_reply(self) -> None:
        """A reply has the request's ids, and the model's status, body, content type and headers."""
        self.serve()
        self.model.answer(201, b"[1]", Etag="x")
        message, exchange, routing_key, _ = self.publisher.published[0]
        self.assertEqual((exchange, routing_key), ("", "back"))
        self.assertEqual((message.body, message.content_type), (b"[1]", "text/x-number"))
        self.assertEqual(message.headers, {"Etag": "x", "RqUID": "r1", "pg-status": 201})
        self.assertEqual(message.correlation_id, "c1")
        self.assertIsNone(message.reply_to)

    def test_waited(self) -> None:
        """A reply, also that of a failure, tells the time between publish and start of the call, if that is known."""
        self.clock.advance(100)
        for published, expected in ((98_500, 1500), (100_000, 0), ("98500", None), (10**15, None), (None, None)):
            for end in (self.model.answer, self.model.fail):
                self.serve(headers={} if published is None else {"pg-published": published})
                self.clock.advance(5)
                end()
                self.assertEqual(self.reply.headers.get("pg-waited"), expected)
                self.clock.advance(-5)

    def test_waited_without_a_call(self) -> None:
        """A reply to a message for which the model was not called tells no wait."""
        self.serve(b"x" * 1001, headers={"pg-published": 0})
        self.assertEqual(self.reply.headers["pg-status"], 413)
        self.assertNotIn("pg-waited", self.reply.headers)

    def test_message_id(self) -> None:
        """Each reply has a message id of its own."""
        ids = set()
        for _ in range(3):
            self.serve(message_id="m")
            self.model.answer()
            ids.add(self.reply.message_id)
        self.assertEqual(len(ids - {"m", None}), 3)

    def test_without_rquid(self) -> None:
        """A message without a request id gets one."""
        self.serve(headers={})
        self.model.answer()
        self.assertTrue(self.reply.headers["RqUID"])

    def test_reply_queue_of_the_entry(self) -> None:
        """Without ``reply_to`` the reply goes to the queue file's ``replyTo``."""
        self.serve(reply_to=None)
        self.model.answer()
        self.assertEqual(self.publisher.published[0][2], "response")

    def test_error_of_the_caller(self) -> None:
        """A 4xx of the model is a reply like any other, and counted as rejected."""
        delivery = self.serve()
        self.model.answer(404, b"no such model")
        self.assertEqual((self.reply.headers["pg-status"], self.reply.body), (404, b"no such model"))
        self.assertNotIn("pg-reason", self.reply.headers)
        self.publisher.confirm()
        self.assertEqual(delivery.acks, 1)
        self.assertEqual(self.model_requests("rejected"), 1)

    def test_model_failure(self) -> None:
        """When the model fails, the reply is a problem with status 502 and the reason. Its confirm precedes the ack."""
        delivery = self.serve()
        self.model.fail("timeout")
        self.assertEqual(self.reply.content_type, "application/problem+json")
        self.assertEqual(self.reply.headers, {"RqUID": "r1", "pg-status": 502, "pg-reason": "timeout"})
        self.assertEqual(self.reply.correlation_id, "c1")
        problem = json.loads(self.reply.body)
        self.assertEqual((problem["status"], problem["rquid"]), (502, "r1"))
        self.assertEqual(problem["detail"], "The model failed: timeout.")
        self.assertEqual(delivery.acks, 0)
        self.publisher.confirm()
        self.assertEqual(delivery.acks, 1)
        self.assertEqual(self.model_requests("timeout"), 1)

    def test_concurrent(self) -> None:
        """Deliveries are served concurrently, and each is settled by its own reply."""
        first, second = self.serve(correlation_id="c1"), self.serve(correlation_id="c2")
        self.assertEqual(len(self.model.calls), 2)
        self.model.answer(number=1)
        self.assertEqual(self.reply.correlation_id, "c2")
        self.publisher.confirm()
        self.assertEqual((first.acks, second.acks), (0, 1))
        self.model.answer(number=0)
        self.publisher.confirm()
        self.assertEqual((first.acks, second.acks), (1, 1))

    def test_metrics(self) -> None:
        """Metrics count deliveries, deliveries in flight, model calls and their duration, by queue."""
        self.serve()
        self.serve()
        self.assertEqual(counted(self.metrics.consumed, "work"), 2)
        self.assertEqual(self.in_flight(), 2)
        self.clock.advance(3)
        self.model.answer(number=0)
        self.publisher.confirm()
        self.assertEqual(self.in_flight(), 1)
        self.assertEqual(self.model_requests("ok"), 1)
        (seconds,) = [
            sample.value
            for metric in self.metrics.model_request_seconds.collect()
            for sample in metric.samples
            if sample.name.endswith("_sum")
        ]
        self.assertEqual(seconds, 3)


class RestTests(ProviderTestCase):
    """The provider drains."""

    def test_idle(self) -> None:
        """idle() fires when the last delivery is settled."""
        self.serve()
        self.serve()
        idle = self.provider.idle()
        self.model.answer(number=0)
        self.publisher.confirm()
        self.assertNoResult(idle)
        self.model.answer(number=1)
        self.publisher.confirm()
        self.successResultOf(idle)

    def test_abandon(self) -> None:
        """abandon() ends model calls and waits, acknowledges nothing, and logs no error."""
        calling, answered, refused = self.serve(), self.serve(), self.serve()
        self.model.answer(number=1)
        self.model.answer(number=2)
        self.publisher.fail(Nacked("full"))
        self.provider.abandon()
        self.successResultOf(self.provider.idle())
        self.clock.advance(60)
        self.assertEqual([calling.acks, answered.acks, refused.acks], [0, 0, 0])
        self.assertEqual(len(self.publisher.published), 2)
        self.assertEqual(self.in_flight(), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])
