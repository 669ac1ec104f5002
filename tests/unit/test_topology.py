"""What is declared for each entry of the queue file, in which order, and what a refusal says."""

from __future__ import annotations

from typing import Any

from pika import spec
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.amqp.topology import declare, declare_reply_queue
from provider_gateway.errors import TopologyError
from provider_gateway.queues import QueueEntry
from tests.unit.amqp_peer import open_peer, run

DECLARATIONS = (spec.Exchange.Declare, spec.Queue.Declare, spec.Queue.Bind)
DLE = {
    "dleExchange": "retry",
    "dleQueue": "waiting",
    "dleArgs": {"x-message-ttl": 60000, "x-dead-letter-exchange": "ML.MQ"},
}


class TopologyTestCase(SynchronousTestCase):
    """An open session to declare on."""

    def setUp(self) -> None:
        self.peer = open_peer(Clock())
        self.session = self.peer.protocol

    def declare(self, **entry: Any) -> list[tuple[Any, ...]]:
        """Declare one entry, and say in short what was sent."""
        entry = {"topic": "ML.MQ", "queueName": "work", "bindingKey": "predict.*", **entry}
        run(self.peer, declare(self.session, [QueueEntry.model_validate(entry)]))
        return self.sent()

    def sent(self) -> list[tuple[Any, ...]]:
        short: list[tuple[Any, ...]] = []
        for _, method in self.peer.seen:
            if isinstance(method, spec.Exchange.Declare):
                short.append(("exchange", method.exchange, method.type))
            elif isinstance(method, spec.Queue.Declare):
                short.append(("queue", method.queue, method.arguments or {}))
            elif isinstance(method, spec.Queue.Bind):
                short.append(("bind", method.queue, method.exchange, method.routing_key))
        return short


class EntryTests(TopologyTestCase):
    """The objects of an entry."""

    def test_plain(self) -> None:
        """An exchange, the parking queue, the work queue with its way back, and its binding, in this order."""
        self.assertEqual(
            self.declare(),
            [
                ("exchange", "ML.MQ", "topic"),
                ("queue", "work.parking", {}),
                ("queue", "work", {}),
                ("exchange", "work.return", "fanout"),
                ("bind", "work", "work.return", ""),
                ("bind", "work", "ML.MQ", "predict.*"),
            ],
        )

    def test_durable(self) -> None:
        """Exchanges and queues are durable, shared, and never deleted by themselves."""
        self.declare(replyTo="response")
        for method in [*self.peer.sent(spec.Exchange.Declare), *self.peer.sent(spec.Queue.Declare)]:
            self.assertTrue(method.durable)
            self.assertFalse(method.auto_delete)
            self.assertFalse(method.passive)
        for method in self.peer.sent(spec.Queue.Declare):
            self.assertFalse(method.exclusive)

    def test_not_durable(self) -> None:
        """``durable: false`` makes the exchange and the work queue transient, and nothing else."""
        self.declare(durable=False, dle=True, replyTo="response")
        self.assertEqual(
            {method.exchange: method.durable for method in self.peer.sent(spec.Exchange.Declare)},
            {"ML.MQ": False, "work.return": True},
        )
        self.assertEqual(
            {method.queue: method.durable for method in self.peer.sent(spec.Queue.Declare)},
            {"work.parking": True, "work.retry": True, "work": False, "response": True},
        )

    def test_default_exchange(self) -> None:
        """On the default exchange there is nothing to declare or to bind but what is the queue's own."""
        self.assertEqual(
            self.declare(topic="", bindingKey=[]),
            [
                ("queue", "work.parking", {}),
                ("queue", "work", {}),
                ("exchange", "work.return", "fanout"),
                ("bind", "work", "work.return", ""),
            ],
        )

    def test_several_binding_keys(self) -> None:
        """Each binding key is a binding of its own."""
        sent = self.declare(bindingKey=["a.*", "b.#"])
        self.assertEqual(sent[-2:], [("bind", "work", "ML.MQ", "a.*"), ("bind", "work", "ML.MQ", "b.#")])

    def test_fanout_without_key(self) -> None:
        """A fanout exchange is bound to without a key."""
        sent = self.declare(exchangeType="fanout", bindingKey=[])
        self.assertEqual(sent[0], ("exchange", "ML.MQ", "fanout"))
        self.assertEqual(sent[-2:], [("bind", "work", "work.return", ""), ("bind", "work", "ML.MQ", "")])

    def test_quorum(self) -> None:
        """A quorum queue says so in its arguments, beside those of the file."""
        sent = self.declare(queueType="quorum", argQueue={"x-delivery-limit": 3})
        arguments = {each[1]: each[2] for each in sent if each[0] == "queue"}["work"]
        self.assertEqual((arguments["x-delivery-limit"], arguments["x-queue-type"]), (3, "quorum"))

    def test_arguments(self) -> None:
        """A classic queue has the arguments of the file and no others, or it would not match one of old."""
        sent = self.declare(argQueue={"x-max-length": 10, "x-overflow": "reject-publish"})
        self.assertIn(("queue", "work", {"x-max-length": 10, "x-overflow": "reject-publish"}), sent)

    def test_reply_queue(self) -> None:
        """``replyTo`` is declared, without a binding: replies go through the default exchange."""
        self.assertEqual(
            self.declare(replyTo="response")[-2:],
            [("bind", "work", "ML.MQ", "predict.*"), ("queue", "response", {})],
        )

    def test_waiting_queue(self) -> None:
        """``dleParams`` are declared as written, after the work queue that their messages come back to."""
        sent = self.declare(dle=True, dleParams=DLE, argQueue={"x-dead-letter-exchange": "retry"})
        self.assertEqual(
            sent,
            [
                ("exchange", "ML.MQ", "topic"),
                ("queue", "work.parking", {}),
                ("queue", "work", {"x-dead-letter-exchange": "retry"}),
                ("exchange", "work.return", "fanout"),
                ("bind", "work", "work.return", ""),
                ("exchange", "retry", "fanout"),
                ("queue", "waiting", DLE["dleArgs"]),
                ("bind", "waiting", "retry", ""),
                ("bind", "work", "ML.MQ", "predict.*"),
            ],
        )

    def test_several_entries(self) -> None:
        """All entries are declared on one channel, which is closed then."""
        entries = [
            QueueEntry.model_validate({"topic": "ML.MQ", "queueName": name, "bindingKey": name}) for name in ("a", "b")
        ]
        run(self.peer, declare(self.session, entries))
        queues = [each[1] for each in self.sent() if each[0] == "queue"]
        self.assertEqual(queues, ["a.parking", "a", "b.parking", "b"])
        channels = {each.channel for each in self.peer.seen if isinstance(each.method, DECLARATIONS)}
        self.assertEqual(len(channels), 1)
        self.assertEqual({self.peer.channel_of(spec.Channel.Close)}, channels)

    def test_each_waits_for_the_one_before(self) -> None:
        """Nothing is declared before the broker has answered to the declaration that it may depend on."""
        self.peer.answers[spec.Exchange.Declare] = None
        with self.assertRaises(AssertionError):
            self.declare()
        self.assertEqual(self.sent(), [("exchange", "ML.MQ", "topic")])

    def test_reply_queue_of_an_instance(self) -> None:
        """An instance's own reply queue is durable, survives short absences, and goes away after long ones."""
        run(self.peer, declare_reply_queue("response.host-1", [])(self.session))
        self.assertEqual(self.sent(), [("queue", "response.host-1", {"x-expires": 600000})])
        (method,) = self.peer.sent(spec.Queue.Declare)
        self.assertTrue(method.durable)
        self.assertFalse(method.exclusive or method.auto_delete)


