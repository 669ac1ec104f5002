"""Calls: matched to replies by correlation id, ended by reply, error, deadline or cancellation."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import (
    BrokerUnavailable,
    DeadlinePassed,
    HeadersTooLarge,
    NoRoute,
    OutcomeUnknown,
    QueueTooLong,
)
from provider_gateway.gateway.expected_wait import ExpectedWaits
from provider_gateway.gateway.rpc import RPCClient
from provider_gateway.message.message import Message
from provider_gateway.observability.metrics import Metrics
from tests.support.fakes import FakeDelivery, FakePublisher
from tests.support.observability import counted


class RPCTestCase(SynchronousTestCase):
    """Calls over a fake publisher, with fake deliveries."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.publisher = FakePublisher()
        self.metrics = Metrics()
        self.expected_waits = ExpectedWaits(90, self.clock, self.metrics)
        self.rpc = self.new_client()

    def new_client(self, **given: Any) -> RPCClient:
        """A client of this process's reply queue."""
        return RPCClient(
            self.publisher,
            "response.host-1",
            reply_timeout=90,
            clock=self.clock,
            expected_waits=self.expected_waits,
            metrics=self.metrics,
            **given,
        )

    def call(self, correlation_id: str = "c1") -> Deferred[Message]:
        request = Message(b"{}", correlation_id=correlation_id, reply_to=self.rpc.reply_queue)
        return self.rpc.call(request, "ML.MQ", "predict.now")

    def reply(
        self, correlation_id: str | None = "c1", body: bytes = b"42", headers: dict[str, Any] | None = None
    ) -> FakeDelivery:
        delivery = FakeDelivery(Message(body, headers or {}, correlation_id=correlation_id))
        self.rpc.deliver(delivery)
        self.assertEqual(delivery.acks, 1, "a reply was not acknowledged once")
        return delivery

    def kinds(self) -> dict[str, float]:
        kinds = {kind: counted(self.metrics.replies, kind) for kind in ("matched", "late", "unknown")}
        return {kind: count for kind, count in kinds.items() if count}


