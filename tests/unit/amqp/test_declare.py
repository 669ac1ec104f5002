"""What is declared for each entry, in which order; where messages then go; the errors of refused declarations."""

from __future__ import annotations

from typing import Any

from pika import spec
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.amqp.declare import declare, declares, declaring
from provider_gateway.amqp.session import ConnectionLost
from provider_gateway.errors import TopologyError
from provider_gateway.topology.declarations import Queue
from provider_gateway.topology.result_objects import reply_queue
from tests.support.amqp_peer import open_peer, run
from tests.support.embedded_broker import BrokerTestCase
from tests.support.queue_entries import entry

DECLARATIONS = (spec.Exchange.Declare, spec.Queue.Declare, spec.Queue.Bind)
CLASSIC = {"x-queue-type": "classic"}
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

    def declare(self, **keys: Any) -> list[tuple[Any, ...]]:
        """Declare one entry; return in short form what was sent."""
        run(self.peer, declare(self.session, [entry(**keys)]))
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
        """The exchange, the parking queue, the work queue with its return exchange, and the binding, in this order."""
        self.assertEqual(
            self.declare(),
            [
                ("exchange", "ML.MQ", "topic"),
                ("queue", "work.parking", CLASSIC),
                ("queue", "work", CLASSIC),
                ("exchange", "work.return", "fanout"),
                ("bind", "work", "work.return", ""),
                ("bind", "work", "ML.MQ", "predict.*"),
            ],
        )

    def test_durable(self) -> None:
        """Exchanges and queues are durable, not exclusive, and not deleted automatically."""
        self.declare(replyTo="response")
        for method in [*self.peer.sent(spec.Exchange.Declare), *self.peer.sent(spec.Queue.Declare)]:
            self.assertTrue(method.durable)
            self.assertFalse(method.auto_delete)
            self.assertFalse(method.passive)
        for method in self.peer.sent(spec.Queue.Declare):
            self.assertFalse(method.exclusive)

    def durability(self, **keys: Any) -> dict[str, bool]:
        """Which exchanges and queues are declared as durable."""
        self.declare(dle=True, replyTo="response", **keys)
        declared = [*self.peer.sent(spec.Exchange.Declare), *self.peer.sent(spec.Queue.Declare)]
        return {getattr(method, "queue", None) or method.exchange: method.durable for method in declared}

    def test_not_durable(self) -> None:
        """``durable: false`` makes the seed's queues transient, and neither the exchange nor objects of our own."""
        found = self.durability(durable=False)
        self.assertEqual({name for name, durable in found.items() if not durable}, {"work", "response"})
        self.assertEqual(set(found), {"ML.MQ", "work", "response", "work.return", "work.parking", "work.retry"})

    def test_waiting_queue_not_durable(self) -> None:
        """``durable: false`` makes ``dleQueue`` transient, as the seed does; ``dleExchange`` stays durable."""
        found = self.durability(durable=False, dleParams=DLE)
        self.assertEqual({name for name, durable in found.items() if not durable}, {"work", "response", "waiting"})

    def test_exchange_not_durable(self) -> None:
        """``exchangeDurable: false`` makes the exchange transient, and nothing else."""
        found = self.durability(exchangeDurable=False)
        self.assertEqual({name for name, durable in found.items() if not durable}, {"ML.MQ"})

    def test_default_exchange(self) -> None:
        """On the default exchange, only the queue and the objects of its own retry route are declared and bound."""
        self.assertEqual(
            self.declare(topic="", bindingKey=[]),
            [
                ("queue", "work.parking", CLASSIC),
                ("queue", "work", CLASSIC),
                ("exchange", "work.return", "fanout"),
                ("bind", "work", "work.return", ""),
            ],
        )

    def test_quorum(self) -> None:
        """A quorum queue has ``x-queue-type`` beside the arguments of the file."""
        sent = self.declare(queueType="quorum", argQueue={"x-delivery-limit": 3})
        arguments = {each[1]: each[2] for each in sent if each[0] == "queue"}["work"]
        self.assertEqual((arguments["x-delivery-limit"], arguments["x-queue-type"]), (3, "quorum"))

    def test_arguments(self) -> None:
        """A classic queue has the file's arguments and its type only: else an existing queue of the seed differs."""
        sent = self.declare(argQueue={"x-max-length": 10, "x-overflow": "reject-publish"})
        self.assertIn(("queue", "work", {**CLASSIC, "x-max-length": 10, "x-overflow": "reject-publish"}), sent)

    def test_reply_queue(self) -> None:
        """``replyTo`` is declared, without a binding: replies go through the default exchange."""
        self.assertEqual(
            self.declare(replyTo="response")[-2:],
            [("bind", "work", "ML.MQ", "predict.*"), ("queue", "response", CLASSIC)],
        )

    def test_waiting_queue(self) -> None:
        """The objects of ``dleParams`` are declared as written, after the work queue that messages come back to."""
        sent = self.declare(dle=True, dleParams=DLE, argQueue={"x-dead-letter-exchange": "retry"})
        self.assertEqual(
            sent,
            [
                ("exchange", "ML.MQ", "topic"),
                ("queue", "work.parking", CLASSIC),
                ("queue", "work", {**CLASSIC, "x-dead-letter-exchange": "retry"}),
                ("exchange", "work.return", "fanout"),
                ("bind", "work", "work.return", ""),
                ("exchange", "retry", "fanout"),
                ("queue", "waiting", CLASSIC | DLE["dleArgs"]),
                ("bind", "waiting", "retry", ""),
                ("bind", "work", "ML.MQ", "predict.*"),
            ],
        )

    def test_several_entries(self) -> None:
        """All entries are declared on one channel, which is closed at the end."""
        run(self.peer, declare(self.session, [entry("a"), entry("b")]))
        queues = [each[1] for each in self.sent() if each[0] == "queue"]
        self.assertEqual(queues, ["a.parking", "a", "b.parking", "b"])
        channels = {each.channel for each in self.peer.seen if isinstance(each.method, DECLARATIONS)}
        self.assertEqual(len(channels), 1)
        self.assertEqual({self.peer.channel_of(spec.Channel.Close)}, channels)

    def test_each_waits_for_the_one_before(self) -> None:
        """Each declaration waits for the broker's answer to the one before it."""
        self.peer.answers[spec.Exchange.Declare] = None
        with self.assertRaises(AssertionError):
            self.declare()
        self.assertEqual(self.sent(), [("exchange", "ML.MQ", "topic")])