class RefusalTests(TopologyTestCase):
    """The broker refuses a declaration: the error names the object, and the broker's reason."""

    def refusal(self, kind: type, code: int, text: str, **entry: Any) -> TopologyError:
        """The error when the broker refuses the object that the text names, and no other."""
        accept = self.peer.answers[kind]
        assert accept is not None

        def answer(method: Any) -> Any:
            name = getattr(method, "queue", None) or getattr(method, "exchange", None)
            return spec.Channel.Close(code, text, 50, 10) if f"'{name}'" in text else accept(method)

        self.peer.answers[kind] = answer
        return self.assertRaises(TopologyError, self.declare, **entry)

    def test_other_arguments(self) -> None:
        """A queue that exists with other arguments is a mismatch; the text has both the queue and the argument."""
        text = "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'work' in vhost '/'"
        error = self.refusal(spec.Queue.Declare, 406, text)
        self.assertTrue(error.mismatch)
        self.assertIn("queue 'work': ", str(error))
        self.assertIn(text, str(error))
        self.assertIn("delete the object", str(error))

    def test_other_exchange_type(self) -> None:
        """An exchange that exists with another type is a mismatch, too."""
        text = "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'ML.MQ' in vhost '/'"
        error = self.refusal(spec.Exchange.Declare, 406, text)
        self.assertTrue(error.mismatch)
        self.assertIn("exchange 'ML.MQ': ", str(error))

    def test_no_permission(self) -> None:
        """A missing permission is no mismatch: somebody may grant it, and a later attempt succeed."""
        text = "ACCESS_REFUSED - configure access to queue 'work' in vhost '/' refused for user 'guest'"
        error = self.refusal(spec.Queue.Declare, 403, text)
        self.assertFalse(error.mismatch)
        self.assertIn("queue 'work': ", str(error))
        self.assertIn(text, str(error))

    def test_binding(self) -> None:
        """A refused binding names the queue."""
        error = self.refusal(spec.Queue.Bind, 403, "ACCESS_REFUSED - write access to queue 'work' refused")
        self.assertIn("binding of 'work'", str(error))

    def test_waiting_queue(self) -> None:
        """A refused object of ``dleParams`` is named, not the work queue."""
        text = "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'waiting' in vhost '/'"
        error = self.refusal(spec.Queue.Declare, 406, text, dleParams=DLE)
        self.assertIn("queue 'waiting': ", str(error))

    def test_reply_queue_of_an_instance(self) -> None:
        """A refused reply queue is named."""
        self.peer.answers[spec.Queue.Declare] = lambda _: spec.Channel.Close(403, "ACCESS_REFUSED", 50, 10)
        declaring = declare_reply_queue("response.host-1", [])(self.session)
        error = self.assertRaises(TopologyError, run, self.peer, declaring)
        self.assertIn("'response.host-1'", str(error))