class RPCTests(RPCTestCase):
    """How calls end."""

    def test_published(self) -> None:
        """A call publishes its request once, to the exchange and routing key given."""
        self.call()
        ((message, exchange, routing_key, _),) = self.publisher.published
        self.assertEqual((message.body, exchange, routing_key), (b"{}", "ML.MQ", "predict.now"))
        self.assertEqual(message.reply_to, "response.host-1")

    def test_matched(self) -> None:
        """Each call gets the reply with its correlation id, in whatever order replies come."""
        first, second = self.call("c1"), self.call("c2")
        self.reply("c2", b"two")
        self.assertNoResult(first)
        self.assertEqual(self.successResultOf(second).body, b"two")
        self.reply("c1", b"one")
        self.assertEqual(self.successResultOf(first).body, b"one")
        self.assertEqual(self.kinds(), {"matched": 2})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_acknowledgements(self) -> None:
        """The acknowledgement of a reply that its caller has may wait for another write; those of others must not."""
        self.call("c1")
        self.assertEqual(self.reply("c1").urgent_acks, 0)
        self.assertEqual(self.reply("c1").urgent_acks, 1)
        self.assertEqual(self.reply("other").urgent_acks, 1)

    def test_confirm_is_not_the_end(self) -> None:
        """The confirm of the request does not end the call."""
        calling = self.call()
        self.publisher.confirm()
        self.assertNoResult(calling)
        self.reply()
        self.successResultOf(calling)

    def test_reply_before_the_confirm(self) -> None:
        """A reply before the confirm ends the call; the confirm, or its failure, is ignored."""
        calling = self.call()
        self.reply()
        self.successResultOf(calling)
        self.publisher.fail(OutcomeUnknown("lost"))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_not_published(self) -> None:
        """A publish that fails ends the call with its error, long before the deadline."""
        for error in (NoRoute("nowhere"), BrokerUnavailable("away"), OutcomeUnknown("lost")):
            calling = self.call()
            self.publisher.fail(error)
            self.assertIs(self.failureResultOf(calling).value, error)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_published_while_stalled(self) -> None:
        """A request whose message is in no queue does not take the one place of each second in a stalled queue."""
        for calling in (self.call("c1"), self.call("c2")):
            calling.addErrback(lambda failure: failure.trap(DeadlinePassed))
        self.clock.advance(90)
        for error in (HeadersTooLarge("for the broker"), BrokerUnavailable("away")):
            self.expected_waits.check("predict.now")
            calling = self.call()
            self.publisher.fail(error)
            self.assertIs(self.failureResultOf(calling).value, error)
        self.expected_waits.check("predict.now")
        self.call().addErrback(lambda _: None)
        self.assertRaises(QueueTooLong, self.expected_waits.check, "predict.now")

    def test_deadline(self) -> None:
        """At the deadline the call fails with DeadlinePassed, whose text says that the request may still run."""
        calling = self.call()
        self.publisher.confirm()
        self.clock.advance(89.9)
        self.assertNoResult(calling)
        self.clock.advance(0.1)
        text = str(self.failureResultOf(calling, DeadlinePassed).value)
        self.assertIn("90 s", text)
        self.assertIn("may have been executed", text)

    def test_late(self) -> None:
        """A reply after the deadline is counted as late and acknowledged."""
        calling = self.call()
        self.clock.advance(90)
        self.failureResultOf(calling, DeadlinePassed)
        self.reply()
        self.assertEqual(self.kinds(), {"late": 1})

    def test_awaited(self) -> None:
        """A caller is known while it waits, and after it has given up. Others are not, nor one that was answered."""
        self.assertIsNone(self.rpc.is_awaited("c1"))
        calls = [self.call(name) for name in ("c1", "c2", "c3", "c4")]
        self.assertEqual([True] * 4, [self.rpc.is_awaited(name) for name in ("c1", "c2", "c3", "c4")])
        self.reply("c1")
        self.successResultOf(calls[0])
        calls[1].cancel()
        self.failureResultOf(calls[1])
        self.publisher.fail(NoRoute("nowhere"), 2)
        self.failureResultOf(calls[2])
        self.clock.advance(90)
        self.failureResultOf(calls[3])
        self.assertEqual([None, False, None, False], [self.rpc.is_awaited(name) for name in ("c1", "c2", "c3", "c4")])

    def test_expects_replies(self) -> None:
        """Replies are expected of calls that were given up lately and had none; not of others, nor after the time."""
        self.assertFalse(self.rpc.expects_replies(600))
        self.call("c1")
        self.reply("c1")
        self.call("c2").addErrback(lambda _: None).cancel()
        self.clock.advance(300)
        self.assertTrue(self.rpc.expects_replies(600))
        self.reply("c2")
        self.assertFalse(self.rpc.expects_replies(600))
        self.call("c3").addErrback(lambda _: None)
        self.clock.advance(90)
        self.call("c4").addErrback(lambda _: None)
        self.publisher.fail(OutcomeUnknown("lost"))
        self.clock.advance(599)
        self.reply("c3")
        self.assertTrue(self.rpc.expects_replies(600))
        self.clock.advance(1)
        self.assertFalse(self.rpc.expects_replies(600))
        self.call("c5").addErrback(lambda _: None)
        self.publisher.fail(NoRoute("nowhere"))
        self.assertFalse(self.rpc.expects_replies(600))

    def test_publish_fails_after_the_deadline(self) -> None:
        """A publish that fails after the deadline is handled."""
        calling = self.call()
        self.clock.advance(90)
        self.failureResultOf(calling, DeadlinePassed)
        self.publisher.fail(OutcomeUnknown("lost"))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_unknown(self) -> None:
        """A reply that matches no call is counted as unknown and acknowledged, with or without a correlation id."""
        calling = self.call()
        self.reply("other")
        self.reply(None)
        self.reply("")
        self.assertNoResult(calling)
        self.assertEqual(self.kinds(), {"unknown": 3})

    def test_second_reply(self) -> None:
        """The first reply ends the call; a second one to the same request changes nothing."""
        calling = self.call()
        self.reply(body=b"first")
        self.reply(body=b"second")
        self.assertEqual(self.successResultOf(calling).body, b"first")
        self.assertEqual(self.kinds()["matched"], 1)

    def test_caller_left(self) -> None:
        """When a caller leaves, its call is forgotten at once; the publish goes on, and the reply counts as late."""
        calling = self.call()
        calling.cancel()
        self.failureResultOf(calling, CancelledError)
        self.assertFalse(self.publisher.published[0][3].called)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.reply()
        self.assertEqual(self.kinds(), {"late": 1})

    def test_caller_left_and_publish_fails(self) -> None:
        """A publish that fails after the caller has left is handled."""
        calling = self.call()
        calling.cancel()
        self.failureResultOf(calling, CancelledError)
        self.publisher.fail(NoRoute("nowhere"))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_abandon(self) -> None:
        """abandon() fails every waiting call with OutcomeUnknown; replies that still come count as late."""
        calls = [self.call("c1"), self.call("c2")]
        self.rpc.abandon()
        for each in calls:
            self.failureResultOf(each, OutcomeUnknown)
        self.reply("c1")
        self.assertEqual(self.kinds(), {"late": 1})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_memory_of_ended_calls_is_bounded(self) -> None:
        """Of very many ended calls, replies to the latest count as late, replies to the oldest as unknown."""
        for number in range(10_001):
            calling = self.call(f"c{number}")
            calling.cancel()
            self.failureResultOf(calling, CancelledError)
        self.reply("c0")
        self.reply("c10000")
        self.assertEqual(self.kinds(), {"late": 1, "unknown": 1})


