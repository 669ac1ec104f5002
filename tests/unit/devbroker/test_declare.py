"""The embedded broker's exchanges, queues and bindings: what it accepts, and RabbitMQ's texts for refusals."""

from __future__ import annotations

from typing import Any

from pika import spec

from tests.support.raw_amqp_client import RawClientTestCase, to

LOCKED = (
    "channel 405 RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could be "
    "originally declared on another connection or the exclusive property value does not match that of the original "
    "declaration."
)


def exchange(name: str = "x", type_: str = "topic", **flags: Any) -> spec.Exchange.Declare:
    """A declaration of an exchange."""
    return spec.Exchange.Declare(exchange=name, type=type_, **flags)


def queue(name: str = "q", arguments: dict[str, Any] | None = None, **flags: bool) -> spec.Queue.Declare:
    """A declaration of a queue."""
    return spec.Queue.Declare(queue=name, arguments=arguments, **flags)


def bind(key: str = "k", source: str = "x", name: str = "q", **more: Any) -> spec.Queue.Bind:
    """A binding."""
    return spec.Queue.Bind(queue=name, exchange=source, routing_key=key, **more)


class DeclareTestCase(RawClientTestCase):
    """Checks that declarations are accepted, or refused."""

    def accepted(self, *methods: Any) -> Any:
        """Send methods as a new client; returns the response to the last one, which is no error."""
        client = self.client()
        answers = [client.ask(method) for method in methods]
        self.assertTrue(all(len(each) == 1 for each in answers), answers)
        self.assertNotIsInstance(answers[-1][0], spec.Channel.Close | spec.Connection.Close)
        return answers[-1][0]


class ExchangeTests(DeclareTestCase):
    """exchange.declare and exchange.delete."""

    def test_equivalent(self) -> None:
        """A declaration that differs is refused, and says in what."""
        self.accepted(exchange(), exchange())
        where = "for exchange 'x' in vhost '/'"
        for declaration, text in (
            (exchange(type_="fanout"), f"'type' {where}: received 'fanout' but current is 'topic'"),
            (exchange(durable=True), f"'durable' {where}: received 'true' but current is 'false'"),
            (exchange(auto_delete=True), f"'auto_delete' {where}: received 'true' but current is 'false'"),
            (exchange(internal=True), f"'internal' {where}: received 'true' but current is 'false'"),
        ):
            expected = f"channel 406 PRECONDITION_FAILED - inequivalent arg {text}"
            self.assertEqual(self.refusal(declaration), expected)

    def test_names(self) -> None:
        """The default exchange and names that begin with amq. are RabbitMQ's own."""
        default = "channel 403 ACCESS_REFUSED - operation not permitted on the default exchange"
        for method in (exchange(""), exchange("", passive=True), spec.Exchange.Delete(exchange=""), bind(source="")):
            self.assertEqual(self.refusal(method), default)
        self.assertEqual(
            self.refusal(exchange("amq.mine")),
            "channel 403 ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'",
        )
        self.assertEqual(
            self.refusal(spec.Exchange.Delete(exchange="amq.topic")),
            "channel 403 ACCESS_REFUSED - deletion of system exchange 'amq.topic' in vhost '/' not allowed",
        )
        for kind in ("direct", "fanout", "topic"):
            self.accepted(exchange(f"amq.{kind}", kind, durable=True))

    def test_passive(self) -> None:
        """A passive declaration finds an exchange of any type, and refuses a missing one."""
        self.accepted(exchange(), exchange(type_="direct", passive=True))
        self.assertEqual(
            self.refusal(exchange("none", passive=True)), "channel 404 NOT_FOUND - no exchange 'none' in vhost '/'"
        )

    def test_types(self) -> None:
        """An unknown type closes the connection; headers exchanges are not implemented."""
        self.assertEqual(
            self.refusal(exchange(type_="no")), "connection 503 COMMAND_INVALID - unknown exchange type 'no'"
        )
        self.assertEqual(
            self.refusal(exchange(type_="headers")), "connection 540 NOT_IMPLEMENTED - exchange type 'headers'"
        )
        for name in ("amq.headers", "amq.match"):
            for method in (exchange(name, passive=True), bind(source=name)):
                self.assertEqual(self.refusal(method), f"connection 540 NOT_IMPLEMENTED - exchange '{name}'")

    def test_delete(self) -> None:
        """if-unused keeps an exchange with bindings; deleting a missing exchange is no error."""
        self.accepted(exchange(), queue(), bind())
        in_use = "channel 406 PRECONDITION_FAILED - exchange 'x' in vhost '/' in use"
        self.assertEqual(self.refusal(spec.Exchange.Delete(exchange="x", if_unused=True)), in_use)
        self.accepted(spec.Exchange.Delete(exchange="x"), spec.Exchange.Delete(exchange="x"))

    def test_auto_delete(self) -> None:
        """An auto-delete exchange is deleted with its last binding, also when a queue is deleted."""
        self.accepted(exchange(auto_delete=True), queue(), bind(), bind("other"))
        self.accepted(spec.Queue.Unbind(queue="q", exchange="x", routing_key="k"), exchange(passive=True))
        self.accepted(spec.Queue.Delete(queue="q"))
        self.assertIn("no exchange 'x'", self.refusal(exchange(passive=True)))

    def test_not_implemented(self) -> None:
        """Features of RabbitMQ that are not implemented are refused, never ignored."""
        for method in (
            exchange(arguments={"alternate-exchange": "y"}),
            spec.Exchange.Bind(destination="amq.topic", source="amq.direct"),
            spec.Exchange.Unbind(destination="amq.topic", source="amq.direct"),
            spec.Tx.Select(),
            queue(arguments={"x-single-active-consumer": True}),
            queue(arguments={"x-max-priority": 5}),
            queue(arguments={"x-max-length-bytes": 5}),
            queue(arguments={"x-max-age": "1D"}),
            queue(arguments={"x-queue-type": "stream"}),
            queue(arguments={"x-overflow": "reject-publish-dlx"}),
        ):
            self.assertIn("connection 540 NOT_IMPLEMENTED - ", self.refusal(method))