class OnBrokerTestCase(BrokerTestCase):
    """The embedded broker, with declared entries."""

    def setUp(self) -> None:
        super().setUp()
        self.session = self.connect()

    def declare(self, name: str = "work", **keys: Any) -> None:
        self.run_(declare(self.session, [entry(name, **keys)]))


class RoutingTests(OnBrokerTestCase):
    """Where messages go through the declared objects."""

    def assert_routed(self, exchange: str, *keys: str) -> None:
        """Check that messages with these keys come to the work queue once each, and those with other keys do not."""
        tried = {*keys, "a.b", "a.b.c", "b", "work", "elsewhere", ""}
        for key in tried:
            self.put(exchange, key)
            self.assertEqual(len(self.take("work")), int(key in keys), key)

    def test_binding_keys(self) -> None:
        """Each binding key is a binding. A message that matches several comes once."""
        self.declare(bindingKey=["a.*", "a.#", "b.#"])
        self.assert_routed("ML.MQ", "a.b", "a.b.c", "b", "b.x")

    def test_direct(self) -> None:
        """A direct exchange takes its keys literally."""
        self.declare(exchangeType="direct", bindingKey=["a.*", "b"])
        self.assert_routed("ML.MQ", "a.*", "b")

    def test_fanout_without_key(self) -> None:
        """A fanout exchange is bound without a key, and routes every message."""
        self.declare(exchangeType="fanout", bindingKey=[])
        self.assert_routed("ML.MQ", "a.b", "a.b.c", "b", "work", "elsewhere", "")

    def test_default_exchange(self) -> None:
        """On the default exchange the routing key is the queue's name, without a binding."""
        self.declare(topic="", bindingKey=[])
        self.assert_routed("", "work")

    def test_return_exchange(self) -> None:
        """A message through the return exchange comes to the work queue, whatever its routing key."""
        self.declare()
        self.assert_routed("work.return", "a.b", "a.b.c", "b", "work", "elsewhere", "")

    def test_waiting_queues(self) -> None:
        """A message in the retry queue, or in the queue of ``dleParams``, comes to the work queue after the delay."""
        for name, keys, way in (
            ("a", {"dle": True, "retryDelay": 60_000}, ("", "a.retry")),
            ("b", {"dle": True, "dleParams": DLE}, ("retry", "predict.now")),
            ("c", {"dle": True, "queueType": "quorum"}, ("", "c.retry")),
        ):
            self.declare(name, **keys)
            self.put(*way)
            self.advance(59.9)
            self.assertEqual(self.take(name), [])
            self.advance(0.1)
            self.assertEqual(len(self.take(name)), 1)

    def test_again(self) -> None:
        """Declaring the same entries again changes nothing: messages stay, and are routed once."""
        for _ in range(2):
            self.declare(dle=True, replyTo="response")
            self.put("ML.MQ", "predict.now")
        self.assertEqual(len(self.take("work")), 2)

    def test_reply_queue_of_an_instance(self) -> None:
        """An instance's own reply queue is durable, and deleted some time after its last consumer is gone."""
        declaring = declares(reply_queue("response.host-1", [], expires=600))
        self.run_(declaring(self.session))
        self.put("", "response.host-1")
        self.advance(599)
        self.run_(declaring(self.session))
        self.advance(599)
        self.assertEqual(self.waiting("response.host-1"), 1)
        queue = self.broker.vhost.find_queue("response.host-1", None)
        self.assertEqual((queue.durable, queue.auto_delete), (True, False))
        self.advance(1)
        self.run_(declaring(self.session))
        self.assertEqual(self.waiting("response.host-1"), 0)


