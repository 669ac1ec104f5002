"""The objects of an entry at the broker: names, arguments, order."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.topology.declarations import (
    Binding,
    Exchange,
    Queue,
    objects_of,
    queue_arguments,
    reply_queue_arguments,
)

SAFE = {"x-overflow": "reject-publish", "x-dead-letter-strategy": "at-least-once"}
CLASSIC = {"x-queue-type": "classic"}
UNLIMITED = {"x-queue-type": "quorum", "x-delivery-limit": 2**31 - 1}
DLE = {
    "dleExchange": "dlx",
    "dleQueue": "waiting",
    "dleArgs": {"x-message-ttl": 60000, "x-dead-letter-exchange": "ML.MQ", "x-max-length": 7},
}


def entry(**keys: Any) -> QueueEntry:
    """An entry of the queue ``work``."""
    return QueueEntry.model_validate({"topic": "ML.MQ", "queueName": "work", "bindingKey": "predict.*", **keys})


def queues(of: QueueEntry) -> dict[str, dict[str, object]]:
    """The queues of an entry with their arguments."""
    return {each.name: dict(each.arguments) for each in objects_of(of) if isinstance(each, Queue)}


def bindings(of: QueueEntry) -> list[tuple[str, str, str]]:
    """The bindings of an entry: queue, exchange, key."""
    return [(each.queue, each.exchange, each.key) for each in objects_of(of) if isinstance(each, Binding)]


class ClassicTests(SynchronousTestCase):
    """An entry with classic queues."""

    def test_without_retry(self) -> None:
        """Without ``dle`` there is no retry queue; redeliveries still need parking queue and return exchange."""
        self.assertEqual(queues(entry()), {"work.parking": CLASSIC, "work": CLASSIC})
        self.assertEqual(bindings(entry()), [("work", "work.return", ""), ("work", "ML.MQ", "predict.*")])

    def test_retry_queue(self) -> None:
        """``dle`` alone makes a retry queue that leads back to this work queue only."""
        found = queues(entry(dle=True, retryDelay=1500))
        self.assertEqual(
            found["work.retry"], {**CLASSIC, "x-message-ttl": 1500, "x-dead-letter-exchange": "work.return"}
        )
        self.assertEqual((found["work"], found["work.parking"]), (CLASSIC, CLASSIC))
        self.assertEqual([each for each in bindings(entry(dle=True)) if each[1] == "work.return"],
                         [("work", "work.return", "")])  # fmt: skip

    def test_return_exchange(self) -> None:
        """The return exchange is a durable fanout exchange."""
        (found,) = [e for e in objects_of(entry()) if isinstance(e, Exchange) and e.name == "work.return"]
        self.assertEqual((found.type, found.durable), ("fanout", True))

    def test_arguments(self) -> None:
        """A classic work queue has the arguments of the file and no others, so that it matches an existing queue."""
        self.assertEqual(queue_arguments(entry()), CLASSIC)
        self.assertEqual(queue_arguments(entry(argQueue={"x-max-length": 3})), {**CLASSIC, "x-max-length": 3})

    def test_parking_queue(self) -> None:
        """``parkingQueue`` replaces the derived name; the queue has no limits."""
        self.assertEqual(queues(entry(parkingQueue="lost+found")), {"lost+found": CLASSIC, "work": CLASSIC})

    def test_targets_are_there_first(self) -> None:
        """Each queue is declared after its dead-letter target."""
        for keys in ({"dle": True}, {"dle": True, "queueType": "quorum"}, {"dle": True, "dleParams": DLE}):
            order = [each.name for each in objects_of(entry(**keys)) if isinstance(each, Queue)]
            self.assertEqual(order[:2], ["work.parking", "work"])
            self.assertEqual(len(order), 3)
            whole = list(objects_of(entry(**keys)))
            retry = next(n for n, each in enumerate(whole) if getattr(each, "name", "") == order[2])
            self.assertLess(whole.index(Binding("work", "work.return")), retry)

    def test_texts(self) -> None:
        """The text of an object says its kind and its name."""
        self.assertEqual(
            [str(each) for each in (Exchange("a", "topic"), Queue("b"), Binding("c", "a"))],
            ["exchange 'a'", "queue 'b'", "binding of 'c'"],
        )


class QuorumTests(SynchronousTestCase):
    """An entry with quorum queues."""

    def test_all_three(self) -> None:
        """Work, retry and parking queues are quorum queues with at-least-once dead-lettering."""
        self.assertEqual(
            queues(entry(queueType="quorum", dle=True)),
            {
                "work.parking": UNLIMITED,
                "work": {
                    "x-queue-type": "quorum",
                    "x-delivery-limit": 20,
                    "x-dead-letter-exchange": "",
                    "x-dead-letter-routing-key": "work.parking",
                    **SAFE,
                },
                "work.retry": {
                    "x-queue-type": "quorum",
                    "x-message-ttl": 60000,
                    "x-dead-letter-exchange": "work.return",
                    **SAFE,
                },
            },
        )

    def test_replies(self) -> None:
        """The reply queue is a quorum queue, too: a classic one would be lost with its node."""
        self.assertEqual(queues(entry(queueType="quorum", replyTo="out"))["out"], UNLIMITED)
        self.assertEqual(reply_queue_arguments([entry(), entry(queueType="quorum")]), UNLIMITED)
        self.assertEqual(reply_queue_arguments([entry()]), CLASSIC)

    def test_own_parking_queue(self) -> None:
        """Messages over the delivery limit go to the ``parkingQueue`` of the file."""
        arguments = queue_arguments(entry(queueType="quorum", parkingQueue="p"))
        self.assertEqual(arguments["x-dead-letter-routing-key"], "p")

    def test_file_wins(self) -> None:
        """An argument of the file overrides ours."""
        for name, value in (
            ("x-delivery-limit", 3),
            ("x-dead-letter-routing-key", "elsewhere"),
            ("x-dead-letter-strategy", "at-most-once"),
            ("x-max-length", 5),
        ):
            arguments = queue_arguments(entry(queueType="quorum", argQueue={name: value}))
            self.assertEqual(arguments[name], value)
            self.assertEqual(arguments["x-queue-type"], "quorum")

    def test_other_dead_letter_exchange(self) -> None:
        """With a dead-letter exchange of the file, our dead-letter routing key is left out, too."""
        arguments = queue_arguments(entry(queueType="quorum", argQueue={"x-dead-letter-exchange": "dlx"}))
        self.assertEqual(arguments["x-dead-letter-exchange"], "dlx")
        self.assertNotIn("x-dead-letter-routing-key", arguments)
        self.assertEqual({name: arguments[name] for name in SAFE}, SAFE)

    def test_other_overflow(self) -> None:
        """At-least-once dead-lettering needs ``reject-publish``: with another overflow it is left out."""
        arguments = queue_arguments(entry(queueType="quorum", argQueue={"x-overflow": "drop-head"}))
        self.assertEqual(arguments["x-overflow"], "drop-head")
        self.assertNotIn("x-dead-letter-strategy", arguments)
        arguments = queue_arguments(entry(queueType="quorum", argQueue={"x-overflow": "reject-publish"}))
        self.assertEqual({name: arguments[name] for name in SAFE}, SAFE)


class SeedRouteTests(SynchronousTestCase):
    """``dleParams``."""

    def test_as_written(self) -> None:
        """The waiting queue has the arguments of the file and its type, for any type of work queue."""
        for keys in ({}, {"queueType": "quorum"}):
            found = queues(entry(dle=True, dleParams=DLE, **keys))
            self.assertEqual(found["waiting"], CLASSIC | DLE["dleArgs"])
            self.assertNotIn("work.retry", found)

    def test_durable(self) -> None:
        """Exchange and queue are durable."""
        found = [
            e for e in objects_of(entry(dle=True, dleParams=DLE)) if str(e) in {"exchange 'dlx'", "queue 'waiting'"}
        ]
        self.assertEqual([getattr(each, "durable", None) for each in found], [True, True])

    def test_without_dle(self) -> None:
        """They are declared without ``dle``, too: ``argQueue`` may name them."""
        self.assertIn("waiting", queues(entry(dleParams=DLE)))

    def test_binding(self) -> None:
        """The waiting queue takes copies with every routing key that messages of the work queue may have."""
        for kind, keys in (("fanout", [""]), ("topic", ["#"])):
            found = bindings(entry(dle=True, dleParams={**DLE, "dleExchangeType": kind}))
            self.assertEqual([key for queue, exchange, key in found if (queue, exchange) == ("waiting", "dlx")], keys)
        direct = entry(
            exchangeType="direct", bindingKey=["a", "b"], dle=True, dleParams={**DLE, "dleExchangeType": "direct"}
        )
        found = bindings(direct)
        self.assertEqual([key for queue, _, key in found if queue == "waiting"], ["a", "b", "work"])