class QueueTests(DeclareTestCase):
    """queue.declare, delete, purge and exclusive use."""

    def test_equivalent(self) -> None:
        """A declaration that differs is refused, and says in what."""
        self.accepted(queue(durable=True, arguments={"x-message-ttl": 60000}))
        where = "for queue 'q' in vhost '/'"
        for declaration, text in (
            (queue(), f"'durable' {where}: received 'false' but current is 'true'"),
            (queue(durable=True, auto_delete=True), f"'auto_delete' {where}: received 'true' but current is 'false'"),
            (
                queue(durable=True, arguments={"x-message-ttl": 5000}),
                f"'x-message-ttl' {where}: received '5000' but current is '60000'",
            ),
            (
                queue(durable=True),
                f"'x-message-ttl' {where}: received none but current is the value '60000' of type 'signedint'",
            ),
            (
                queue(durable=True, arguments={"x-message-ttl": 60000, "x-dead-letter-exchange": "x"}),
                f"'x-dead-letter-exchange' {where}: received the value 'x' of type 'longstr' but current is none",
            ),
        ):
            expected = f"channel 406 PRECONDITION_FAILED - inequivalent arg {text}"
            self.assertEqual(self.refusal(declaration), expected)
        same = {"x-message-ttl": 60000, "x-queue-type": "classic", "x-unknown": 1}
        self.accepted(queue(durable=True, arguments=same))

    def test_arguments(self) -> None:
        """Invalid values of arguments are refused with RabbitMQ's texts."""
        for arguments, text in (
            ({"x-message-ttl": -1}, "invalid arg 'x-message-ttl' for queue 'q' in vhost '/': {value_negative,-1}"),
            ({"x-expires": 0}, "invalid arg 'x-expires' for queue 'q' in vhost '/': {value_zero,0}"),
            (
                {"x-max-length": "5"},
                "invalid arg 'x-max-length' for queue 'q' in vhost '/': \"expected integer, got longstr\"",
            ),
            ({"x-overflow": "no"}, "invalid arg 'x-overflow' for queue 'q' in vhost '/': invalid_overflow"),
            (
                {"x-dead-letter-routing-key": "k"},
                "invalid arg 'x-dead-letter-routing-key' for queue 'q' in vhost '/': routing_key_but_no_dlx_defined",
            ),
            (
                {"x-dead-letter-exchange": 5},
                "invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'q' in vhost '/'",
            ),
            (
                {"x-queue-type": "no"},
                "invalid arg 'x-queue-type' for queue 'q' in vhost '/': \"unsupported queue type 'no'\"",
            ),
            ({"x-queue-type": "quorum"}, "invalid property 'non-durable' for queue 'q' in vhost '/'"),
            (
                {"x-delivery-limit": 5},
                "invalid arg 'x-delivery-limit' for queue 'q' in vhost '/' of queue type rabbit_classic_queue",
            ),
        ):
            expected = f"channel 406 PRECONDITION_FAILED - {text}"
            self.assertEqual(self.refusal(queue(arguments=arguments)), expected)

    def test_names(self) -> None:
        """The broker makes a name for an empty one; names that begin with amq. are refused."""
        name = self.accepted(queue("")).queue
        self.assertTrue(name.startswith("amq.gen-"), name)
        reserved = "channel 403 ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'"
        self.assertEqual(self.refusal(queue("amq.mine")), reserved)
        self.assertEqual(self.refusal(spec.Basic.Get(queue="")), "channel 404 NOT_FOUND - no previously declared queue")
        self.accepted(queue(), spec.Queue.Purge(queue=""))

    def test_missing(self) -> None:
        """Methods on a missing queue are refused, except deleting it."""
        missing = "channel 404 NOT_FOUND - no queue 'none' in vhost '/'"
        for method in (
            queue("none", passive=True),
            spec.Queue.Purge(queue="none"),
            spec.Basic.Get(queue="none"),
            spec.Basic.Consume(queue="none"),
            bind(source="amq.topic", name="none"),
        ):
            self.assertEqual(self.refusal(method), missing)
        self.assertEqual(self.accepted(spec.Queue.Delete(queue="none")).message_count, 0)

    def test_exclusive(self) -> None:
        """Other connections cannot use an exclusive queue; it is deleted with its connection."""
        owner = self.client()
        owner.ask(queue(exclusive=True))
        for method in (
            queue(exclusive=True),
            queue(passive=True),
            spec.Queue.Delete(queue="q"),
            spec.Queue.Purge(queue="q"),
            bind(source="amq.topic"),
            spec.Basic.Get(queue="q"),
            spec.Basic.Consume(queue="q"),
        ):
            self.assertEqual(self.refusal(method), LOCKED)
        self.assertEqual(self.client().ask(to("q", mandatory=True), b"anyone may publish"), [])
        self.assertEqual(owner.ask(queue(exclusive=True))[0].message_count, 1)
        self.assertEqual(self.refusal(queue(), client=owner), LOCKED)
        owner.link.at_client.loseConnection()
        owner.link.pump()
        self.assertIn("no queue 'q'", self.refusal(queue(passive=True)))

    def test_delete(self) -> None:
        """if-unused and if-empty keep a queue with consumers or messages."""
        client = self.client()
        for method in (queue(), spec.Basic.Consume(queue="q"), queue("r")):
            client.ask(method)
        client.ask(to("r"), b"1")
        in_use = "channel 406 PRECONDITION_FAILED - queue 'q' in vhost '/' in use"
        self.assertEqual(self.refusal(spec.Queue.Delete(queue="q", if_unused=True)), in_use)
        not_empty = "channel 406 PRECONDITION_FAILED - queue 'r' in vhost '/' not empty"
        self.assertEqual(self.refusal(spec.Queue.Delete(queue="r", if_empty=True)), not_empty)
        self.assertEqual(client.ask(spec.Queue.Delete(queue="r"))[0].message_count, 1)

    def test_auto_delete(self) -> None:
        """An auto-delete queue is deleted with its last consumer, not before it had one."""
        client = self.client()
        client.ask(queue(auto_delete=True))
        client.ask(spec.Basic.Consume(queue="q", consumer_tag="t"))
        client.ask(spec.Basic.Cancel("t"))
        self.assertIn("no queue 'q'", self.refusal(queue(passive=True)))

    def test_expires(self) -> None:
        """A queue is deleted when unused for x-expires; declaring, getting and consuming are uses."""
        client = self.client()
        declaration = queue(arguments={"x-expires": 1000})
        client.ask(declaration)
        for method in (declaration, spec.Basic.Get(queue="q"), spec.Basic.Consume(queue="q", consumer_tag="t")):
            self.clock.advance(0.75)
            self.assertNotIsInstance(client.ask(method)[0], spec.Channel.Close)
        self.clock.advance(5)
        client.ask(spec.Basic.Cancel("t"))
        self.clock.advance(1)
        self.assertIn("no queue 'q'", self.refusal(queue(passive=True)))