class MismatchTests(OnBrokerTestCase):
    """An object exists with other arguments: the error names it, and has the broker's reason."""

    def assert_mismatch(self, what: str, argument: str, *name: str, **keys: Any) -> None:
        error = self.assertRaises(TopologyError, self.declare, *name, **keys)
        self.assertTrue(error.is_final)
        for part in (f"{what}: ", f"inequivalent arg '{argument}' for {what} in vhost '/'", f"delete the {what}"):
            self.assertIn(part, str(error))

    def test_arguments(self) -> None:
        """A queue with other arguments: the error names the queue, whichever of the entry's it is."""
        self.declare(dle=True, dleParams=DLE)
        self.assert_mismatch("queue 'work'", "x-max-length", argQueue={"x-max-length": 5})
        other = {**DLE, "dleArgs": {**DLE["dleArgs"], "x-message-ttl": 1}}
        self.assert_mismatch("queue 'waiting'", "x-message-ttl", dle=True, dleParams=other)

    def test_exchange_type(self) -> None:
        """An exchange of another type."""
        self.declare()
        self.assert_mismatch("exchange 'ML.MQ'", "type", exchangeType="direct")

    def test_durable(self) -> None:
        """An exchange or a queue whose durability differs."""
        self.declare()
        self.assert_mismatch("exchange 'ML.MQ'", "durable", exchangeDurable=False)
        self.declare("other", topic="", durable=False)
        self.assert_mismatch("queue 'other'", "durable", "other", topic="")

    async def declare_theirs(self, queue: Queue) -> None:
        """Declare a queue as another program does."""
        await declaring(await self.session.channel(), queue)()

    def test_reply_queue_without_limit(self) -> None:
        """A quorum ``replyTo`` need not have our delivery limit. Another limit, argument or type is a mismatch."""
        keys: dict[str, Any] = {"queueType": "quorum", "replyTo": "response"}
        for arguments in ({}, {"x-delivery-limit": 50}, {"x-max-length": 7}):
            self.setUp()
            given = Queue("response", {"x-queue-type": "quorum", **arguments})
            self.run_(self.declare_theirs(given))
            if arguments:
                self.assert_mismatch("queue 'response'", *arguments, **keys)
            else:
                self.declare(**keys)
                self.declare("other", **keys)
                self.assertTrue(self.session.is_open)
        self.setUp()
        self.declare("classic", replyTo="response")
        self.assert_mismatch("queue 'response'", "x-queue-type", **keys)