class ExpectedWaitTests(RPCTestCase):
    """What calls and replies tell about the wait of the next request."""

    def test_counted(self) -> None:
        """Calls are counted while they wait, however they end."""
        expected = self.expected_waits.of("predict.now")
        calls = [self.call(f"c{number}").addErrback(lambda _: None) for number in range(6)]
        self.assertEqual(expected.waiting, 6)
        self.reply("c0")
        self.assertEqual(expected.waiting, 5)
        calls[1].cancel()
        self.assertEqual(expected.waiting, 4)
        self.publisher.fail(NoRoute("nowhere"), 2)
        self.publisher.fail(OutcomeUnknown("lost"), 3)
        self.assertEqual(expected.waiting, 2)
        self.clock.advance(90)
        self.assertEqual(expected.waiting, 0)
        for number in range(6):
            self.reply(f"c{number}")
        self.assertEqual(expected.waiting, 0)
        calls = [self.call(f"d{number}") for number in range(2)]
        self.rpc.abandon()
        for each in calls:
            self.failureResultOf(each, OutcomeUnknown)
        self.assertEqual(expected.waiting, 0)

    def test_waited(self) -> None:
        """``pg-waited`` of replies, matched or late, tells how long the queue is."""
        for is_late in (False, True):
            self.setUp()
            calls = []
            for number in range(80):
                calls.append(self.call(f"c{number}").addErrback(lambda _: None))
                if number >= 50:
                    if is_late:
                        calls[number - 50].cancel()
                    self.reply(f"c{number - 50}", headers={"pg-waited": 50_000})
                self.clock.advance(1)
            self.expected_waits.check("predict.now")
            for number in range(100):
                self.call(f"d{number}")
            self.assertRaises(QueueTooLong, self.expected_waits.check, "predict.now")

    def test_nothing_is_kept(self) -> None:
        """A late reply is told once; a second one, or one to an unknown request, tells nothing."""
        calling = self.call()
        self.clock.advance(90)
        self.failureResultOf(calling, DeadlinePassed)
        for _ in range(2):
            self.reply(headers={"pg-waited": 80_000})
            self.reply("other", headers={"pg-waited": 80_000})
        self.expected_waits.check("predict.now")