class BindingTests(DeclareTestCase):
    """Routing by keys."""

    def routed(self, source: str, key: str) -> bool:
        """True if a mandatory publish is not returned."""
        return self.client().ask(to(key, source, mandatory=True), b"1") == []

    def test_types(self) -> None:
        """Direct compares keys, topic words, fanout nothing; the default exchange routes to the queue of that name."""
        self.accepted(queue(), *(bind("a.*", source) for source in ("amq.direct", "amq.topic", "amq.fanout")))
        routed = [(source, key) for source in ("direct", "topic", "fanout") for key in ("a.*", "a.b", "b")]
        found = [each for each in routed if self.routed(f"amq.{each[0]}", each[1])]
        fanout = [("fanout", key) for key in ("a.*", "a.b", "b")]
        self.assertEqual(found, [("direct", "a.*"), ("topic", "a.*"), ("topic", "a.b"), *fanout])
        self.assertEqual([self.routed("", "q"), self.routed("", "none")], [True, False])

    def test_once(self) -> None:
        """A message that matches two bindings of a queue is delivered once; unbinding removes one binding."""
        self.accepted(queue(), bind("#", "amq.topic"), bind("a", "amq.topic"))
        self.assertTrue(self.routed("amq.topic", "a"))
        self.assertEqual(self.accepted(queue(passive=True)).message_count, 1)
        self.accepted(*(spec.Queue.Unbind(queue="q", exchange="amq.topic", routing_key=key) for key in ("#", "none")))
        self.assertEqual([self.routed("amq.topic", "a"), self.routed("amq.topic", "b")], [True, False])
        self.assertIn("no exchange 'none'", self.refusal(bind(source="none")))