class RefusalTests(TopologyTestCase):
    """The broker refuses for another reason: the error names the object, and has the broker's reason."""

    def refusal(self, kind: type, code: int, text: str, **keys: Any) -> TopologyError:
        """The error when the broker refuses only the object that this text names."""
        accept = self.peer.answers[kind]
        assert accept is not None

        def answer(method: Any) -> Any:
            name = getattr(method, "queue", None) or getattr(method, "exchange", None)
            return spec.Channel.Close(code, text, 50, 10) if f"'{name}'" in text else accept(method)

        self.peer.answers[kind] = answer
        return self.assertRaises(TopologyError, self.declare, **keys)

    def test_no_permission(self) -> None:
        """A missing permission is no mismatch: it may be granted, and then a later attempt succeeds."""
        text = "ACCESS_REFUSED - configure access to queue 'work' in vhost '/' refused for user 'guest'"
        error = self.refusal(spec.Queue.Declare, 403, text)
        self.assertFalse(error.is_final)
        self.assertIn("queue 'work': ", str(error))
        self.assertIn(text, str(error))

    def test_binding(self) -> None:
        """The error of a refused binding names the queue."""
        error = self.refusal(spec.Queue.Bind, 403, "ACCESS_REFUSED - write access to queue 'work' refused")
        self.assertIn("binding of 'work'", str(error))

    def test_reply_queue_of_an_instance(self) -> None:
        """The error of a refused reply queue names it."""
        self.peer.answers[spec.Queue.Declare] = lambda _: spec.Channel.Close(403, "ACCESS_REFUSED", 50, 10)
        declaring = declares(reply_queue("response.host-1", [], expires=600))(self.session)
        error = self.assertRaises(TopologyError, run, self.peer, declaring)
        self.assertIn("'response.host-1'", str(error))

    def test_reason_with_advice(self) -> None:
        """Refusals have advice: the queue file's key, the command that grants a permission, or the limit."""
        for code, text, advice in (
            (406, "invalid arg 'x-max-length' for queue 'work' in vhost '/'", "correct argQueue.x-max-length"),
            (406, "cannot declare queue 'work': queue limit in vhost '/' (1) is reached", "set_vhost_limits"),
            (403, "ACCESS_REFUSED - access to queue 'work' in vhost '/' refused for user 'u'", "grant configure"),
        ):
            self.assertIn(advice, str(self.refusal(spec.Queue.Declare, code, text)))
            self.setUp()

    def test_not_written(self) -> None:
        """An object that pika cannot write is an error without its raw bytes, and final; nothing was sent for it."""
        for keys in ({"x": 1.5}, {"x": object()}, {"x": "\ud800"}, {"x": 2**70}, {"é" * 200: 1}):
            made = entry().model_copy(update={"arg_queue": keys})
            error = self.assertRaises(TopologyError, run, self.peer, declare(self.session, [made]))
            self.assertEqual(error.is_final, True)
            self.assertIn("queue 'work': its name, key or arguments cannot be written as AMQP", str(error))
            self.assertNotIn("\\x", str(error))
            self.setUp()


class ClosedConnectionTests(TopologyTestCase):
    """The connection ends while something is declared."""

    def ended(self, close: spec.Connection.Close | None, kind: type = spec.Queue.Declare) -> Exception:
        """The error of a declaration when the broker closes the connection over it, or drops it."""

        def answer(_: Any) -> Any:
            if close is None:
                self.peer.transport.end(ConnectionDone())
            return close

        self.peer.answers[kind] = answer
        return self.assertRaises((TopologyError, ConnectionLost), self.declare, durable=False)

    def test_over_the_declaration(self) -> None:
        """A Close over the declaration is a TopologyError that names object and setting, whatever its code."""
        denied = "INTERNAL_ERROR - Feature `transient_nonexcl_queues` is deprecated.\nIts use is not permitted"
        for kind, close, what, advice, is_final in (
            # The first queue is the parking queue; RabbitMQ would refuse the second.
            (spec.Queue.Declare, (541, denied, 50, 10), "queue 'work.parking'", "permits no transient queues", True),
            (spec.Queue.Declare, (541, "INTERNAL_ERROR", 0, 0), "queue 'work.parking'", "broker's log", False),
            (spec.Exchange.Declare, (503, "invalid exchange type 'topic'", 40, 10), "exchange 'ML.MQ'", "type", True),
            (spec.Queue.Bind, (530, "NOT_ALLOWED - no", 50, 20), "binding of 'work'", "NOT_ALLOWED - no", False),
            (spec.Queue.Declare, (506, "RESOURCE_ERROR - no", 50, 10), "queue 'work.parking'", "RESOURCE_ERROR", False),
            (spec.Queue.Declare, (501, "FRAME_ERROR - big", 0, 0), "queue 'work.parking'", "FRAME_ERROR", False),
            (spec.Queue.Declare, (403, "ACCESS_REFUSED - no", 50, 10), "queue 'work.parking'", "ACCESS_REFUSED", False),
        ):
            error: Any = self.ended(spec.Connection.Close(*close), kind)
            self.assertIsInstance(error, TopologyError)
            self.assertIn(f"{what}: the broker closed the connection over it: ", str(error))
            self.assertIn(advice, str(error))
            self.assertEqual(error.is_final, is_final, str(error))
            self.assertNotIn("\n", str(error))
            self.setUp()

    def test_for_another_reason(self) -> None:
        """A broker that stops, a Close over a message, and a lost TCP connection are no refusals."""
        for close in (
            spec.Connection.Close(320, "CONNECTION_FORCED - broker forced connection closure", 0, 0),
            spec.Connection.Close(320, "CONNECTION_FORCED", 50, 10),
            spec.Connection.Close(501, "FRAME_ERROR", 60, 40),
            None,
        ):
            self.assertIsInstance(self.ended(close), ConnectionLost)
            self.setUp()
