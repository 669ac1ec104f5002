"""What each refusal of a declaration is said to mean: texts of RabbitMQ 3.10 and 4.0, and the advice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.topology.declarations import Binding, Exchange, Queue, objects_of
from provider_gateway.topology.refusals import Use, refusal
from tests.support.queue_entries import entry, seed

if TYPE_CHECKING:
    from provider_gateway.errors import TopologyError

DIFFERS = "PRECONDITION_FAILED - inequivalent arg '{}' for {} in vhost '/': received {} but current is {}"


class RefusalTestCase(SynchronousTestCase):
    """Asks for the meaning of refusals."""

    def assert_advice(self, error: TopologyError, advice: str, *, is_final: bool) -> None:
        self.assertIn(advice, str(error))
        self.assertEqual(error.is_final, is_final, str(error))
        self.assertNotIn("\n", str(error))


class DiffersTests(RefusalTestCase):
    """The object exists, with something else."""

    def assert_differs(self, name: str, argument: str, ours: str, theirs: str, advice: str, **keys: object) -> None:
        made = seed(**keys) if "dleParams" in keys else entry(**keys)
        what = next(each for each in objects_of(made) if getattr(each, "name", None) == name)
        text = DIFFERS.format(argument, what, ours, theirs)
        self.assert_advice(refusal(what, 406, text), advice, is_final=True)

    def test_durable(self) -> None:
        """The key that sets an object's durability is named: ``durable`` or ``exchangeDurable``."""
        self.assert_differs("work", "durable", "'true'", "'false'", "set durable to false, or delete the queue 'work'")
        self.assert_differs("response", "durable", "'true'", "'false'", "set durable to false", replyTo="response")
        self.assert_differs(
            "ML.MQ", "durable", "'false'", "'true'", "set exchangeDurable to true, or delete the exchange"
        )
        self.assert_differs("work.parking", "durable", "'true'", "'false'", "this program needs true: delete the queue")

    def test_arguments(self) -> None:
        """The argument's key and both values are named, without RabbitMQ's types."""
        for ours, theirs, advice in (
            (
                "none",
                "the value '5' of type 'signedint'",
                "has x-max-length 5, the queue file asks for none: set argQueue.x-max",
            ),
            (
                "the value '5' of type 'signedint'",
                "none",
                "has x-max-length none, the queue file asks for 5: remove argQueue.x-max",
            ),
            ("'7'", "'5'", "has x-max-length 5, the queue file asks for 7: set argQueue.x-max-length to 5, or delete"),
        ):
            self.assert_differs("work", "x-max-length", ours, theirs, advice)
        self.assert_differs("work.retry", "x-message-ttl", "'7'", "'5'", "set retryDelay to 5", dle=True)
        self.assert_differs("work", "x-queue-type", "'classic'", "'quorum'", "set queueType to quorum")
        self.assert_differs("ML.MQ", "type", "'topic'", "'direct'", "set exchangeType to direct")
        text = DIFFERS.format("x-message-ttl", "queue 'waiting'", "'7'", "'5'")
        what = next(each for each in objects_of(seed()) if str(each) == "queue 'waiting'")
        self.assert_advice(refusal(what, 406, text), "set dleParams.dleArgs.x-message-ttl to 5", is_final=True)

    def test_ours(self) -> None:
        """A property that no key sets can only be deleted, or have another name."""
        text = DIFFERS.format("x-expires", "queue 'r'", "'7'", "'5'")
        self.assert_advice(refusal(Queue("r"), 406, text), "needs 7: delete the queue 'r', with its", is_final=True)

    def test_cut_off(self) -> None:
        """A text that the broker has cut off at 255 bytes still gives an error."""
        text = DIFFERS.format("x-dead-letter-exchange", "queue 'q'", "'" + "a" * 300, "")[:255]
        self.assert_advice(refusal(Queue("q"), 406, text), "make the queue file agree", is_final=True)