class LostTests(RPCTestCase):
    """Messages that the broker may or may not have, if somebody wants to know of them."""

    def setUp(self) -> None:
        super().setUp()
        self.lost: list[tuple[Message, str, str]] = []
        self.ended: list[str] = []
        self.rpc = self.new_client(
            on_lost=lambda *sent: self.lost.append(sent),
            on_outcome=lambda *outcome: self.outcomes.append(outcome),
        )
        self.outcomes: list[Any] = []

    def ids(self) -> list[tuple[str | None, str, str]]:
        return [(message.correlation_id, *where) for message, *where in self.lost]

    def test_lost(self) -> None:
        """A message is lost whether its caller still waits or has got 504; the caller is told first."""
        waits = self.call("c1")
        waits.addErrback(lambda failure: self.assertEqual(self.lost, []) or failure)
        self.publisher.fail(OutcomeUnknown("lost"))
        self.failureResultOf(waits, OutcomeUnknown)
        late = self.call("c2")
        self.clock.advance(90)
        self.failureResultOf(late, DeadlinePassed)
        self.publisher.fail(OutcomeUnknown("lost"))
        self.assertEqual(self.ids(), [("c1", "ML.MQ", "predict.now"), ("c2", "ML.MQ", "predict.now")])

    def test_not_lost(self) -> None:
        """A message that the broker has read, or has certainly not taken, is not.

        If its caller got 504 before, that is told.
        """
        for error in (OutcomeUnknown("read", was_read=True), NoRoute("nowhere"), BrokerUnavailable("away")):
            self.call(error.detail).addErrback(lambda _: None)
            self.publisher.fail(error)
        self.assertEqual((self.lost, self.outcomes), ([], []))
        for error in (OutcomeUnknown("read", was_read=True), NoRoute("nowhere"), BrokerUnavailable("away")):
            self.give_up(error.detail)
            self.publisher.fail(error)
            told = None if isinstance(error, OutcomeUnknown) else error
            self.assertEqual(self.outcomes.pop(), (error.detail, told))
            self.assertTrue(self.rpc.is_confirmed(error.detail))
        self.assertEqual((self.lost, self.outcomes), ([], []))

    def give_up(self, id_: str) -> None:
        late = self.call(id_)
        self.clock.advance(90)
        self.failureResultOf(late, DeadlinePassed)

    def test_confirmed(self) -> None:
        """It is known, when a call ends, whether its message is confirmed; and told, if that comes later."""
        self.call("c1").addErrback(lambda _: None)
        self.publisher.confirm()
        self.clock.advance(90)
        self.assertTrue(self.rpc.is_confirmed("c1"))
        self.give_up("c2")
        self.assertFalse(self.rpc.is_confirmed("c2"))
        self.publisher.confirm()
        self.assertTrue(self.rpc.is_confirmed("c2"))
        self.assertEqual(self.outcomes, [("c2", None)])

    def test_confirmed_while_it_stops(self) -> None:
        """A call that ends since the process stops tells so, too."""
        for id_ in ("c1", "c2"):
            self.call(id_).addErrback(lambda _: None)
        self.publisher.confirm()
        self.rpc.abandon()
        self.assertEqual([self.rpc.is_confirmed(id_) for id_ in ("c1", "c2")], [False, True])

    def test_lost_in_its_turn(self) -> None:
        """In the turn in which a call ends with its publish, its message is not confirmed; then on_lost has it."""
        said: list[bool] = []
        waits = self.call("c1")
        waits.addErrback(lambda _: said.append(self.rpc.is_confirmed("c1")))
        self.publisher.fail(OutcomeUnknown("lost"))
        self.assertEqual((said, self.rpc.is_confirmed("c1"), self.outcomes), ([False], True, []))