class OtherTests(RefusalTestCase):
    """All other refusals."""

    def test_each(self) -> None:
        """Each kind has its own advice. Those that may end by themselves are tried again."""
        work = next(each for each in objects_of(entry()) if str(each) == "queue 'work'")
        for code, text, advice, is_final in (
            (406, "invalid arg 'x-max-priority' for queue 'work' in vhost '/': {max_value_exceeded,300}",
             "does not take it: correct argQueue.x-max-priority", True),
            (406, "invalid property 'non-durable' for queue 'work' in vhost '/'", "does not take it", True),
            (406, "cannot declare queue 'work': queue limit in vhost 'ml' (1) is reached",
             "rabbitmqctl set_vhost_limits -p ml '{\"max-queues\": NUMBER}'", False),
            (406, "cannot declare queue 'work': queue limit in cluster (1) is reached", "raise the limit", False),
            (406, "invalid exchange type 'x-odd'", "no such exchange type", True),
            (503, "COMMAND_INVALID - unknown exchange type 'x-odd'", "no such exchange type", True),
            (406, "something new", "make the queue file agree with the object, or delete the object", True),
            (405, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'work' in vhost '/'",
             "another connection has an exclusive queue", False),
            (404, "home node 'rabbit@b' of durable queue 'work' in vhost '/' is down or inaccessible",
             "start it", False),
            (403, "queue name 'amq.x' contains reserved prefix 'amq.*'", "use another name", True),
            (540, "NOT_IMPLEMENTED - x", "does not implement", True),
        ):  # fmt: skip
            self.assert_advice(refusal(work, code, text), advice, is_final=is_final)

    def test_permissions(self) -> None:
        """The missing permission is named, with RabbitMQ's text or without it; it may be granted later."""
        said = "ACCESS_REFUSED - {}access to {} '{}' in vhost 'ml' refused for user 'u'"
        queue, dead = Queue("q"), Queue("q", {"x-dead-letter-exchange": "dlx"})
        for what, kind, name, permission in (
            (queue, "queue", "q", "configure"),
            (Exchange("x", "topic"), "exchange", "x", "configure"),
            (dead, "queue", "q", "configure and, as it has a dead-letter exchange, read"),
            (dead, "exchange", "dlx", "write"),
            (Binding("q", "x", "k"), "queue", "q", "write"),
            (Binding("q", "x", "k"), "exchange", "x", "read"),
            (Use("consuming", "read"), "queue", "q", "read"),
            (Use("publishing", "write"), "exchange", "amq.default", "write"),
        ):
            error = refusal(what, 403, said.format("", kind, name))
            self.assert_advice(
                error, f"grant {permission} (rabbitmqctl set_permissions -p ml u CONFIGURE WRITE READ)", is_final=False
            )
            self.assertIn(f"match {name!r}", str(error))
            told = refusal(what, 403, said.format("write ", kind, name))
            self.assertIn("grant write (rabbitmqctl", str(told))
        text = "ACCESS_REFUSED - access to topic 'a.b' in exchange 'x' in vhost 'ml' refused for user 'u'"
        error = refusal(Binding("q", "x", "a.b"), 403, text)
        self.assert_advice(error, "rabbitmqctl set_topic_permissions -p ml u EXCHANGE WRITE READ", is_final=False)
        self.assertIn("'a.b'", str(error))

    def test_closed_connection(self) -> None:
        """A closed connection is said to be one; transient queues that the broker does not permit name their key."""
        denied = (
            "INTERNAL_ERROR - Feature `transient_nonexcl_queues` is deprecated.\nIts use is not permitted per the "
            'configuration:\n    "deprecated_features.permit.transient_nonexcl_queues = false"\nIts use will not be...'
        )
        for what, advice in (
            (Queue("q", durable=False, keys={"durable": "durable"}), "no transient queues: remove 'durable: false'"),
            (Queue("q", durable=False), "no transient queues: permit them there"),
        ):
            error = refusal(what, 541, denied, of_connection=True)
            self.assert_advice(error, advice, is_final=True)
            self.assertIn("queue 'q': the broker closed the connection over it: INTERNAL_ERROR", str(error))
        self.assert_advice(
            refusal(Queue("q"), 541, "INTERNAL_ERROR", of_connection=True), "the broker's log says why", is_final=False
        )
        self.assertFalse(refusal(Queue("q"), 530, "NOT_ALLOWED", of_connection=True).is_final)
